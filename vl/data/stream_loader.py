"""Batches from shards that can only be streamed. NOT exact: see `vl.data.streaming`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import count

import torch
from torch.utils.data import IterableDataset, get_worker_info

from vl.batch import Batch
from vl.data.collate import Collator
from vl.data.loader import Loader, check_share
from vl.data.reader import Fault, Item
from vl.data.sample import Sample
from vl.data.stages import BadMember
from vl.data.streaming import StreamedShards
from vl.data.views.base import Example, View
from vl.draw import Draw

#: Bad examples a micro-batch, in sizes of it, after which its worker gives up.
_MOST_BAD = 10


class StreamedSource:
    """Shards that are streamed from front to back, in place of the sources of a mixture.

    A resumed run does not go on where it stopped, batches depend on ranks and workers, and nothing is counted
    beforehand: prefer a list of `vl.data.mixture.Source` wherever the shards can be indexed.

    Args:
        shards: Paths or urls with braces or globs; `pipe:COMMAND` too if `allow_pipes`.
        view: Turns samples into examples.
        steps: Optimiser steps that Lightning counts as an epoch.
        objectives: Names of the objectives that its steps train; empty trains all.
        shuffle: Samples of the shuffle buffer.
        allow_pipes: Run `pipe:` entries in a shell; only for lists that nobody else can write to.
        max_bad: A larger share of unreadable examples stops the run.
    """

    def __init__(
        self,
        shards: str | list[str],
        view: View,
        steps: int,
        objectives: tuple[str, ...] = (),
        shuffle: int = 1000,
        allow_pipes: bool = False,
        max_bad: float = 0.05,
    ) -> None:
        self.shards, self.view, self.steps, self.objectives = shards, view, steps, tuple(objectives)
        self.shuffle, self.allow_pipes, self.max_bad = shuffle, allow_pipes, max_bad

    def opened(self, seed: int) -> StreamedShards:
        return StreamedShards(self.shards, self.view, self.shuffle, seed=seed, allow_pipes=self.allow_pipes)


class StreamReader(IterableDataset):
    """Items of `accumulate` micro-batches of `size` examples; a bad example is left out and the next one taken."""

    def __init__(
        self, source: StreamedSource, seed: int, collator: Collator, accumulate: int, size: int, group: tuple[int, int]
    ) -> None:
        self.source, self.seed, self.collator = source, seed, collator
        self.accumulate, self.size, self.group = accumulate, size, group
        self.shards = source.opened(seed)
        self.shards.group = group

    def __iter__(self) -> Iterator[Item | ValueError]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        # Numbers for draws: no two examples of the run share one, whichever process reads them.
        ids = count(self.group[0] * workers + number, self.group[1] * workers)
        examples = self._examples()
        while True:
            faults: list[Fault] = []
            try:
                batches = [self._batch(examples, ids, faults) for _ in range(self.accumulate)]
            except ValueError as error:  # returned, because a worker would bury its message in a traceback
                yield error
                return
            yield Item(0, batches, faults)

    def _batch(self, examples: Iterator[tuple[Sample, int]], ids: Iterator[int], faults: list[Fault]) -> Batch:
        draw = Draw.of(self.seed, 0, 0, torch.tensor([next(ids) for _ in range(self.size)]))
        rows = [self._example(examples, Draw(draw.key, draw.examples[row, None]), faults) for row in range(self.size)]
        return self.collator(rows, draw, self.source.objectives)

    def _example(self, examples: Iterator[tuple[Sample, int]], draw: Draw, faults: list[Fault]) -> Example:
        while True:
            sample, inner = next(examples)
            try:
                return self.collator.read(self.source.view, sample, inner, draw)
            except BadMember as error:
                faults.append(Fault(sample.key, str(error)))
            if len(faults) > _MOST_BAD * self.size:
                raise ValueError(
                    f"{len(faults)} examples of the stream are bad, the last: {sample.key}: {faults[-1].reason}"
                )

    def _examples(self) -> Iterator[tuple[Sample, int]]:
        for sample in self.shards:
            try:
                number = self.source.view.count(sample.record)
            except ValueError:
                number = 1  # reading it says what is wrong
            yield from ((sample, inner) for inner in range(number))


class StreamLoader(Loader):
    """One item an optimiser step, as `vl.data.loader.TrainLoader`, but in whatever order the streams come."""

    def __init__(
        self, source: StreamedSource, seed: int, collator: Collator, accumulate: int, size: int, num_workers: int,
        group: tuple[int, int],
    ) -> None:  # fmt: skip
        super().__init__(StreamReader(source, seed, collator, accumulate, size, group), num_workers)
        self.source, self.step, self._seen = source, 0, 0

    def __len__(self) -> int:
        return self.source.steps

    def __iter__(self) -> Iterator[list[Batch]]:
        items = self._items()
        for _ in range(len(self)):
            item = next(items)
            self._seen += sum(map(len, item.batches))
            check_share("the stream", self.num_faults, self._seen, self.source.max_bad, self.faults)
            self.step += 1
            yield item.batches

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.step = state["steps"]
        warnings.warn("a stream starts again from its first shards: this resume is not exact", stacklevel=2)
