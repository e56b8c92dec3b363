"""Readers: answer requests for batches, in any process and any order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch.utils.data import Dataset

from vl.batch import Batch
from vl.data.collate import Collator
from vl.data.mixture import Source
from vl.data.negatives import Other, candidates
from vl.data.stages import BadMember
from vl.data.views.base import Example
from vl.draw import Draw


@dataclass(frozen=True)
class Fault:
    """An example that could not be read, why, and the key of the one that took its place (None: nothing did)."""

    key: str
    reason: str
    replaced_by: str | None = None


@dataclass(frozen=True)
class Request:
    """Examples of a source, micro-batch by micro-batch. Training replaces bad ones, evaluation leaves them out."""

    source: int
    epoch: int
    micro_batches: tuple[np.ndarray, ...]
    replace_bad: bool = True


@dataclass(frozen=True)
class Item:
    """What a worker answers to a request: micro-batches (an empty one is left out) and what was bad."""

    source: int
    batches: list[Batch]
    faults: list[Fault]


class Reader(Dataset):
    """Answers requests for batches. It has no state, so any worker may answer any request."""

    def __init__(self, sources: Sequence[Source], seed: int, collator: Collator) -> None:
        self.shards = [source.opened for source in sources]
        self.views = [source.view for source in sources]
        self.negatives = [source.negatives for source in sources]
        self.objectives = [source.objectives for source in sources]
        self.seed, self.collator = seed, collator

    def __getitem__(self, request: Request) -> Item | ValueError:
        faults: list[Fault] = []
        try:
            batches = [self._batch(request, ids, faults) for ids in request.micro_batches]
        except ValueError as error:  # returned, because a worker would bury its message in a traceback
            return error
        return Item(request.source, [batch for batch in batches if batch is not None], faults)

    def _batch(self, request: Request, ids: np.ndarray, faults: list[Fault]) -> Batch | None:
        draw = Draw.of(self.seed, request.epoch, request.source, torch.from_numpy(ids))
        numbers = self.collator.image.numbers(draw) if self.collator.image else [()] * len(ids)
        examples, kept = [], []
        for row, example_id in enumerate(ids.tolist()):
            one = Draw(draw.key, draw.examples[row : row + 1])
            example = self._example(request, example_id, one, numbers[row], faults)
            if example is not None:
                examples.append(example)
                kept.append(row)
        if not examples:
            return None
        draw = draw if len(kept) == len(ids) else Draw(draw.key, draw.examples[kept])
        return self.collator(examples, draw, self.objectives[request.source])

    def _example(
        self, request: Request, example_id: int, draw: Draw, numbers: Sequence[float], faults: list[Fault]
    ) -> Example | None:
        """The example, or in its place the next readable one of its shard (as training wants) or None."""
        bad: list[tuple[str, str]] = []
        found = None
        for candidate in self._candidates(request, example_id):
            try:
                found = self._read(request.source, candidate, draw, numbers)
                break
            except BadMember as error:
                bad.append((error.key or f"example {candidate}", str(error)))
        if found is None and request.replace_bad:
            raise ValueError(f"no example of the shard of {bad[0][0]} can be read; the first: {bad[0][1]}")
        if bad:
            faults.append(Fault(*bad[0], replaced_by=found.key if found else None))
        return found

    def _read(self, source: int, example_id: int, draw: Draw, numbers: Sequence[float]) -> Example:
        """An example with its pictures decoded; a damaged shard is an error of its own, not a bad member."""
        sample = self.shards[source].read(example_id)
        inner = self.shards[source].locate(example_id)[2]
        negatives, change = self.negatives[source], None
        if negatives is not None:
            others = self._others(source, sample.key, draw, negatives.swap == "picture")
            change = partial(negatives.apply, record=sample.record, draw=draw, others=others)
        return self.collator.read(self.views[source], sample, inner, draw, numbers, change)

    def _others(self, source: int, key: str, draw: Draw, pictures: bool) -> Iterator[Other]:
        """Records of the samples of other keys, in random order, each with a way to make its example."""
        shards, view = self.shards[source], self.views[source]
        make = view.example if pictures else view.unread
        for candidate in candidates(len(shards), draw):
            try:
                sample = shards.read(candidate)
            except BadMember:
                continue
            if sample.key != key:
                yield sample.record, partial(make, sample, shards.locate(candidate)[2], draw)

    def _candidates(self, request: Request, example_id: int) -> Iterator[int]:
        """The example, and if bad ones are replaced the others of its shard, from the next one on and around."""
        yield example_id
        if request.replace_bad:
            counts = self.shards[request.source].counts
            last = np.cumsum(counts)
            shard = int(np.searchsorted(last, example_id, side="right"))
            first = int(last[shard] - counts[shard])
            yield from range(example_id + 1, int(last[shard]))
            yield from range(first, example_id)
