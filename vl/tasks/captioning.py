"""Captions from a model that reads words and regions: VLP, arXiv:1909.11059, section 3.2; Oscar, arXiv:2004.06165,
section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vl.batch import Batch, Encoded, Loss, Text
from vl.data.tokenizers import Tokenizer
from vl.draw import Draw
from vl.losses.masked import cross_entropy, hits
from vl.metrics.caption_scores import CaptionScores
from vl.models.base import VLModel
from vl.models.heads_masked import TokenHead
from vl.models.masks import SEQ2SEQ
from vl.tasks.base import Task
from vl.tasks.beam_search import NextToken, beam_search
from vl.tasks.caption_constraints import CaptionConstraints
from vl.tasks.constrained_beam_search import constrained_beam_search


class Captioning(Task):
    """Masked words are predicted from the picture and the words before them; a caption grows by one mask at a time.

    Words see all regions and the words before them, regions see regions (`SEQ2SEQ`). In training every word and the end
    may be hidden, at least one is. Released codes hide at most 3 words, and leave some hidden words as they are; here
    all that are chosen become the mask token, as they are in inference.

    Args:
        tokenizer: the data's; it turns tokens into captions.
        prob: of a word's being hidden.
        beams: of the search; 1 is greedy.
        max_length: tokens of a caption.
        length_penalty: see `beam_search`.
        constraints: words each caption must use, as nocaps wants it; None for none.

    Raises:
        ValueError: the tokenizer has no mask token.
    """

    needs = frozenset({"text", "word_embedding"})

    def __init__(
        self,
        tokenizer: Tokenizer,
        prob: float = 0.15,
        beams: int = 5,
        max_length: int = 20,
        length_penalty: float = 0.0,
        constraints: CaptionConstraints | None = None,
    ) -> None:
        super().__init__()
        if tokenizer.mask_id is None:
            raise ValueError(f"captioning needs a mask token, which {type(tokenizer).__name__} lacks")
        self.tokenizer, self.prob = tokenizer, prob
        self.beams, self.max_length, self.length_penalty = beams, max_length, length_penalty
        self.constraints = constraints
        self.metric = CaptionScores()

    def setup(self, model: VLModel) -> None:
        self.head = TokenHead(model.word_embedding)

    def corrupt(self, batch: Batch, draw: Draw) -> tuple[Batch, Bool[Tensor, "b lt"]]:
        """The batch with words hidden and the pattern of attention set, and what was hidden."""
        text = batch.text
        chance = draw.uniform(text.ids.shape[1]).masked_fill(~text.mask, 2.0)
        chance[:, 0] = 2.0  # the start is never hidden
        chosen = chance < self.prob
        hidden = torch.where(chosen.any(1, keepdim=True), chosen, chance == chance.amin(1, keepdim=True))
        ids = text.ids.masked_fill(hidden, self.tokenizer.mask_id)
        corrupted = replace(batch, text=replace(text, ids=ids), attention=_seq2seq(len(ids), ids.device))
        return replace(corrupted, targets={**batch.targets, "words": text.ids}), hidden

    def forward(self, output: Encoded, batch: Batch, target: Bool[Tensor, "b lt"]) -> Loss:
        labels, logits = batch.targets["words"][target], self.head(output.text[target])
        count = torch.tensor(len(labels), device=labels.device)
        return Loss(cross_entropy(logits, labels).sum(), count, {"accuracy": (hits(logits, labels), count)})

    def predict(self, model: VLModel, batch: Batch) -> Sequence[Mapping[str, Any]]:
        """A caption for each picture, by beam search; the batch's texts are not looked at."""
        start, end = self.tokenizer.start_id, self.tokenizer.end_id
        device = batch.visual.mask.device if batch.visual.mask is not None else "cpu"
        search: Any = partial(beam_search, examples=len(batch))
        if self.constraints is not None:
            words, required = self.constraints(batch, self.tokenizer), self.constraints.required
            search = partial(constrained_beam_search, constraints=words, required=required)
        found = search(
            self.next_token(model, batch), start_id=start, end_id=end, beams=self.beams, max_length=self.max_length,
            length_penalty=self.length_penalty, device=device,
        )  # fmt: skip
        captions = [self.tokenizer.decode(ids) for ids in found]
        names = batch.targets["id"]
        return [{"image_id": name, "caption": caption} for name, caption in zip(names, captions, strict=True)]

    def next_token(self, model: VLModel, batch: Batch) -> NextToken:
        """What scores the next word of captions that have begun: the prediction of a mask behind them."""

        def score(ids: Int[Tensor, "r t"], owners: Int[Tensor, " r"]) -> Float[Tensor, "r v"]:
            ids = torch.cat([ids, torch.full_like(ids[:, :1], self.tokenizer.mask_id)], dim=1)
            text = Text(ids, torch.ones_like(ids, dtype=torch.bool))
            pairs = torch.stack([torch.arange(len(ids), device=ids.device), owners], dim=1)
            seen = replace(batch, text=text, pairs=pairs, attention=_seq2seq(len(ids), ids.device))
            return self.head(model(seen).text[:, -1]).float().log_softmax(1)

        return score


def _seq2seq(rows: int, device: torch.device | str) -> Int[Tensor, " r"]:
    return torch.full((rows,), SEQ2SEQ, device=device)
