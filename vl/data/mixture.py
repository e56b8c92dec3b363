"""Mixtures of sources: which examples every optimiser step takes, as a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from vl.data.index import ShardSet
from vl.data.negatives import Negatives
from vl.data.order import ORDER_VERSION, Epoch, Order, Shuffle
from vl.data.pool import Pool
from vl.data.remote import ShardCache
from vl.data.tokenizers import Tokenizer
from vl.data.views.base import View
from vl.draw import Draw

#: Steps whose sources are drawn at a time.
_BLOCK = 4096


class Source:
    """Shards with the view that makes examples of them, and the objectives its steps train.

    Args:
        shards: Paths or urls with braces or globs, as `vl.data.shards.expand_shards` reads them.
        view: Turns samples into examples.
        objectives: Names of the objectives that its steps train; empty trains all.
        weight: How often a step takes this source, relative to the other sources.
        name: What reports call it; by default `source0`, `source1`, ...
        cache: Folder for the index (by default beside each shard) and for remote shards, or a `ShardCache`.
        max_bad: A larger share of malformed samples or unreadable examples stops the run.
        negatives: Gives some examples the text or picture of another sample (`Batch.matched` says which), or every
            example a `Pool` of them.
        steps: The optimiser steps that may take it, from the first to before the second (None: to the end), so that
            what is learnt first comes first.

    Raises:
        ValueError: the weight is not positive, or there are no such steps.
    """

    def __init__(
        self,
        shards: str | list[str],
        view: View,
        objectives: tuple[str, ...] = (),
        weight: float = 1.0,
        name: str | None = None,
        cache: str | ShardCache | None = None,
        max_bad: float = 0.05,
        negatives: Negatives | Pool | None = None,
        steps: tuple[int, int | None] = (0, None),
    ) -> None:
        first, end = steps
        if first < 0 or (end is not None and end <= first):
            raise ValueError(f"steps of a source go from a first one to before a later one, not {list(steps)}")
        if not weight > 0:
            raise ValueError(f"the weight of a source must be positive, not {weight}; leave out a source not wanted")
        self.shards, self.view, self.objectives = shards, view, tuple(objectives)
        self.weight, self.name, self.cache, self.max_bad = weight, name, cache, max_bad
        self.negatives, self.first_step, self.end_step = negatives, first, np.inf if end is None else end

    @cached_property
    def opened(self) -> ShardSet:
        """The shards with their index, which is built or read from the cache when first asked for."""
        return ShardSet(self.shards, self.view, self.cache, self.max_bad)


@dataclass(frozen=True)
class Plan:
    """What one optimiser step takes: the examples `ids` of one source, in one of its epochs."""

    step: int
    source: int
    epoch: int
    ids: np.ndarray


class Mixture:
    """The plan of a run over one or several sources. Its state is one integer: the number of steps taken.

    Every step takes one global batch of one source. Which one is drawn by weight from (seed, step); how far a source
    has run follows from counting how often it was drawn before. So nothing else is needed to resume. Steps, not
    examples, are counted, because batches of a token budget differ in size; otherwise steps times `batch_size` is
    the number of examples.

    Args:
        sources: The sources.
        seed: Seed of every order and draw.
        batch_size: The GLOBAL batch of one optimiser step.
        order: How a source is shuffled and cut into batches.
        tokenizer: Gives the token lengths to an order that sorts by them.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        seed: int,
        batch_size: int,
        order: Order | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self.sources, self.seed, self.batch_size = tuple(sources), seed, batch_size
        self.order, self.tokenizer = order or Shuffle(), tokenizer
        self.names = [source.name or f"source{i}" for i, source in enumerate(self.sources)]
        if not self.sources or len(set(self.names)) < len(self.names):
            raise ValueError(f"a mixture needs sources of different names, not {self.names}; set `name`")
        self._check_sizes()
        self._check_steps()
        self._drawn = [np.zeros(len(self.sources), np.int64)]
        self._picks: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))
        self._epochs: dict[int, tuple[int, Epoch]] = {}
        self._ends: dict[int, list[int]] = {}

    def __len__(self) -> int:
        """Steps that take as many batches as all sources hold: one pass over a single source."""
        return sum(self._num_batches(source) for source in range(len(self.sources)))

    def plan(self, step: int) -> Plan:
        """The examples of optimiser step `step` (from 0)."""
        source, turn = self._turn(step)
        epoch, number = self._place(source, turn)
        return Plan(step, source, epoch, self._epoch(source, epoch).batch(number))

    def draw(self, plan: Plan, ids: np.ndarray) -> Draw:
        """The random numbers of examples of a plan's source."""
        return Draw.of(self.seed, plan.epoch, plan.source, torch.from_numpy(ids))

    def fingerprint(self) -> dict[str, Any]:
        """What fixes the plan, by name: strings and numbers only."""
        parts: dict[str, Any] = {
            "order version": ORDER_VERSION,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "order": repr(self.order),
            "sources": ", ".join(self.names),
        }
        for name, source in zip(self.names, self.sources, strict=True):
            parts[f"weight of {name}"] = source.weight
            parts[f"view of {name}"] = repr(source.view)
            parts[f"negatives of {name}"] = repr(source.negatives)
            if (source.first_step, source.end_step) != (0, np.inf):
                parts[f"steps of {name}"] = f"{source.first_step} to {source.end_step}"
            parts[f"objectives of {name}"] = ", ".join(source.objectives)
            parts[f"shards of {name}"] = source.opened.digest
        return parts

    def _check_sizes(self) -> None:
        for name, source in zip(self.names, self.sources, strict=True):
            if len(source.opened) < self.batch_size:
                raise ValueError(
                    f"{name} ({source.shards}) has {len(source.opened):,} examples, less than one global batch of "
                    f"{self.batch_size:,}: lower batch_size, or add shards"
                )

    def _check_steps(self) -> None:
        for step in {0, *(source.end_step for source in self.sources)} - {np.inf}:
            if not any(source.first_step <= step < source.end_step for source in self.sources):
                raise ValueError(f"no source may be taken at step {step}: let the `steps` of one go on")

    def _turn(self, step: int) -> tuple[int, int]:
        """The source of a step, and how often that source was drawn before."""
        block, place = divmod(step, _BLOCK)
        if block >= len(self._drawn):
            first = len(self._drawn) - 1
            counts = [np.bincount(row, minlength=len(self.sources)) for row in self._draws(first, block)]
            self._drawn += list(self._drawn[-1] + np.cumsum(counts, axis=0))
        if self._picks[0] != block:
            self._picks = (block, self._draws(block, block + 1)[0])
        picks = self._picks[1]
        source = int(picks[place])
        return source, int(self._drawn[block][source] + np.count_nonzero(picks[:place] == source))

    def _draws(self, first: int, last: int) -> np.ndarray:
        """The sources of the steps of blocks first..last-1, a row each."""
        steps = np.arange(first * _BLOCK, last * _BLOCK)
        coins = Draw.of(self.seed, 0, 0, torch.from_numpy(steps)).fold("source of a step").uniform().numpy()
        weights = np.stack([s.weight * ((s.first_step <= steps) & (steps < s.end_step)) for s in self.sources])
        bounds = np.cumsum(weights, axis=0) / weights.sum(axis=0)
        return (coins >= bounds[:-1]).sum(axis=0).reshape(-1, _BLOCK)

    def _place(self, source: int, turn: int) -> tuple[int, int]:
        """The epoch and the number within it of a source's batch number `turn`."""
        fixed = self.order.num_batches(len(self.sources[source].opened), self.batch_size)
        if fixed is not None:
            return divmod(turn, fixed)
        ends = self._ends.setdefault(source, [0])
        while ends[-1] <= turn:
            ends.append(ends[-1] + len(self._epoch(source, len(ends) - 1)))
        epoch = int(np.searchsorted(ends, turn, side="right")) - 1
        return epoch, turn - ends[epoch]

    def _epoch(self, source: int, epoch: int) -> Epoch:
        """An epoch of a source; the last one asked for is kept."""
        kept, order = self._epochs.get(source, (-1, None))
        if order is None or kept != epoch:
            shards = self.sources[source].opened
            draw = Draw.of(self.seed, epoch, source, torch.zeros(0, dtype=torch.int64))
            order = self.order.epoch(draw, shards.counts, self.batch_size, self._lengths(source))
            self._epochs[source] = epoch, order
        return order

    def _lengths(self, source: int) -> np.ndarray | None:
        if not self.order.needs_lengths:
            return None
        if self.tokenizer is None:
            raise ValueError(f"{self.order} sorts by token lengths: give the data a tokenizer, or order by `Shuffle`")
        return self.sources[source].opened.lengths(self.tokenizer)

    def _num_batches(self, source: int) -> int:
        fixed = self.order.num_batches(len(self.sources[source].opened), self.batch_size)
        return len(self._epoch(source, 0)) if fixed is None else fixed


def compare(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for each difference of two fingerprints, naming it."""
    names = sorted({*saved, *now})
    return [
        f"{name}: the checkpoint has {saved.get(name, 'none')!s}, this run {now.get(name, 'none')!s}"
        for name in names
        if saved.get(name) != now.get(name)
    ]
