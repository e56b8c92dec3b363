"""Next-token prediction over text and image tokens.

"Zero-Shot Text-to-Image Generation", arXiv:2102.12092, section 2.2 (1/8 text, 7/8 image); "CogView", arXiv:2105.13290,
section 2.3 (all tokens alike).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from vl.batch import Batch, Encoded, Loss
from vl.draw import Draw
from vl.models.base import VLModel
from vl.objectives.base import Objective


class ARTokens(Objective):
    """The cross-entropy of every token after the first.

    Args:
        text_weight, image_weight: of the mean over text tokens and over image tokens, as in DALL-E (0.125, 0.875);
            None for both: every token counts alike, as in CogView.
        drop_text: the share of examples that are shown without their text, for classifier-free guidance.
        noise: up to this share of an example's codes are shown as others, drawn at random: how large a share is drawn
            for each example. Where all codes before it are right, a code follows from its neighbours, and little is
            left to learn of the text (word dropout, arXiv:1511.06349, section 3.1).

    Raises:
        ValueError: one weight without the other, or a share that is none.
    """

    needs = frozenset({"text", "visual", "tokens"})

    def __init__(
        self,
        text_weight: float | None = None,
        image_weight: float | None = None,
        drop_text: float = 0.0,
        noise: float = 0.0,
    ) -> None:
        super().__init__()
        if (text_weight is None) != (image_weight is None):
            raise ValueError("give both text_weight and image_weight, or neither (every token counts alike)")
        for name, share in (("drop_text", drop_text), ("noise", noise)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {share}; it is a share in 0..1")
        self.text_weight, self.image_weight = text_weight, image_weight
        self.drop_text, self.noise = drop_text, noise

    def setup(self, model: VLModel) -> None:
        self.sequence: Any = model.sequence

    def corrupt(self, batch: Batch, draw: Draw) -> tuple[Batch, Int[Tensor, "b n"]]:
        """Some texts are cut to their first token, some codes are others; the target is the right codes."""
        codes = batch.codes
        if self.drop_text:
            dropped = draw.fold("drop_text").uniform(1) < self.drop_text
            mask = batch.text.mask.clone()
            mask[:, 1:] &= ~dropped.to(mask.device)
            batch = replace(batch, text=replace(batch.text, mask=mask))
        if self.noise:
            size, share = codes.shape[1], self.noise * draw.fold("noise").uniform(1)
            hidden = draw.fold("hidden").uniform(size) < share
            others = draw.fold("others").integers(self.sequence.num_codes, size)
            batch = replace(batch, codes=codes.where(~hidden.to(codes.device), others.to(codes)))
        return batch, codes

    def forward(self, output: Encoded, batch: Batch, target: Any = None) -> Loss:
        tokens = self.sequence.whole(batch if target is None else replace(batch, codes=target))
        ids, real = (self.sequence.parts(x[:, 1:], tokens) for x in (tokens.ids, tokens.real))
        text = losses(self.sequence.text_logits(output.text), ids[0], real[0])
        image = losses(self.sequence.image_logits(output.visual), ids[1], real[1])
        counts = real[0].sum(1), real[1].sum(1)
        metrics = {"text": (text.detach().sum(), counts[0].sum()), "image": (image.detach().sum(), counts[1].sum())}
        if self.text_weight is None:
            return Loss(text.sum() + image.sum(), counts[0].sum() + counts[1].sum(), metrics)
        means = [part / count.clamp(min=1) for part, count in zip((text, image), counts, strict=True)]
        total = self.text_weight * means[0] + self.image_weight * means[1]
        return Loss(total.sum(), torch.tensor(len(total), device=total.device), metrics)


def losses(logits: Float[Tensor, "b l v"], ids: Int[Tensor, "b l"], real: Bool[Tensor, "b l"]) -> Float[Tensor, " b"]:
    """The cross-entropy of the real tokens, summed for each row."""
    loss = F.cross_entropy(logits.float().flatten(0, 1), ids.flatten(), reduction="none").view_as(ids)
    return (loss * real).sum(1)
