"""CLIP: an image tower and a text tower that meet in one space.

"Learning Transferable Visual Models From Natural Language Supervision", arXiv:2103.00020, section 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vl.batch import Batch, Encoded, Text, Visual
from vl.models.base import VLModel
from vl.models.heads import Head
from vl.models.towers import ImageTower, TextTower

#: The factor on the cosines never exceeds 100 (section 2.5).
MAX_LOGIT_SCALE = log(100)


class TwoTower(VLModel):
    """Two towers, a head on each if asked for, and the temperature.

    Args:
        image: pixels to features, such as `OpenClipImage` or `TimmImage`.
        text: a text to features, such as `OpenClipText`, `TextTransformer` or `HFText`.
        image_head, text_head: map a tower's features to embeddings; None where the tower's own are the embeddings.
        logit_scale: start of the log of the factor on the cosines.
        logit_bias: start of what is added to them (SigLIP: -10); None for none.

    Raises:
        ValueError: the widths do not fit.
    """

    provides = frozenset({"text_emb", "image_emb", "logit_scale"})

    def __init__(
        self,
        image: ImageTower,
        text: TextTower,
        image_head: Head | None = None,
        text_head: Head | None = None,
        logit_scale: float = log(1 / 0.07),
        logit_bias: float | None = None,
    ) -> None:
        super().__init__()
        self.image, self.text = image, text
        self.image_head, self.text_head = image_head, text_head
        self.width = _joint_width(image=(image, image_head), text=(text, text_head))
        # One element, not a scalar: FSDP2 cannot shard scalars.
        self.logit_scale = nn.Parameter(torch.full((1,), logit_scale))
        self.logit_bias = None if logit_bias is None else nn.Parameter(torch.full((1,), logit_bias))
        if logit_bias is not None:
            self.provides |= {"logit_bias"}
        self.vocab_size, self.context_length = text.vocab_size, text.context_length
        self.image_size = image.image_size

    def encode_image(self, visual: Visual) -> Float[Tensor, "bv e"]:
        """Image embeddings of unit length."""
        features = self.image(visual.pixels)
        return F.normalize((self.image_head(features) if self.image_head else features).float(), dim=1)

    def encode_text(self, text: Text) -> Float[Tensor, "bt e"]:
        """Text embeddings of unit length."""
        features = self.text(text)
        return F.normalize((self.text_head(features) if self.text_head else features).float(), dim=1)

    def forward(self, batch: Batch) -> Encoded:
        """The embeddings of what the batch holds; either side may be missing."""
        return Encoded(
            text_emb=None if batch.text is None else self.encode_text(batch.text),
            image_emb=None if batch.visual is None else self.encode_image(batch.visual),
            logit_scale=self.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp(),
            logit_bias=self.logit_bias,
        )

    def blocks(self) -> Iterator[nn.Module]:
        yield from self.image.blocks()
        yield from self.text.blocks()

    def depth_of(self, name: str) -> float:
        tower, _, rest = name.partition(".")
        return getattr(self, tower).depth_of(rest) if tower in ("image", "text") else 1.0


def _joint_width(**sides: tuple[ImageTower | TextTower, Head | None]) -> int:
    """The width both sides end in."""
    for side, (tower, head) in sides.items():
        if head is not None and head.in_features != tower.embed_dim:
            raise ValueError(f"{side}_head: in_features is {head.in_features}, but {side} gives {tower.embed_dim}")
    widths = {side: head.out_features if head else tower.embed_dim for side, (tower, head) in sides.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"embeddings of image and text differ in width: {widths}; give one a head, such as LinearHead")
    return next(iter(widths.values()))
