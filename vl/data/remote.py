"""Remote shards (s3, gs, http, hf, ...): fetched by fsspec into a local folder of bounded size."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import fsspec
import msgspec
from filelock import FileLock

from vl.data.card import CARD, Shard, parse_card, sha256
from vl.data.shard_index import hashed, user_cache


class ShardCache:
    """A folder of fetched shards, at most `max_bytes` large; the least recently used are removed first.

    Several processes may share the folder: each shard is fetched once, under a lock, and renamed when it is whole.
    A file is named by a hash of its URL.

    Args:
        folder: Where to keep shards and their indexes; None takes the user's cache folder.
        max_bytes: How much the shards may take. One that is in use stays readable after it was removed.
        retries: Further attempts after a failed one.
        backoff: Seconds before the first of them, doubled every time.
    """

    def __init__(
        self, folder: str | Path | None = None, max_bytes: int = 64 * 2**30, retries: int = 5, backoff: float = 1.0
    ) -> None:
        self.folder = Path(folder) if folder is not None else user_cache()
        self.max_bytes, self.retries, self.backoff = max_bytes, retries, backoff

    def path(self, url: str) -> Path:
        """Where the local copy of a shard is, or would be."""
        return self.folder / "shards" / f"{hashed(url)}.tar"

    def fetch(self, url: str, checksum: str = "", size: int | None = None) -> Path:
        """The local copy of a shard, fetched if it is not there yet.

        Args:
            url: Where the shard is.
            checksum: Its sha256; empty if not known.
            size: Its bytes; None asks the server.

        Raises:
            ValueError: it cannot be fetched, or differs from its checksum or size after all attempts.
        """
        path = self.path(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                self._make_room(size or 0)
                self._attempt(url, path, checksum, size)
                self._make_room(0, keep=path)
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        return path

    def _attempt(self, url: str, path: Path, checksum: str, size: int | None) -> None:
        for attempt in range(self.retries + 1):
            try:
                return _download(url, path, checksum, size)
            except (FileNotFoundError, PermissionError) as error:
                raise ValueError(f"{url} cannot be fetched: {error}") from error
            except Exception as error:  # every file system has its own errors
                if attempt == self.retries:
                    raise ValueError(f"{url} cannot be fetched after {attempt + 1} attempts: {error}") from error
                time.sleep(self.backoff * 2**attempt)

    def _make_room(self, needed: int, keep: Path | None = None) -> None:
        """Remove the least recently used shards until `needed` more bytes fit."""
        files = [(path.stat(), path) for path in (self.folder / "shards").glob("*.tar")]
        total = needed + sum(status.st_size for status, _ in files)
        for status, path in sorted(files, key=lambda file: file[0].st_atime_ns):
            if total <= self.max_bytes:
                break
            if path != keep:
                path.unlink(missing_ok=True)
                total -= status.st_size


def _system(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URL, and the path there.

    Raises:
        ValueError: no package for its protocol is installed; names the URL and the package.
    """
    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{url} cannot be read: {error}") from error


def _download(url: str, path: Path, checksum: str, size: int | None) -> None:
    """One attempt; resumes what an earlier one left."""
    system, remote = _system(url)
    size = size if size is not None else system.info(remote).get("size")
    part = path.with_suffix(".part")
    done = part.stat().st_size if part.exists() and size is not None else 0
    with system.open(remote, "rb") as source, open(part, "r+b" if done else "wb") as target:
        if done:
            source.seek(done)
            target.seek(done)
        while block := source.read(2**22):
            target.write(block)
    wrong = None
    if size is not None and part.stat().st_size != size:
        wrong = f"{part.stat().st_size:,} bytes came of {size:,}"
    elif checksum and sha256(part) != checksum:
        wrong = "its sha256 differs from its card's"
    if wrong:
        part.unlink()
        raise OSError(wrong)
    part.replace(path)


def remote_counts(urls: Sequence[str]) -> dict[str, Shard]:
    """What is known of remote shards without fetching them.

    Looked for beside the shards, in this order: our card, open_clip's `sizes.json`, img2dataset's `*_stats.json`.
    """
    found: dict[str, Shard] = {}
    for folder in dict.fromkeys(url.rpartition("/")[0] for url in urls):
        names = {url.rpartition("/")[2]: url for url in urls if url.rpartition("/")[0] == folder}
        listed = _from_card(folder) or _from_sizes(folder) or _from_stats(folder, list(names))
        found |= {names[name]: shard for name, shard in listed.items() if name in names}
    return found


def _from_card(folder: str) -> dict[str, Shard]:
    data = _small_files(folder, [CARD]).get(CARD)
    return {shard.file: shard for shard in parse_card(data, f"{folder}/{CARD}").shards} if data else {}


def _from_sizes(folder: str) -> dict[str, Shard]:
    data = _small_files(folder, ["sizes.json"]).get("sizes.json")
    return {name: _counted(name, count) for name, count in msgspec.json.decode(data).items()} if data else {}


def _from_stats(folder: str, names: Sequence[str]) -> dict[str, Shard]:
    files = {f"{name.removesuffix('.tar')}_stats.json": name for name in names}
    read = _small_files(folder, list(files))
    return {files[file]: _counted(files[file], msgspec.json.decode(data)["successes"]) for file, data in read.items()}


def _counted(name: str, count: int) -> Shard:
    return Shard(name, "", None, "", {"samples": count})


def _small_files(folder: str, names: Sequence[str]) -> Mapping[str, bytes]:
    """The contents of those of some small files that exist."""
    system, root = _system(folder)
    paths = {f"{root.rstrip('/')}/{name}": name for name in names}
    read = system.cat(list(paths), on_error="omit")
    return {paths[path]: data for path, data in read.items()}
