"""Words that are written one after another beside a stream of regions: VLP's pattern for models of two streams
(arXiv:1909.11059, section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

from jaxtyping import Bool, Int
from torch import Tensor

from vl.models.masks import BIDIRECTIONAL, CAUSAL, attention_mask
from vl.models.packing import Packing


@dataclass(frozen=True)
class Written(Packing):
    """A packing of words of which some rows are being written: there words see the words before them, and regions see
    none, as they would tell a word those after it.

    `bidirectional` says which rows are not, and `pattern` who sees whom among the words.
    """

    bidirectional: Bool[Tensor, " b"] | None = None
    pattern: Bool[Tensor, "b 1 l l"] | None = None

    @classmethod
    def of_words(cls, packing: Packing, attention: Int[Tensor, " b"]) -> Written:
        """Words with the pattern of each row (`Batch.attention`).

        Raises:
            ValueError: regions too are to see only those before them, which only one stream can do.
        """
        if (attention == CAUSAL).any():
            raise ValueError("two streams know no causal regions: use the seq2seq pattern, or SingleStream")
        own = {field.name: getattr(packing, field.name) for field in fields(Packing)}
        return cls(**own, bidirectional=attention == BIDIRECTIONAL,
                   pattern=attention_mask(attention, packing, packing.length))  # fmt: skip

    @cached_property
    def groups(self) -> list[tuple[Int[Tensor, " m"], Packing]]:
        """None: the pattern is one of whole batches."""
        return []

    def keys(self, asker: Packing) -> Bool[Tensor, "b 1 #lq l"] | None:
        """As in `Packing`, by the pattern where words ask, none of a row that is written where regions do."""
        if asker is self:
            return self.pattern
        real, _ = self.places(self.bidirectional.device)
        return (real & self.bidirectional[:, None])[:, None, None]
