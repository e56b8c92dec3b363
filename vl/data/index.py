"""A list of shards as one sequence of examples, each read by its number."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from rich.progress import track

from vl.data.remote import ShardCache, remote_counts
from vl.data.sample import TEXT_MEMBERS, Sample, read_record
from vl.data.shard_index import ShardIndex, Summary, cached_summary, fingerprint, index_shard, user_cache
from vl.data.shards import expand_shards, is_url
from vl.data.stages import BadMember
from vl.data.tables import keep_tables, read_tables
from vl.data.tar import last_part
from vl.data.tokenizers import Tokenizer
from vl.data.views.base import View

#: A larger member is refused before it is read.
MAX_MEMBER_BYTES = 2**28
#: Each takes two file descriptors; more than a window of the order uses (16 shards).
_MAX_OPEN = 32
_TEXTS_AT_ONCE = 4096
_TEXTS = frozenset(TEXT_MEMBERS)


class ShardSet:
    """Shards and a view: examples numbered from 0, shard by shard.

    Local shards are indexed at once (or their cached index is checked). Of remote ones only the counts are needed
    to begin with; a shard is fetched when its first example is read. A shard without known counts is fetched now.

    Args:
        shards: What `vl.data.shards.expand_shards` takes.
        view: Counts the examples of a sample and names the members it reads.
        cache: Folder for indexes and fetched shards. None keeps an index beside its shard and fetched shards in
            the user's cache folder. A `ShardCache` sets how much may be fetched.
        max_bad: The share of malformed samples that is put up with.

    Attributes:
        counts: Examples of each shard, int64.
        summaries: What the index of each shard says; None for one not fetched yet.

    Raises:
        ValueError: a shard is missing, damaged or holds no sample; there is no example; too many samples are bad.
    """

    def __init__(
        self,
        shards: str | Sequence[str],
        view: View,
        cache: str | Path | ShardCache | None = None,
        max_bad: float = 0.05,
    ) -> None:
        self.shards, self.view = expand_shards(shards), view
        self._remote = cache if isinstance(cache, ShardCache) else ShardCache(cache)
        self._cache = self._remote.folder if isinstance(cache, ShardCache) else cache
        self._promised = remote_counts([shard for shard in self.shards if is_url(shard)])
        self.summaries = [self._summary(shard) for shard in self._shown(self.shards)]
        self.counts = np.array([self._num_examples(shard) for shard in range(len(self.shards))], np.int64)
        self._ends = np.cumsum(self.counts)
        self._opened: dict[int, tuple[BinaryIO, ShardIndex]] = {}
        self._check(max_bad)

    def __len__(self) -> int:
        """The number of examples."""
        return int(self._ends[-1])

    def __getstate__(self) -> dict[str, Any]:
        """Without open files, so that workers can be spawned."""
        return self.__dict__ | {"_opened": {}}

    def locate(self, example: int) -> tuple[int, int, int]:
        """The shard of an example, its sample there, and which of the sample's examples it is."""
        shard, inner = self._place(example)
        sample, number = self._open(shard)[1].locate(inner)
        return shard, sample, number

    def read(self, example: int) -> Sample:
        """The sample of an example, with the members that the view reads.

        Raises:
            BadMember: a member is too large, or the shard holds fewer examples than its counts promised.
            ValueError: the shard has changed since it was indexed.
        """
        shard, sample, _ = self.locate(example)
        return Sample(self._open(shard)[1].key(sample), self._members(shard, sample, self.view.members))

    def key(self, example: int) -> str:
        """The key of the sample of an example."""
        shard, sample, _ = self.locate(example)
        return self._open(shard)[1].key(sample)

    @cached_property
    def digest(self) -> str:
        """A name for the content: equal for the same shards in the same order, wherever they lie."""
        total = blake2b(fingerprint(self.view).encode(), digest_size=16)
        for shard, summary, count in zip(self.shards, self.summaries, self.counts, strict=True):
            known = self._promised.get(shard)
            content = known.sha256 if known else summary.digest if summary else ""
            total.update(f"{shard.rpartition('/')[2]} {count} {content}\n".encode(errors="surrogateescape"))
        return total.hexdigest()

    @property
    def bad(self) -> list[tuple[str, str]]:
        """(shard, reason) of the first malformed samples of each shard; the reason names the key."""
        pairs = zip(self.shards, self.summaries, strict=True)
        return [(shard, reason) for shard, summary in pairs if summary for _, reason in summary.problems]

    def lengths(self, tokenizer: Tokenizer) -> np.ndarray:
        """Tokens of each example, int32: of the longest text it can show. Built once, then mapped from a file.

        The file is named by the digests of the shards and of the tokenizer.
        """
        name = f"{self.digest}.{tokenizer.fingerprint}.lengths"
        places = [Path(self._cache or user_cache()) / "index" / name]
        if self._cache is None and not is_url(self.shards[0]):
            places.insert(0, Path(self.shards[0]).absolute().parent / ".vlindex" / name)
        for place in places:
            try:
                return read_tables(place)["lengths"]
            except (OSError, ValueError):
                continue
        shards = track(range(len(self.shards)), "counting tokens", transient=True, disable=len(self.shards) < 8)
        lengths = np.concatenate([self._lengths(shard, tokenizer) for shard in shards])
        keep_tables(places, {"lengths": lengths}, {"tokenizer": tokenizer.fingerprint})
        return lengths

    def _lengths(self, shard: int, tokenizer: Tokenizer) -> np.ndarray:
        """Tokens of each example of a shard; 0 for one that its counts promised but that it lacks."""
        lengths = np.zeros(self.counts[shard], np.int32)
        pairs = self._texts(shard)
        while chunk := list(islice(pairs, _TEXTS_AT_ONCE)):
            owners, texts = zip(*chunk, strict=True)
            np.maximum.at(lengths, np.array(owners), tokenizer.lengths(texts).astype(np.int32))
        return lengths

    def _texts(self, shard: int) -> Iterator[tuple[int, str]]:
        """(example within the shard, a text it can show), for all of them."""
        index, first = self._open(shard)[1], 0
        for sample, count in enumerate(index.examples.tolist()):
            if count:
                record = read_record(self._members(shard, sample, _TEXTS), index.key(sample))
                for example, texts in enumerate(self.view.texts(record), first):
                    yield from ((example, text) for text in texts)
            first += count

    def _members(self, shard: int, sample: int, wanted: frozenset[str]) -> dict[str, bytes]:
        file, index = self._open(shard)
        members = {}
        for name, offset, size in index.members(sample):
            if name in wanted or last_part(name) in wanted:
                if size > MAX_MEMBER_BYTES:
                    reason = f"its .{name} holds {size:,} bytes, more than {MAX_MEMBER_BYTES:,}"
                    raise BadMember(reason, index.key(sample))
                members[name] = os.pread(file.fileno(), size, offset)
                if len(members[name]) < size:
                    raise ValueError(f"shard {self.shards[shard]} was cut short while it was in use")
        return members

    def _place(self, example: int) -> tuple[int, int]:
        if not 0 <= example < len(self):
            raise IndexError(f"example {example} of {len(self)}")
        shard = int(self._ends.searchsorted(example, side="right"))
        inner = int(example - self._ends[shard] + self.counts[shard])
        if inner >= len(index := self._open(shard)[1]):
            raise BadMember(f"{self.shards[shard]} holds {len(index)} examples, {self.counts[shard]} were promised")
        return shard, inner

    def _open(self, shard: int) -> tuple[BinaryIO, ShardIndex]:
        """The file and the index of a shard; few are open at a time, the oldest is closed first."""
        if shard not in self._opened:
            path, index = self._index(self.shards[shard])
            self._check_unchanged(shard, index)
            if len(self._opened) >= _MAX_OPEN:
                del self._opened[next(iter(self._opened))]
            self._opened[shard] = open(path, "rb", buffering=0), index  # noqa: SIM115
        return self._opened[shard]

    def _check_unchanged(self, shard: int, index: ShardIndex) -> None:
        known, found = self.counts[shard], len(index)
        before = self.summaries[shard]
        if before is not None and before.digest != index.summary.digest:
            raise ValueError(f"shard {self.shards[shard]} has changed since it was indexed: start again")
        if found > known:
            raise ValueError(f"{self.shards[shard]} holds {found} examples, its counts say {known}: correct them")

    def _local(self, shard: str) -> Path:
        if not is_url(shard):
            return Path(shard)
        known = self._promised.get(shard)
        return self._remote.fetch(shard, known.sha256 if known else "", known.bytes if known else None)

    def _summary(self, shard: str) -> Summary | None:
        if is_url(shard) and self._promise(shard) is not None:
            return None
        place = self._remote.path(shard) if is_url(shard) else shard
        known = cached_summary(place, self.view, self._cache)
        return known or self._index(shard)[1].summary

    def _index(self, shard: str) -> tuple[Path, ShardIndex]:
        """The local copy of a shard, and its index. A damaged one that was fetched is not kept for the next attempt."""
        path = self._local(shard)
        try:
            return path, index_shard(path, self.view, self._cache)
        except ValueError as error:
            if not is_url(shard):
                raise
            path.unlink(missing_ok=True)
            raise ValueError(str(error).replace(str(path), shard)) from error

    def _promise(self, shard: str) -> int | None:
        """The examples of a remote shard, where its counts tell them for this view."""
        known = self._promised.get(shard)
        return self.view.count_from(known.counts) if known else None

    def _num_examples(self, shard: int) -> int:
        summary = self.summaries[shard]
        return summary.examples if summary else self._promise(self.shards[shard]) or 0

    def _shown(self, shards: list[str]) -> Iterable[str]:
        """The shards, with a progress bar where that takes time; says what must be fetched to be counted."""
        unknown = [shard for shard in shards if is_url(shard) and self._promise(shard) is None]
        if missing := [shard for shard in unknown if not self._remote.path(shard).exists()]:
            print(
                f"{len(missing)} remote shards have no counts and are fetched unless indexed before: {missing[0]}, ..."
            )
        return track(shards, "indexing shards", transient=True, disable=len(shards) < 8)

    def _check(self, max_bad: float) -> None:
        known = [summary for summary in self.summaries if summary]
        bad, samples = sum(summary.bad for summary in known), sum(summary.samples for summary in known)
        reasons = "; ".join(reason for _, reason in self.bad[:3])
        if bad > max_bad * samples:
            raise ValueError(f"{bad} of {samples} samples are malformed, more than {max_bad:.0%} (max_bad): {reasons}")
        if not len(self):
            shards = self.shards[0] + (", ..." if len(self.shards) > 1 else "")
            raise ValueError(f"{shards}: none of {samples} samples has an example for {self.view}")
        if bad:
            warnings.warn(f"{bad} of {samples} samples are malformed and left out: {reasons}", stacklevel=4)
