"""Plain webdataset streaming, for shards that can only be read from front to back. NOT exact.

Use `vl.data.index.ShardSet` where you can. A stream has no index, so nothing can be counted beforehand, a resumed run
does not continue where it stopped, the order depends on the number of ranks and workers, and examples are skipped
or come twice where those change. What it needs is one pass and no disk.
"""

from __future__ import annotations

import random
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import count, islice
from typing import Any

import fsspec
import webdataset
from braceexpand import braceexpand
from torch.utils.data import IterableDataset
from webdataset.tariterators import group_by_keys
from webdataset.utils import pytorch_worker_info

from vl.data.sample import MAX_TEXT_BYTES, TEXT_MEMBERS, Sample
from vl.data.shards import expand_shards
from vl.data.tar import BLOCK, PICKLES, last_part
from vl.data.views.base import View

_PIPE = "pipe:"


class StreamedShards(IterableDataset):
    """The samples of shards, read from front to back; a view and a collator make batches of them.

    Shards are divided over ranks and workers; where there are fewer shards than those, their samples are.

    Args:
        shards: What `vl.data.shards.expand_shards` takes; `pipe:COMMAND` too if `allow_pipes`.
        view: Names the members that are read; all others are skipped, pickles always.
        shuffle: Samples of the shuffle buffer; 0 reads in order, shards too.
        endless: Start again after the last shard, in another order; training under several ranks needs this,
            because their shares differ in size.
        seed: Seed of the order of shards and of the buffer.
        allow_pipes: Run `pipe:` entries in a shell. Only for lists that nobody else can write to.
    """

    def __init__(
        self,
        shards: str | Sequence[str],
        view: View,
        shuffle: int = 1000,
        endless: bool = True,
        seed: int = 0,
        allow_pipes: bool = False,
    ) -> None:
        self.shards = _expand(shards, allow_pipes)
        self.view, self.shuffle, self.endless, self.seed = view, shuffle, endless, seed
        #: Rank and number of ranks; None asks torch.distributed, which worker processes know nothing of.
        self.group: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[Sample]:
        rank, num_ranks, worker, num_workers = pytorch_worker_info()
        rank, num_ranks = self.group or (rank, num_ranks)
        share, num_shares = rank * num_workers + worker, num_ranks * num_workers
        for epoch in count() if self.endless else range(1):
            samples = self._epoch(epoch, share, num_shares)
            if (first := next(samples, None)) is None:
                raise ValueError(
                    f"{self.shards[0]}, ...: no samples for share {share} of {num_shares} (ranks x workers)"
                )
            yield first
            yield from samples

    def _epoch(self, epoch: int, share: int, num_shares: int) -> Iterator[Sample]:
        shards = list(self.shards)
        if self.shuffle:
            random.Random(f"shards {self.seed} {epoch}").shuffle(shards)
        if len(shards) >= num_shares:
            samples = self._samples(shards[share::num_shares])
        else:
            samples = islice(self._samples(shards), share, None, num_shares)
        if self.shuffle:
            buffer = random.Random(f"samples {self.seed} {epoch} {share}")
            samples = webdataset.shuffle(self.shuffle, initial=self.shuffle, rng=buffer)(samples)
        yield from samples

    def _samples(self, shards: Iterable[str]) -> Iterator[Sample]:
        # Each shard is grouped by itself, so that equal keys of two shards stay two samples.
        for shard in shards:
            for sample in group_by_keys(self._members(shard)):
                members = {name: data for name, data in sample.items() if not name.startswith("__")}
                yield Sample(sample["__key__"], members)

    def _members(self, shard: str) -> Iterator[dict[str, Any]]:
        """The members that the view reads, in webdataset's form.

        Raises:
            ValueError: the shard is no tar, or is cut short; names it.
        """
        with _open(shard) as file:
            stream: Any = _Tail(file)
            try:
                with tarfile.open(fileobj=stream, mode="r|*") as tar:
                    for member in tar:
                        if self._wanted(member):
                            yield {"fname": member.name, "data": tar.extractfile(member).read(), "__url__": shard}
                        tar.members = []  # type: ignore[attr-defined]  # or tarfile keeps them all
            except (tarfile.TarError, OSError, EOFError) as error:
                raise ValueError(f"shard {shard} cannot be read: {error}") from error
            if stream.tail.count(0) != BLOCK and stream.plain:
                raise ValueError(f"shard {shard} was cut short: its end-of-archive block is missing")

    def _wanted(self, member: tarfile.TarInfo) -> bool:
        """Text that is too large is left out, so that its sample counts as malformed."""
        kind = member.name.rpartition("/")[2].partition(".")[2].lower()
        if not member.isreg() or last_part(kind) in PICKLES:
            return False
        if last_part(kind) in TEXT_MEMBERS and member.size > MAX_TEXT_BYTES:
            return False
        return kind in self.view.members or last_part(kind) in self.view.members


class _Tail:
    """A stream that remembers its last block: tarfile takes a tar cut between two members for a shorter one."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.tail = b""
        self.plain: bool | None = None

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if self.plain is None:  # a compressed tar has no block at its end that could be looked at
            self.plain = data[257:262] == b"ustar"
        self.tail = (self.tail + data)[-BLOCK:]
        return data


def _open(shard: str) -> AbstractContextManager[Any]:
    if shard.startswith(_PIPE):
        return webdataset.gopen(shard)
    return fsspec.open(shard, "rb").open()


def _expand(shards: str | Sequence[str], allow_pipes: bool) -> list[str]:
    patterns = [shards] if isinstance(shards, str) else shards
    found: list[str] = []
    for pattern in patterns:
        if not pattern.startswith(_PIPE):
            found += expand_shards(pattern)
        elif allow_pipes:
            found += braceexpand(pattern)
        else:
            raise ValueError(f"{pattern!r} would run a shell: set allow_pipes if you trust whoever wrote this list")
    return found
