"""Who may look at whom in a row of words and regions."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vl.models.packing import Packing

#: The values of `Batch.attention`. Regions count as standing before the words, whatever their place in the row.
#: seq2seq (arXiv:1909.11059, section 3.2): words see all regions and the words before them, regions see regions.
#: causal: as seq2seq, but regions too see only those before them.
BIDIRECTIONAL, SEQ2SEQ, CAUSAL = range(3)


def attention_mask(
    attention: Int[Tensor, " b"] | None, packing: Packing, num_words: int
) -> Bool[Tensor, "b 1 l l"] | None:
    """True where a query (third axis) may look at a key; None for what the packing allows anyway.

    The first `num_words` places of a row are words, the others regions. A place always sees itself, padding too:
    a query that saw nothing would make NaN in some kernels.
    """
    if attention is None:
        return None
    place = torch.arange(packing.length, device=attention.device)
    is_region = place >= num_words
    order = torch.where(is_region, place - num_words, place + packing.length)
    causal = order[:, None] >= order
    patterns = torch.stack([torch.ones_like(causal), causal | is_region, causal])
    real, _ = packing.places(attention.device)
    return patterns[attention][:, None] & real[:, None, None] | (place[:, None] == place)
