"""Pairs scored by a model that reads text and picture together, many of them.

What of a text or picture does not depend on the other is computed once; pairs then run in packed batches of like
length. Where many are of one length, a single stream pads and masks nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vl.batch import Batch, Encoded
from vl.evaluation.embed import Precision
from vl.models.dual_stream import DualStream
from vl.models.packing import Table
from vl.models.single_stream import SingleStream

#: Pairs that are sorted by length at a time.
_SORTED = 2**21


@dataclass(frozen=True)
class Gallery:
    """Texts and pictures, each computed as far as it can be alone; text i belongs to picture `owners[i]`."""

    texts: Table
    pictures: Table
    owners: Int[Tensor, " t"]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class CrossEncoder:
    """A model with a head that scores its pairs, and how they are run; both stand on `device`.

    Args:
        model: Joins text and picture, and pools the pair.
        score: Scores what was pooled: the `scores` of `ITM` or `TripletRetrieval`.
        tokens: Words and regions of a batch of pairs. About as many as the cache of a CPU core holds are fastest there.
        device: Of model and head; scores come back to the CPU in fp32.
        precision: fp32, or bf16 autocast.

    Raises:
        ValueError: the model reads no pairs, or pools nothing.
    """

    model: SingleStream | DualStream
    score: Callable[[Encoded], Float[Tensor, " r"]]
    tokens: int = 2048
    device: str = "cpu"
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        if not isinstance(self.model, SingleStream | DualStream) or "pooled" not in self.model.provides:
            raise ValueError(f"{type(self.model).__name__} scores no pairs: that takes a stream model with a pooler")

    def gallery(self, batches: Iterable[Batch]) -> Gallery:
        """All texts of batches without `pairs`, and all pictures, each (by its key) once."""
        texts, pictures, owners, numbers = [], [], list[int](), dict[str, int]()
        with torch.inference_mode(), self._autocast():
            for batch in batches:
                known = len(numbers)
                found = [numbers.setdefault(key, len(numbers)) for key in batch.keys]
                owners += found
                texts.append(self.model.embed_text(batch.text.to(self.device)))
                if new := {number: row for row, number in enumerate(found) if number >= known}:
                    visual = batch.visual.rows(torch.tensor(list(new.values())))
                    pictures.append(self.model.embed_visual(visual.to(self.device)))
        return Gallery(Table.of(texts), Table.of(pictures), torch.tensor(owners), tuple(numbers))

    @torch.inference_mode()
    def scores(self, gallery: Gallery, text: Int[Tensor, " p"], picture: Int[Tensor, " p"]) -> Float[Tensor, " p"]:
        """The score of each text with the picture beside it."""
        lengths = gallery.texts.lengths.cpu()[text] + gallery.pictures.lengths.cpu()[picture]
        lengths, order = lengths.sort(descending=True, stable=True)
        found, first = torch.empty(len(order)), 0
        while first < len(order):
            last = first + self._size(lengths[first:])
            rows = order[first:last]
            found[rows] = self._batch(gallery, text[rows].to(self.device), picture[rows].to(self.device))
            first = last
        return found

    def matrix(self, gallery: Gallery, kept: Bool[Tensor, "i t"] | None = None) -> Float[Tensor, "i t"]:
        """The scores of all pairs, or of those that are kept: the others have -inf."""
        pictures, texts = len(gallery.pictures), len(gallery.texts)
        found = torch.full((pictures, texts), -torch.inf)
        kept = torch.ones_like(found, dtype=torch.bool) if kept is None else kept
        for block in torch.arange(pictures).split(max(1, _SORTED // texts)):
            row, text = kept[block].nonzero().unbind(1)
            found[block[row], text] = self.scores(gallery, text, block[row])
        return found

    def _size(self, lengths: Int[Tensor, " p"]) -> int:
        """How many of the next pairs, longest first, make a batch: those of one length if they fill half of it."""
        most = max(1, self.tokens // int(lengths[0]))
        alike = int((lengths[:most] == lengths[0]).sum())
        return alike if 2 * alike >= most else most

    def _batch(self, gallery: Gallery, text: Tensor, picture: Tensor) -> Tensor:
        with self._autocast():
            pooled = self.model.pooled(gallery.texts.rows(text), gallery.pictures.rows(picture))
            return self.score(Encoded(pooled=pooled)).float().cpu()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bf16")
