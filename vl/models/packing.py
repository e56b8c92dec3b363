"""Packed rows: the real tokens of a padded batch one after another, so that padding is never computed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """Where the n real tokens of a `(b, l)` batch stand: token i at `index[i]` of its b * l places.

    `index` is None where every place is real; packing is then a view.
    """

    batch: int
    length: int
    index: Int[Tensor, " n"] | None = None
    mask: Bool[Tensor, "b l"] | None = None

    @classmethod
    def of(cls, mask: Bool[Tensor, "b l"]) -> Packing:
        """The packing of a batch with this mask (True where real)."""
        batch, length = mask.shape
        index = mask.flatten().nonzero().squeeze(1)
        return cls(batch, length) if len(index) == batch * length else cls(batch, length, index, mask)

    @classmethod
    def of_lengths(cls, lengths: Int[Tensor, " b"]) -> Packing:
        """The packing of rows that begin with so many real tokens."""
        places = torch.arange(int(lengths.max()), device=lengths.device)
        return cls.of(places < lengths[:, None])

    def pack(self, x: Shaped[Tensor, "b l ..."]) -> Shaped[Tensor, "n ..."]:
        """The real tokens of `x`, row after row."""
        x = x.flatten(0, 1)
        return x if self.index is None else x.index_select(0, self.index)

    def pad(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "b l d"]:
        """The inverse of `pack`, zeros in the padding."""
        if self.index is not None:
            x = x.new_zeros(self.batch * self.length, x.shape[1]).index_copy(0, self.index, x)
        return x.view(self.batch, self.length, -1)

    def rows_at(self, positions: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """The packed row of token `positions[i]` of text i, which must be a real one."""
        starts = torch.arange(self.batch, device=positions.device) * self.length
        if self.mask is not None:
            starts = self.lengths.cumsum(0) - self.lengths
        return starts + positions

    def first(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "b d"]:
        """The first token of every row, none of which may be empty."""
        return x.index_select(0, self.rows_at(torch.zeros(self.batch, dtype=torch.long, device=x.device)))

    def compact(self) -> Packing:
        """The packing of the same tokens in rows without gaps, as short as the longest row allows."""
        return self if self.lengths is None else Packing.of_lengths(self.lengths)

    def keys(self, asker: Packing) -> Bool[Tensor, "b 1 #lq l"] | None:
        """What the queries of a row of `asker`, which may be these tokens themselves, may look at: its real tokens;
        None for all."""
        return None if self.mask is None else self.mask[:, None, None]

    @cached_property
    def lengths(self) -> Int[Tensor, " b"] | None:
        """The number of real tokens of every row; None where every place is real."""
        return None if self.mask is None else self.mask.sum(1)

    @cached_property
    def groups(self) -> list[tuple[Int[Tensor, " m"], Packing]]:
        """The packed tokens of rows of similar length, and their packing without gaps: what is computed by whole rows
        costs less in such groups. Four of them, or fewer where they would hold less than four rows; none where rows
        are full, or all are empty."""
        if self.lengths is None or not self.lengths.any():
            return []
        by_length = self.lengths.argsort(stable=True)
        filled = by_length[self.lengths[by_length] > 0]
        return [tokens_of(self.lengths, rows) for rows in filled.chunk(max(1, min(4, len(filled) // 4)))]

    @cached_property
    def ungroup(self) -> Int[Tensor, " n"]:
        """Where the packed tokens stand among those of the groups, one after the other."""
        return torch.cat([tokens for tokens, _ in self.groups]).argsort()

    def places(self, device: torch.device) -> tuple[Bool[Tensor, "b l"], Int[Tensor, "b l"]]:
        """The mask, and the packed row of every place (in the padding: of any)."""
        size = self.batch, self.length
        if self.mask is None:
            return torch.ones(size, dtype=torch.bool, device=device), torch.arange(
                size[0] * size[1], device=device
            ).view(size)
        return self.mask, self.mask.flatten().cumsum(0).view(size) - 1


def tokens_of(lengths: Int[Tensor, " b"], rows: Int[Tensor, " r"]) -> tuple[Int[Tensor, " m"], Packing]:
    """The tokens of some of the rows of these lengths, which are packed one after the other, and their packing."""
    starts = lengths.cumsum(0) - lengths
    packing = Packing.of_lengths(lengths[rows])
    places = torch.arange(packing.length, device=rows.device)
    return packing.pack(starts[rows][:, None] + places), packing


Part = tuple[Float[Tensor, "_ d"], Packing, Int[Tensor, " r"] | None]


def join(*parts: Part) -> tuple[Float[Tensor, "m d"], Packing]:
    """Packed batches side by side: row i of the result is row `rows[i]` of each part, one after the other.

    A part is its tokens, their packing, and `rows`; None for all rows as they are.
    """
    if len(parts) == 1 and parts[0][2] is None:
        return parts[0][:2]
    masks, places, offset = [], [], 0
    for x, packing, rows in parts:
        mask, place = packing.places(x.device)
        masks.append(mask if rows is None else mask[rows])
        places.append((place if rows is None else place[rows]) + offset)
        offset += len(x)
    joint = Packing.of(torch.cat(masks, dim=1))
    source = joint.pack(torch.cat(places, dim=1))
    return torch.cat([x for x, _, _ in parts]).index_select(0, source), joint


@dataclass(frozen=True)
class Table:
    """Packed rows kept to be looked up by number: row i is the `lengths[i]` tokens from `starts[i]` on."""

    x: Float[Tensor, "n d"]
    lengths: Int[Tensor, " b"]

    @classmethod
    def of(cls, batches: Iterable[tuple[Float[Tensor, "_ d"], Packing]]) -> Table:
        """The rows of packed batches, one after the other."""
        parts = [(x, packing.places(x.device)[0].sum(1)) for x, packing in batches]
        return cls(torch.cat([x for x, _ in parts]), torch.cat([lengths for _, lengths in parts]))

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.lengths)

    def rows(self, index: Int[Tensor, " r"]) -> tuple[Float[Tensor, "m d"], Packing]:
        """Some rows, which may repeat."""
        tokens, packing = tokens_of(self.lengths, index)
        return self.x.index_select(0, tokens), packing
