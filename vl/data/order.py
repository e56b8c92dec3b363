"""The order of a run: a pure function of (seed, epoch) over the number of examples in each shard.

Shards are permuted, then examples within groups of `window` shards, so that a reader has few shards open at a time.
Batch boundaries belong to the order: neither ranks nor workers nor accumulation change which examples make a step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int

from vl.draw import Draw

#: Part of a run's fingerprint: raise it whenever an order changes.
ORDER_VERSION = 1


@dataclass(frozen=True)
class Epoch:
    """One epoch of a source: example ids in order, and where each global batch starts (the last entry is the end)."""

    ids: Int[np.ndarray, " n"]
    starts: Int[np.ndarray, " batches_and_one"]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def batch(self, number: int) -> Int[np.ndarray, " b"]:
        return self.ids[self.starts[number] : self.starts[number + 1]]


class Order:
    """How a source is shuffled and cut into global batches; the last incomplete batch of an epoch is dropped."""

    window: int
    needs_lengths: bool = False
    #: Every batch holds a multiple of this many examples (None: the global batch size itself).
    multiple: int | None = None

    def epoch(
        self,
        draw: Draw,
        counts: Int[np.ndarray, " shards"],
        batch_size: int,
        lengths: Int[np.ndarray, " examples"] | None = None,
    ) -> Epoch:
        """One epoch over shards of `counts` examples, whose ids run from 0 shard by shard.

        Args:
            draw: The numbers of (seed, epoch, source); its examples are ignored.
            counts: Examples of each shard.
            batch_size: The global batch.
            lengths: Tokens of each example, for an order that `needs_lengths`.
        """
        return self.cut(shuffle(draw, counts, self.window), lengths, batch_size, draw)

    def num_batches(self, num_examples: int, batch_size: int) -> int | None:
        """Batches of an epoch where every epoch has as many; None where it depends on the epoch."""
        return num_examples // batch_size

    def cut(self, ids: np.ndarray, lengths: np.ndarray | None, batch_size: int, draw: Draw) -> Epoch:
        raise NotImplementedError


@dataclass(frozen=True)
class Shuffle(Order):
    """Batches of the shuffled order as it comes.

    Args:
        window: Shards whose examples are mixed; more mixes better, fewer reads fewer files at a time.
    """

    window: int = 16

    def cut(self, ids: np.ndarray, lengths: np.ndarray | None, batch_size: int, draw: Draw) -> Epoch:
        return _fixed(ids, batch_size)


@dataclass(frozen=True)
class LengthBuckets(Order):
    """Batches of texts of similar length: a pool of batches is sorted by length, cut, and its batches shuffled.

    Args:
        window: Shards whose examples are mixed.
        pool: Global batches of a pool; more pads less, fewer keeps batches more alike.
    """

    window: int = 16
    pool: int = 32
    needs_lengths = True

    def cut(self, ids: np.ndarray, lengths: np.ndarray | None, batch_size: int, draw: Draw) -> Epoch:
        assert lengths is not None
        ids = ids[: len(ids) - len(ids) % batch_size]
        pools = []
        for start in range(0, len(ids), self.pool * batch_size):
            pool = ids[start : start + self.pool * batch_size]
            batches = pool[np.argsort(lengths[pool], kind="stable")].reshape(-1, batch_size)
            pools.append(batches[_permutation(draw.fold("batches").fold(start), len(batches))].ravel())
        return _fixed(np.concatenate([ids[:0], *pools]), batch_size)


@dataclass(frozen=True)
class TokenBudget(Order):
    """Batches of as many texts of similar length as fit a number of padded tokens, `batch_size` at most.

    The number of batches differs from epoch to epoch, so resuming counts the earlier epochs anew.

    Args:
        tokens: Padded text tokens of a global batch: its examples times its longest text.
        window: Shards whose examples are mixed.
        pool: A pool holds `pool` times `batch_size` examples.
        multiple: Batches hold a multiple of this many examples (at least one multiple, even over the budget);
            ranks times accumulation must divide it.
    """

    tokens: int
    window: int = 16
    pool: int = 32
    multiple: int = 8  # type: ignore[assignment]
    needs_lengths = True

    def num_batches(self, num_examples: int, batch_size: int) -> None:
        return None

    def cut(self, ids: np.ndarray, lengths: np.ndarray | None, batch_size: int, draw: Draw) -> Epoch:
        assert lengths is not None
        batches: list[np.ndarray] = []
        rest = ids[:0]
        for start in range(0, len(ids), self.pool * batch_size):
            pool = np.concatenate([rest, ids[start : start + self.pool * batch_size]])
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            ends = self._ends(lengths[pool], batch_size)
            parts = np.split(pool, ends)
            rest = parts.pop()
            batches += [parts[i] for i in _permutation(draw.fold("batches").fold(start), len(parts))]
        starts = np.cumsum([0, *map(len, batches)])
        return Epoch(np.concatenate([ids[:0], *batches]), starts)

    def _ends(self, lengths: np.ndarray, batch_size: int) -> list[int]:
        """Where batches of a sorted pool end; what follows the last end is too short for a batch."""
        most = batch_size - batch_size % self.multiple
        ends, start = [], 0
        while len(lengths) - start >= self.multiple:
            padded = lengths[start : start + most] * np.arange(1, min(most, len(lengths) - start) + 1)
            fits = int(np.searchsorted(padded, self.tokens, side="right"))
            start += max(fits - fits % self.multiple, self.multiple)
            ends.append(start)
        return ends


def shuffle(draw: Draw, counts: Int[np.ndarray, " shards"], window: int) -> Int[np.ndarray, " n"]:
    """Every example id once: shards permuted, then examples within groups of `window` shards."""
    firsts = np.cumsum(counts) - counts
    shards = _permutation(draw.fold("shards"), len(counts))
    within = draw.fold("examples")
    groups = [np.zeros(0, np.int64)]
    for start in range(0, len(shards), window):
        group = [np.arange(firsts[shard], firsts[shard] + counts[shard]) for shard in shards[start : start + window]]
        ids = np.concatenate(group)
        groups.append(ids[_by_draw(within, ids)])
    return np.concatenate(groups)


def rank_rows(ids: Int[np.ndarray, " n"], rank: int, world_size: int) -> Int[np.ndarray, " m"]:
    """The examples of one rank: every `world_size`-th, so that ranks share short and long ones alike."""
    return ids[rank::world_size]


def _permutation(draw: Draw, number: int) -> np.ndarray:
    return _by_draw(draw, np.arange(number))


def _by_draw(draw: Draw, ids: np.ndarray) -> np.ndarray:
    """The permutation that sorts ids by their random bits."""
    return np.argsort(replace(draw, examples=torch.from_numpy(ids)).bits().numpy())


def _fixed(ids: np.ndarray, batch_size: int) -> Epoch:
    usable = len(ids) - len(ids) % batch_size
    return Epoch(ids[:usable], np.arange(0, usable + 1, batch_size))
