"""Loaders: batches in the order of the plan, whatever the number of ranks and workers."""

from __future__ import annotations

import math
import warnings
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from vl.batch import Batch
from vl.data.collate import Collator
from vl.data.fork_server import fork_server
from vl.data.mixture import Mixture, Source
from vl.data.order import Order, rank_rows
from vl.data.reader import Fault, Item, Reader, Request
from vl.data.stages import ImageStage
from vl.data.tokenizers import Tokenizer
from vl.data.views.base import View

#: Bad examples are judged against at least this many examples, so that one early accident stops no run.
_LEAST_SEEN = 200
#: Bad examples that are reported one by one.
_FULL_REPORTS = 20


class Loader:
    """Sends requests to the workers (or answers them itself) in order, and keeps count of what was bad."""

    def __init__(self, reader: Reader | IterableDataset, num_workers: int) -> None:
        #: The latest bad examples, and how many there were in all.
        self.faults: deque[Fault] = deque(maxlen=1000)
        self.num_faults = 0
        self._requests = _Requests()
        self._loader = DataLoader(
            reader,
            batch_size=None,
            sampler=None if isinstance(reader, IterableDataset) else self._requests,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            persistent_workers=num_workers > 0,
            multiprocessing_context=fork_server(__name__) if num_workers else None,
            generator=torch.Generator(),  # its own, so that the global one stays untouched
        )

    def _items(self, requests: Iterable[Request] = ()) -> Iterator[Item]:
        self._requests.pending = requests
        for item in self._loader:
            if isinstance(item, ValueError):
                raise item
            for fault in item.faults:
                self._report(fault)
            yield item

    def _report(self, fault: Fault) -> None:
        self.faults.append(fault)
        self.num_faults += 1
        if self.num_faults > _FULL_REPORTS and self.num_faults.bit_count() != 1:
            return  # from here on every doubling is reported
        fate = f"replaced by {fault.replaced_by}" if fault.replaced_by else "left out"
        report = f"sample {fault.key} is bad and was {fate}: {fault.reason}"
        warnings.warn(f"{report} (bad examples so far: {self.num_faults})", stacklevel=2)


class _Requests:
    """What DataLoader iterates in the main process: the requests of one pass.

    It must not lead back to the loader: in a cycle, the garbage collector closes the workers' queues before they are
    told to stop, and each is then waited for in vain (5 s).
    """

    pending: Iterable[Request] = ()

    def __iter__(self) -> Iterator[Request]:
        return iter(self.pending)


def _as_it_is(item: Any) -> Any:
    return item


class TrainLoader(Loader):
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
        self._seen, self._bad = Counter[int](), Counter[int]()

    def __len__(self) -> int:
        return len(self.mixture)

    def __iter__(self) -> Iterator[list[Batch]]:
        request = partial(_train_request, self.mixture, self.accumulate, self.rank, self.world_size)
        for item in self._items(map(request, range(self.step, self.step + len(self)))):
            self._seen[item.source] += sum(map(len, item.batches))
            self._bad[item.source] += len(item.faults)
            name, allowed = self.mixture.names[item.source], self.mixture.sources[item.source].max_bad
            check_share(name, self._bad[item.source], self._seen[item.source], allowed, self.faults)
            self.step += 1
            yield item.batches

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.step = state["steps"]


def _train_request(mixture: Mixture, accumulate: int, rank: int, world_size: int, step: int) -> Request:
    plan = mixture.plan(step)
    slices = np.split(plan.ids, accumulate)
    return Request(plan.source, plan.epoch, tuple(rank_rows(ids, rank, world_size) for ids in slices))


class EvalLoader(Loader):
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
        self._most_rows = math.ceil(len(source.opened) / world_size)

    def __len__(self) -> int:
        """Batches of the fullest rank: Lightning skips the evaluation of a rank with none, and the others, which sum
        over all ranks at its end, would wait for it."""
        return math.ceil(self._most_rows / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        self.faults.clear()
        self.num_faults = 0
        ends = range(self.batch_size, len(self._rows), self.batch_size)
        batches = np.split(self._rows, ends) if len(self._rows) else []
        for item in self._items(Request(0, 0, (ids,), replace_bad=False) for ids in batches):
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
            f"{name} = {size} (of the global batch) does not divide into {world_size} ranks x accumulate = "
            f"{accumulate} parts; the nearest that do: {nearest}"
        )


def check_share(name: str, bad: int, seen: int, allowed: float, faults: Sequence[Fault]) -> None:
    """Stop a run with too many bad examples.

    Raises:
        ValueError: more than the share `allowed` of those seen (or of the least that a judgement takes) are bad.
    """
    if bad > allowed * max(seen, _LEAST_SEEN):
        raise ValueError(
            f"{bad} of {seen} examples of {name} are bad, more than max_bad = {allowed:.0%}; the last is "
            f"{faults[-1].key}: {faults[-1].reason}. Repair the shards, or raise max_bad of the source"
        )
