"""What every recipe under `datasets/` shares: parts of a data set become shards, then the card is written.

A recipe may be stopped at any time: a part that is whole is not made again, nothing half-written keeps its final
name, and a complete data set is recognised by its card. Two processes that run one recipe wait for each other.
Samples whose picture is missing are counted, and listed in `missing.txt` beside the card.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from filelock import FileLock
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vl.data.card import CARD, Card, Shard, read_card, verify_shards, write_card
from vl.data.sample import Record
from vl.data.shards import ShardWriter, encode_members

#: Where samples without their picture are listed, one a line: its name and what is wrong.
MISSING = "missing.txt"
#: A key and its members, as `ShardWriter.write` takes them.
Made = tuple[str, Mapping[str, bytes | str | Mapping | Record]]
#: Applies a function to items, in order.
Map = Callable[[Callable, Iterable], Iterable]


class Missing(NamedTuple):
    """In place of a sample: the name of a picture that could not be had, and why."""

    picture: str
    reason: str


@dataclass(frozen=True)
class Part:
    """Some shards of a split, called `name-000000.tar` and so on.

    `make` turns each of `items` into a sample, into `Missing`, or into None to leave it out; it runs in several
    processes, so that it is a function of a module (not a lambda) and its errors name the file and line they are about.
    """

    name: str
    split: str
    items: Sequence[Any]
    make: Callable[[Any], Made | Missing | None]
    max_count: int = 10_000


def convert(out: str | Path, card: Card, parts: Sequence[Part], workers: int | None = None) -> Card:
    """Make a data set in the folder `out`, or finish it, or recognise that it is complete.

    Args:
        out: The folder; made if it does not exist.
        card: The card without its shards. Where it differs from what is in the folder, everything is made again.
        parts: What to write, in order.
        workers: Processes; None takes one for each core.

    Returns:
        The card with its shards.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / ".lock"):
        old = read_card(out)
        if old and msgspec.structs.replace(old, shards=()) == card and not verify_shards(out, old):
            again = f"; to look for missing pictures again, remove {CARD}" if (out / MISSING).is_file() else ""
            print(f"{out} is complete: {_summary(old)}{again}")
            return old
        start = time.perf_counter()
        with processes(workers) as run, _progress() as progress:
            written = [_write(out, card, part, run, progress) for part in parts]
        done = msgspec.structs.replace(card, shards=tuple(shard for part in written for shard in part.shards))
        missing = [one for part in written for one in part.missing]
        _list_missing(out, missing, done)
        write_card(out, done)
        _clean(out, old, done)
    made = sum(part.made for part in written)
    rate = f" ({made / (time.perf_counter() - start):,.0f} samples/s)" if made else ""
    print(f"{out}: {_summary(done)}{rate}")
    return done


class _Written(NamedTuple):
    """What came of a part; `made` counts the samples of this run, 0 where it had been made before."""

    shards: list[Shard]
    missing: list[Missing]
    made: int


def _list_missing(out: Path, missing: Sequence[Missing], card: Card) -> None:
    """Write the list, or take away the one of another run.

    Raises:
        ValueError: nothing but missing pictures: most likely they are elsewhere.
    """
    if missing and not card.shards:
        raise ValueError(f"none of the {len(missing):,} pictures can be had, the first: {': '.join(missing[0])}")
    (out / MISSING).unlink(missing_ok=True)
    if missing:
        temporary = out / f".{MISSING}.tmp"
        temporary.write_text("".join(f"{one.picture}\t{one.reason}\n" for one in missing), encoding="utf-8")
        temporary.replace(out / MISSING)
        print(f"{len(missing):,} pictures are missing: see {out / MISSING}")


def _write(out: Path, card: Card, part: Part, run: Map, progress: Progress) -> _Written:
    """Write a part, unless a record beside it says that this was done."""
    record = out / f".{part.name}.part.json"
    head = msgspec.json.encode([card, len(part.items), part.max_count], order="sorted").decode()
    before = _done_before(record, head)
    if before and not verify_shards(out, msgspec.structs.replace(card, shards=tuple(before.shards))):
        return before
    # The old card no longer holds once a shard is replaced.
    (out / CARD).unlink(missing_ok=True)
    task = progress.add_task(part.name, total=len(part.items))
    missing, number = [], 0
    with ShardWriter(out, part.name, part.split, part.max_count) as writer:
        for made in run(partial(_make, part.make), part.items):
            if isinstance(made, Missing):
                missing.append(made)
            elif made is not None:
                writer.write(*made)
                number += 1
            progress.advance(task)
    temporary = record.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode((head, writer.shards, missing)))
    temporary.replace(record)
    return _Written(writer.shards, missing, number)


def _done_before(record: Path, head: str) -> _Written | None:
    """What an earlier run made of the same part."""
    if not record.is_file():
        return None
    try:
        before, shards, missing = msgspec.json.decode(record.read_bytes(), type=tuple[str, list[Shard], list[Missing]])
    except msgspec.MsgspecError:  # of another version
        return None
    return _Written(shards, missing, 0) if before == head else None


def _make(make: Callable[[Any], Made | Missing | None], item: Any) -> tuple[str, dict[str, bytes]] | Missing | None:
    """Encode a sample where it is made, so that the parent has less to do."""
    made = make(item)
    return made if made is None or isinstance(made, Missing) else (made[0], encode_members(made[1]))


def _clean(out: Path, old: Card | None, new: Card) -> None:
    """Remove the records of parts, leftovers of killed runs, and shards of the old card that the new one lacks."""
    kept = {shard.file for shard in new.shards}
    stale = [out / shard.file for shard in (old.shards if old else ()) if shard.file not in kept]
    for path in [*stale, *out.glob(".*.part.json"), *out.glob(".*.tar.tmp")]:
        path.unlink(missing_ok=True)


@contextmanager
def processes(workers: int | None = None, chunk: int = 16) -> Iterator[Map]:
    """A `map` whose function runs in several processes; results come in order.

    Args:
        workers: How many processes; None takes one for each core, 1 none beside this one.
        chunk: Items a process takes at a time.
    """
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1:
        yield map
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
    try:
        yield partial(pool.map, chunksize=chunk)
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Ctrl-C is for the parent, which then ends its workers; they also end when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _progress() -> Progress:
    return Progress(TextColumn("{task.description:>28}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def _summary(card: Card) -> str:
    return ", ".join(f"{split} {card.count(split):,}" for split in card.splits)
