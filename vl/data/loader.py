"""Loaders: batches in the order of the plan, whatever the number of ranks and workers."""

from __future__ import annotations

import math
import multiprocessing
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from vl.batch import Batch
from vl.data.collate import Collator
from vl.data.mixture import Mixture, Source
from vl.data.order import Order, rank_rows
from vl.data.stages import BadMember, ImageStage
from vl.data.tokenizers import Tokenizer
from vl.data.views.base import Example, View
from vl.draw import Draw

#: Bad examples are judged against at least this many examples, so that one early accident stops no run.
_LEAST_SEEN = 200


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
    """What a worker answers to a request; an empty micro-batch is left out."""

    request: Request
    batches: list[Batch]
    faults: list[Fault]


class Reader(Dataset):
    """Answers requests for batches. It has no state, so any worker may answer any request."""

    def __init__(self, sources: Sequence[Source], seed: int, collator: Collator) -> None:
        self.shards = [source.opened for source in sources]
        self.views = [source.view for source in sources]
        self.objectives = [source.objectives for source in sources]
        self.seed, self.collator = seed, collator

    def __getitem__(self, request: Request) -> Item | ValueError:
        faults: list[Fault] = []
        try:
            batches = [self._batch(request, ids, faults) for ids in request.micro_batches]
        except ValueError as error:  # returned, because a worker would bury its message in a traceback
            return error
        return Item(request, [batch for batch in batches if batch is not None], faults)

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
        try:
            example = self.views[source].example(sample, inner, draw)
            return self.collator.decode(example, self._per_picture(example, numbers, draw))
        except ValueError as error:
            raise BadMember(str(error), sample.key) from error

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

    def _per_picture(self, example: Example, numbers: Sequence[float], draw: Draw) -> list[Sequence[float]]:
        """Random numbers for each picture of an example; those of the first were drawn with the whole batch."""
        assert self.collator.image is not None or not example.images
        others = range(1, len(example.images))
        return [numbers, *(self.collator.image.numbers(draw.fold(slot))[0] for slot in others)][: len(example.images)]


class _Loader:
    """Sends requests to the workers (or answers them itself) in order, and keeps count of what was bad."""

    def __init__(self, reader: Reader, num_workers: int) -> None:
        #: The latest bad examples, and how many there were in all.
        self.faults: deque[Fault] = deque(maxlen=1000)
        self.num_faults = 0
        self._loader = DataLoader(
            reader,
            batch_size=None,
            sampler=_Sampler(self),
            num_workers=num_workers,
            collate_fn=_as_it_is,
            persistent_workers=num_workers > 0,
            multiprocessing_context=_fork_server() if num_workers else None,
            generator=torch.Generator(),  # its own, so that the global one stays untouched
        )

    def requests(self) -> Iterator[Request]:
        raise NotImplementedError

    def _items(self) -> Iterator[Item]:
        for item in self._loader:
            if isinstance(item, ValueError):
                raise item
            for fault in item.faults:
                self._report(fault)
            yield item

    def _report(self, fault: Fault) -> None:
        self.faults.append(fault)
        self.num_faults += 1
        fate = f"replaced by {fault.replaced_by}" if fault.replaced_by else "left out"
        warnings.warn(f"sample {fault.key} is bad and was {fate}: {fault.reason}", stacklevel=2)


class _Sampler:
    """What DataLoader iterates in the main process: the loader's requests from where it stands."""

    def __init__(self, loader: _Loader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Request]:
        return self.loader.requests()


def _fork_server() -> BaseContext:
    """Workers fork from a process that has imported what they need but started no thread: plain fork may hang."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__])
    return context


def _as_it_is(item: Any) -> Any:
    return item


class TrainLoader(_Loader):
    """One item an optimiser step: this rank's `accumulate` micro-batches of the step's global batch.

    Micro-batch m of all ranks together is the m-th slice of the global batch; a rank takes every `world_size`-th row
    of it. Iterating gives `len(self)` steps from the next one on; the state is the number of steps given so far. It
    is the same on all ranks, so rank 0's serves them all, also in a run with other ranks, workers or accumulation.

    Raises:
        ValueError: the global batch does not divide, a source has more bad examples than its `max_bad` allows, or
            a shard cannot be read.
    """

    def __init__(
        self, mixture: Mixture, collator: Collator, accumulate: int, num_workers: int, rank: int, world_size: int
    ) -> None:
        check_split(mixture.order, mixture.batch_size, accumulate, world_size)
        super().__init__(Reader(mixture.sources, mixture.seed, collator), num_workers)
        self.mixture, self.accumulate, self.rank, self.world_size = mixture, accumulate, rank, world_size
        self.step = 0
        self._seen = np.zeros(len(mixture.sources), np.int64)
        self._bad = np.zeros(len(mixture.sources), np.int64)

    def __len__(self) -> int:
        return len(self.mixture)

    def requests(self) -> Iterator[Request]:
        for step in range(self.step, self.step + len(self)):
            plan = self.mixture.plan(step)
            slices = np.split(plan.ids, self.accumulate)
            yield Request(plan.source, plan.epoch, tuple(rank_rows(ids, self.rank, self.world_size) for ids in slices))

    def __iter__(self) -> Iterator[list[Batch]]:
        for item in self._items():
            self._check_share(item)
            self.step += 1
            yield item.batches

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.step = state["steps"]

    def _check_share(self, item: Item) -> None:
        source = item.request.source
        self._seen[source] += sum(map(len, item.batches))
        self._bad[source] += len(item.faults)
        allowed = self.mixture.sources[source].max_bad
        if self._bad[source] > allowed * max(self._seen[source], _LEAST_SEEN):
            last = item.faults[-1]
            raise ValueError(
                f"{self._bad[source]} of {self._seen[source]} examples of {self.mixture.names[source]} are bad, more "
                f"than max_bad = {allowed:.0%}; the last is {last.key}: {last.reason}. Repair the shards, or raise "
                f"max_bad of the source"
            )


class EvalLoader(_Loader):
    """Every example of a source exactly once over all ranks: rank r takes rows r, r + W, r + 2W, ...

    Ranks may have different numbers of examples, also none. An example that cannot be read is left out, never
    replaced: a warning names it at once, and `faults` and `num_faults` say so after the pass, so that a report can
    name the examples its figures lack. Draws are those of seed 0 and epoch 0.
    """

    def __init__(
        self, source: Source, collator: Collator, batch_size: int, num_workers: int, rank: int, world_size: int
    ) -> None:
        super().__init__(Reader([source], 0, collator), num_workers)
        self.batch_size = batch_size
        self._rows = rank_rows(np.arange(len(source.opened)), rank, world_size)

    def __len__(self) -> int:
        return math.ceil(len(self._rows) / self.batch_size)

    def requests(self) -> Iterator[Request]:
        for start in range(0, len(self._rows), self.batch_size):
            yield Request(0, 0, (self._rows[start : start + self.batch_size],), replace_bad=False)

    def __iter__(self) -> Iterator[Batch]:
        self.faults.clear()
        self.num_faults = 0
        for item in self._items():
            yield from item.batches


def eval_loader(
    shards: str | list[str],
    view: View,
    tokenizer: Tokenizer | None,
    image: ImageStage | None,
    batch_size: int,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> EvalLoader:
    """A loader over every example of some shards, for evaluation outside a training run."""
    return EvalLoader(Source(shards, view), Collator(tokenizer, image), batch_size, num_workers, rank, world_size)


def check_split(order: Order, batch_size: int, accumulate: int, world_size: int) -> None:
    """Refuse a global batch that ranks and accumulation do not divide.

    Raises:
        ValueError: names the nearest values that work.
    """
    parts = accumulate * world_size
    name, size = ("batch_size", batch_size) if order.multiple is None else ("order.multiple", order.multiple)
    if size % parts:
        below, above = size - size % parts, size - size % parts + parts
        nearest = f"{below} or {above}" if below else str(above)
        raise ValueError(
            f"{name} = {size} (of the global batch) does not divide into {world_size} ranks x accumulate = {accumulate} "
            f"parts; the nearest that do: {nearest}"
        )
