"""The index of a shard: where each member lies and how many examples each sample makes, without reading pictures.

One pass over the tar's headers and small text members builds it; it is kept in a file of memory-mapped tables, so
that opening it again costs neither time nor memory in the number of samples, and all workers share it.
"""

from __future__ import annotations

import os
import warnings
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vl.data.regions_member import REGIONS
from vl.data.sample import IMAGE_MEMBERS, MAX_TEXT_BYTES, TEXT_MEMBERS, read_record
from vl.data.tables import keep_tables, read_metadata, read_tables
from vl.data.tar import BLOCK, Member, last_part, samples
from vl.data.views.base import View

#: Part of the cached file: raise it whenever the tables change.
INDEX_VERSION = 2
_MAX_PROBLEMS = 20


class Summary(msgspec.Struct, frozen=True):
    """What an index says of its shard as a whole.

    `bad` counts the samples that make no example because they are malformed; `problems` holds the first of them as
    (key, reason). `pickles` counts members that were passed over because loading them could run code. `digest` covers
    keys, texts, and the sizes of all members.
    """

    version: int
    view: str
    bytes: int
    mtime: int
    samples: int
    examples: int
    bad: int
    pickles: int
    kinds: tuple[str, ...]
    problems: tuple[tuple[str, str], ...]
    digest: str


class ShardIndex:
    """The index of one shard for one view; samples and examples are numbered from 0 in the shard's order."""

    def __init__(self, summary: Summary, tables: Mapping[str, np.ndarray]) -> None:
        self.summary, self._tables = summary, tables

    def __len__(self) -> int:
        """The number of examples."""
        return self.summary.examples

    def locate(self, example: int) -> tuple[int, int]:
        """The sample of an example, and which of the sample's examples it is."""
        starts = self._tables["example_starts"]
        sample = int(starts.searchsorted(example, side="right")) - 1
        return sample, example - int(starts[sample])

    def key(self, sample: int) -> str:
        start, end = self._tables["key_starts"][sample : sample + 2].tolist()
        return self._tables["keys"][start:end].tobytes().decode(errors="surrogateescape")

    def members(self, sample: int) -> list[tuple[str, int, int]]:
        """(name, offset in bytes, size in bytes) of the members of a sample."""
        start, end = self._tables["member_starts"][sample : sample + 2].tolist()
        kinds, blocks, sizes = (self._tables[name][start:end].tolist() for name in ("kinds", "blocks", "sizes"))
        names = self.summary.kinds
        return [(names[kind], block * BLOCK, size) for kind, block, size in zip(kinds, blocks, sizes, strict=True)]

    @property
    def examples(self) -> np.ndarray:
        """The number of examples of each sample."""
        return np.diff(self._tables["example_starts"])


def index_shard(path: str | Path, view: View, cache: str | Path | None = None) -> ShardIndex:
    """The index of a shard, from its cached file if that still fits the shard, the view and this version.

    Args:
        path: A local tar.
        view: Counts the examples of each sample.
        cache: Folder for cached indexes; None keeps them in `.vlindex` beside the shard, or in the user's cache
            folder where that cannot be written.

    Raises:
        FileNotFoundError: there is no such shard.
        ValueError: the shard is damaged (see `vl.data.tar`), empty, or its members are not grouped by sample.
    """
    path = os.fspath(path)
    for place in index_places(path, view, cache):
        try:
            if _fits(summary := read_summary(place), path, view):
                return ShardIndex(summary, read_tables(place))
        except (OSError, ValueError):
            continue
    index = _build(path, view)
    keep_tables(index_places(path, view, cache), index._tables, msgspec.to_builtins(index.summary))
    return index


def cached_summary(path: str | Path, view: View, cache: str | Path | None = None) -> Summary | None:
    """What the cached index of a shard says, None if there is none that fits; touches no table.

    A fetched shard that was removed to make room for others keeps its index.
    """
    for place in index_places(os.fspath(path), view, cache):
        try:
            if _fits(summary := read_summary(place), os.fspath(path), view):
                return summary
        except (OSError, ValueError):
            continue
    return None


def read_summary(place: str | Path) -> Summary:
    """The summary in an index file.

    Raises:
        OSError, ValueError: there is no such file, or it is damaged or of another version.
    """
    try:
        return msgspec.convert(read_metadata(place), Summary)
    except msgspec.ValidationError as error:
        raise ValueError(f"{place} is no index: {error}") from error


def fingerprint(view: View) -> str:
    """A name for how a view counts: its class and constructor arguments."""
    content = f"{type(view).__module__}.{type(view).__qualname__} {sorted(vars(view).items())}"
    return blake2b(content.encode(), digest_size=8).hexdigest()


def user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "vl"


def hashed(name: str) -> str:
    """A file name for a path or URL: never the thing itself, which may hold anything."""
    return blake2b(name.encode(errors="surrogateescape"), digest_size=16).hexdigest()


def index_places(path: str, view: View, cache: str | Path | None) -> list[Path]:
    """Where the index of a shard may be kept, best first."""
    absolute = Path(path).absolute()
    distant = f"{hashed(str(absolute))}.{fingerprint(view)}.index"
    if cache is not None:
        return [Path(cache) / "index" / distant]
    beside = absolute.parent / ".vlindex" / f"{absolute.name}.{fingerprint(view)}.index"
    return [beside, user_cache() / "index" / distant]


def _fits(summary: Summary, path: str, view: View) -> bool:
    if (summary.version, summary.view) != (INDEX_VERSION, fingerprint(view)):
        return False
    now = os.stat(path) if os.path.exists(path) else None
    return now is None or (summary.bytes, summary.mtime) == (now.st_size, now.st_mtime_ns)


@dataclass
class _Builder:
    """Collects the tables of a shard, sample by sample."""

    path: str
    file: int
    view: View
    keys: list[bytes] = field(default_factory=list)
    examples: array = field(default_factory=lambda: array("I"))
    members: array = field(default_factory=lambda: array("I"))
    kinds: array = field(default_factory=lambda: array("H"))
    blocks: array = field(default_factory=lambda: array("I"))
    sizes: array = field(default_factory=lambda: array("Q"))
    names: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    bad: int = 0
    content: Any = field(default_factory=lambda: blake2b(digest_size=16))

    def add(self, key: str, members: Mapping[str, Member]) -> None:
        try:
            count = self._count(key, members)
        except ValueError as error:
            count, self.bad = 0, self.bad + 1
            if self.bad <= _MAX_PROBLEMS:
                self.problems.append((key, str(error)))
        self.keys.append(key.encode(errors="surrogateescape"))
        self.examples.append(count)
        self.members.append(len(members))
        for kind, member in members.items():
            self.kinds.append(self.names.setdefault(kind, len(self.names)))
            self.blocks.append(member.offset // BLOCK)
            self.sizes.append(member.size)

    def _count(self, key: str, members: Mapping[str, Member]) -> int:
        if wants(self.view, IMAGE_MEMBERS) and not any(last_part(kind) in IMAGE_MEMBERS for kind in members):
            raise ValueError(f"sample {key} has no picture (one of the members {', '.join(IMAGE_MEMBERS)})")
        if REGIONS in self.view.members and not any(kind.endswith(REGIONS) for kind in members):
            raise ValueError(f"sample {key} has no regions (member {REGIONS}); tools/extract_regions.py makes them")
        texts = {}
        for kind in TEXT_MEMBERS:
            if kind in members and kind in self.view.members:
                if (size := members[kind].size) > MAX_TEXT_BYTES:
                    raise ValueError(f"sample {key}: its .{kind} holds {size:,} bytes, more than {MAX_TEXT_BYTES:,}")
                texts[kind] = os.pread(self.file, size, members[kind].offset)
                self.content.update(texts[kind])
        return self.view.count(read_record(texts, key))

    def tables(self) -> dict[str, np.ndarray]:
        return {
            "keys": np.frombuffer(b"".join(self.keys), np.uint8),
            "key_starts": _starts(map(len, self.keys)),
            "example_starts": _starts(self.examples),
            "member_starts": _starts(self.members),
            "kinds": np.array(self.kinds, np.uint16),
            "blocks": np.array(self.blocks, np.uint32),
            "sizes": np.array(self.sizes, np.uint64),
        }


def _build(path: str, view: View) -> ShardIndex:
    file = os.open(path, os.O_RDONLY)
    try:
        status, builder = os.fstat(file), _Builder(path, file, view)
        pickles: list[str] = []
        for key, members in samples(file, path, pickles):
            builder.add(key, members)
    finally:
        os.close(file)
    if not builder.keys:
        raise ValueError(f"shard {path} is a whole tar without samples: leave it out of the list")
    if pickles:
        warnings.warn(
            f"shard {path} holds {len(pickles)} members that could run code when loaded ({pickles[0]!r}, ...): "
            "they are never read",
            stacklevel=4,
        )
    tables = builder.tables()
    for name, table in sorted(tables.items()):
        builder.content.update(name.encode() + table.tobytes())
    summary = Summary(
        INDEX_VERSION, fingerprint(view), status.st_size, status.st_mtime_ns, len(builder.keys),
        int(tables["example_starts"][-1]), builder.bad, len(pickles), tuple(builder.names), tuple(builder.problems),
        builder.content.hexdigest(),
    )  # fmt: skip
    return ShardIndex(summary, tables)


def wants(view: View, kinds: tuple[str, ...]) -> bool:
    return not view.members.isdisjoint(kinds)


def _starts(counts: Any) -> np.ndarray:
    """Where each of some runs starts, and the end of the last."""
    return np.fromiter(accumulate(counts, initial=0), np.uint32)
