"""Shards are plain webdataset tars: how they are written, and how a list of them is named."""

from __future__ import annotations

import glob
import io
import os
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from braceexpand import braceexpand

from vl.data.card import Shard, sha256
from vl.data.sample import Record

_decode = msgspec.json.Decoder(Record).decode


class ShardWriter:
    """Writes samples to `folder/name-000000.tar`, `name-000001.tar` and so on.

    A shard has a temporary name until it is whole, so that a kill leaves no broken shard. The same samples give
    the same bytes: members are sorted by name, and no time or owner is stored.

    Args:
        folder: Where the shards go; made if it does not exist.
        name: What their names begin with; usually split and source, e.g. `train-twemoji`.
        split: The split the card lists them under; the name up to its first `-` if not given.
        max_count: Samples of a shard.
        max_bytes: A shard that has reached this size is closed.
    """

    def __init__(
        self,
        folder: str | Path,
        name: str,
        split: str | None = None,
        max_count: int = 10_000,
        max_bytes: int = 2**30,
    ) -> None:
        self.folder, self.name, self.split = Path(folder), name, split or name.split("-")[0]
        self.max_count, self.max_bytes = max_count, max_bytes
        self.shards: list[Shard] = []
        self._tar: tarfile.TarFile | None = None
        self._counts: Counter[str] = Counter()
        self._keys: set[str] = set()

    def write(self, key: str, members: Mapping[str, bytes | str | Mapping | Record]) -> None:
        """Append a sample. A `str` is stored as UTF-8, a mapping or `Record` as JSON.

        Raises:
            ValueError: the key was written before, or would be read back as another key; the JSON is not a
                `Record` (names the key and the field).
        """
        _check_key(key)
        if key in self._keys:
            raise ValueError(f"{self.name}: the key {key!r} was written before; keys of a shard list are unique")
        content = encode_members(members)
        counts = _counts(key, content)
        self._keys.add(key)
        tar = self._tar or self._open()
        for name, data in content.items():
            info = tarfile.TarInfo(f"{key}.{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        self._counts.update(counts)
        if self._counts["samples"] >= self.max_count or tar.offset >= self.max_bytes:
            self._close()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        if self._tar is None:
            return
        if kind is None:
            self._close()
        else:
            self._tar.close()
            self._temporary.unlink()

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.name}-{len(self.shards):06d}.tar"

    @property
    def _temporary(self) -> Path:
        return self._path.with_name(f".{self._path.name}.tmp")

    def _open(self) -> tarfile.TarFile:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._tar = tarfile.open(self._temporary, "w", format=tarfile.GNU_FORMAT)  # noqa: SIM115
        return self._tar

    def _close(self) -> None:
        assert self._tar is not None
        self._tar.close()
        self._tar = None
        path = self._path
        size, digest = self._temporary.stat().st_size, sha256(self._temporary)
        os.replace(self._temporary, path)
        self.shards.append(Shard(path.name, self.split, size, digest, dict(sorted(self._counts.items()))))
        self._counts.clear()


def _check_key(key: str) -> None:
    """A key must come back from the tar as it went in: its member begins at the first dot of the file name."""
    if not key or "." in key or key.startswith(("/", "__")) or key.endswith("/") or "\0" in key:
        raise ValueError(f"{key!r} cannot be a sample's key: use letters, digits, - and _, and / for folders; no dot")


def encode_members(members: Mapping[str, bytes | str | Mapping | Record]) -> dict[str, bytes]:
    """The bytes of a sample's members, sorted by name: text as UTF-8, mappings and records as JSON."""
    return {name: _encode(value) for name, value in sorted(members.items())}


def _encode(value: bytes | str | Mapping | Record) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else msgspec.json.encode(_plain(value), order="deterministic")


def _plain(value: Any) -> Any:
    """Structs as mappings without their defaults: msgspec knows those by identity, which a pickled string loses."""
    if isinstance(value, msgspec.Struct):
        pairs = ((name, default, getattr(value, name)) for name, default in _defaults(type(value)))
        return {name: _plain(item) for name, default, item in pairs if item != default}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


@cache
def _defaults(kind: type[msgspec.Struct]) -> list[tuple[str, Any]]:
    return [(field.name, field.default) for field in msgspec.structs.fields(kind)]


def _counts(key: str, content: Mapping[str, bytes]) -> dict[str, int]:
    """1 sample, and the items of each list of its record; checks the record on the way."""
    try:
        record = _decode(content.get("json", b"{}"))
    except msgspec.MsgspecError as error:
        raise ValueError(f"sample {key}: {error}") from error
    lists = {name: len(value) for name in record.__struct_fields__ if isinstance(value := getattr(record, name), tuple)}
    if "txt" in content and not lists["captions"]:
        lists["captions"] = 1
    return {"samples": 1} | {name: count for name, count in lists.items() if count}


def is_url(shard: str) -> bool:
    return "://" in shard


def expand_shards(shards: str | Sequence[str]) -> list[str]:
    """The shards that braces (`train-{000000..000009}.tar`), globs, URLs or a list of them name, in order.

    URLs take braces, not globs.

    Raises:
        ValueError: nothing matches, a file is missing, or a shard is named twice; names it.
    """
    patterns = [shards] if isinstance(shards, str | Path) else shards
    found = [path for pattern in patterns for one in braceexpand(str(pattern)) for path in _expand(one)]
    if not found:
        raise ValueError(f"{shards!r} names no shards")
    if twice := [path for path, count in Counter(found).items() if count > 1]:
        raise ValueError(f"{twice[0]} is named twice; give its source a weight to read it more often")
    return found


def _expand(pattern: str) -> list[str]:
    if pattern.startswith("pipe:"):
        raise ValueError(f"{pattern!r} would run a shell; only vl.data.streaming takes pipes, behind a flag")
    if is_url(pattern):
        return [pattern]
    if os.path.isdir(pattern):
        raise ValueError(f"{pattern} is a folder; name its shards, e.g. {os.path.join(pattern, 'train-*.tar')}")
    if os.path.exists(pattern):
        return [pattern]
    if not (found := sorted(glob.glob(pattern))):
        raise ValueError(f"no shard is named {pattern}; there {_neighbours(pattern)}")
    return found


def _neighbours(pattern: str) -> str:
    """What stands in the folder of a shard that was not found."""
    folder = Path(pattern).parent
    names = sorted(path.name for path in folder.glob("*.tar")) if folder.is_dir() else []
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"are {shown}" if names else f"is no .tar in {folder}"
