"""Region features of whole shards: the samples as they were, each with a member `regions.safetensors` more.

Every input shard becomes one output shard, whole or not at all, so that a killed run is finished by the same command.
The two pictures of a pair have members of their own (`left.regions.safetensors`).
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from vl.data.card import Card, Shard, read_card, verify_shards, write_card
from vl.data.convert import processes
from vl.data.regions_member import REGIONS, write_regions
from vl.data.shards import ShardWriter
from vl.regions.extractor import Extractor, Picture
from vl.regions.pictures import pictures_of, read_shard

#: Pictures an extractor is given at a time; the activations of more do not fit a processor's cache.
_GROUP = 8


@dataclass(frozen=True)
class Job:
    """A shard, and the folder, name and split of its output."""

    path: str
    out: str
    name: str
    split: str

    @property
    def file(self) -> str:
        return f"{self.name}-000000.tar"


def extract(shards: Sequence[str], out: str | Path, extractor: Extractor, workers: int | None = None) -> Card:
    """Extract the shards that are not there yet, and write the card, shard by shard.

    Args:
        shards: local tars; the card beside them names their splits and where they came from.
        out: the folder of the output.
        extractor: finds the regions.
        workers: processes, each with a shard of its own; None takes one for each core.

    Raises:
        ValueError: `out` holds regions of another extractor, or a shard is damaged.
    """
    out = Path(out)
    card = _card(shards, out, extractor)
    done = {shard.file for shard in card.shards}
    jobs = [job for job in _jobs(shards, out) if job.file not in done]
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, processes(workers, chunk=1) as run:
        seen = manager.Queue()
        one = partial(extract_shard, extractor=pickle.dumps(extractor), tell=seen.put, workers=workers)
        with _progress(seen) as progress:
            bar = progress.add_task("shards", total=len(jobs) + len(done), completed=len(done))
            for shard in run(one, jobs):
                card = msgspec.structs.replace(card, shards=tuple(sorted((*card.shards, shard), key=lambda s: s.file)))
                write_card(out, card)
                progress.advance(bar)
    return card


def extract_shard(job: Job, extractor: bytes, tell: Callable[[int], None], workers: int | None = None) -> Shard:
    """Write the output of one shard; `extractor` is pickled, `tell` hears of every group of pictures."""
    if multiprocessing.parent_process():
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // (workers or os.cpu_count() or 1)))
    find: Extractor = pickle.loads(extractor)
    counts: Counter[str] = Counter()
    with ShardWriter(job.out, job.name, job.split, max_count=10**9, max_bytes=2**40) as writer:
        for samples in _groups(job.path, counts):
            pictures = [picture for _, _, found in samples for picture in found.values()]
            regions = iter(find(pictures) if pictures else ())
            for key, members, found in samples:
                rows = {prefix: next(regions) for prefix in found}
                counts["regions"] += sum(map(len, rows.values()))
                added = {prefix + REGIONS: write_regions(one) for prefix, one in rows.items()}
                writer.write(key, {**members, **added})
            counts["pictures"] += len(pictures)
            tell(len(pictures))
    if not writer.shards:
        raise ValueError(f"shard {job.path} holds no samples")
    return msgspec.structs.replace(writer.shards[0], counts={**writer.shards[0].counts, **counts})


Read = tuple[str, Mapping[str, bytes], dict[str, Picture]]


def _groups(path: str, counts: Counter[str]) -> Iterator[list[Read]]:
    """The samples of a shard with their pictures, some at a time. One that cannot be read is counted and has none."""
    waiting: list[Read] = []
    for key, members in read_shard(path):
        try:
            found = pictures_of(key, members)
        except ValueError:
            found = {}
            counts["unreadable"] += 1
        waiting.append((key, members, found))
        if len(waiting) == _GROUP:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _jobs(shards: Sequence[str], out: Path) -> list[Job]:
    """One for each shard. A shard that has the number 0 keeps its name, others get one more number."""
    jobs = []
    for path in map(Path, shards):
        name, card = path.stem.removesuffix("-000000"), read_card(path.parent)
        splits = {shard.file: shard.split for shard in card.shards} if card else {}
        jobs.append(Job(str(path), str(out), name, splits.get(path.name, name.split("-")[0])))
    return jobs


def _card(shards: Sequence[str], out: Path, extractor: Extractor) -> Card:
    """The card that is there, with those of its shards that are, or a new one without shards."""
    source = read_card(Path(shards[0]).parent)
    told = {"data": source.settings if source else {}, "regions": extractor.settings}
    settings: dict[str, dict] = msgspec.json.decode(msgspec.json.encode(told))
    if (card := read_card(out)) is None:
        empty = Card("regions", f"the shards in {Path(shards[0]).parent.name}", "as the pictures", {})
        return msgspec.structs.replace(source or empty, settings=settings, shards=())
    if card.settings != settings:
        old: Any = card.settings.get("regions", {})
        other = [name for name, value in settings["regions"].items() if old.get(name) != value] or ["data"]
        raise ValueError(f"{out} holds regions of another extractor ({', '.join(other)}): choose another folder")
    whole = [shard for shard in card.shards if not verify_shards(out, _with(card, shard), checksums=False)]
    return _with(card, *whole)


def _with(card: Card, *shards: Shard) -> Card:
    return msgspec.structs.replace(card, shards=shards)


class _Rate(ProgressColumn):
    """Pictures so far, and how many a second; `seen` is a queue of how many more are done."""

    def __init__(self, seen: Any) -> None:
        super().__init__()
        self.seen, self.start, self.count = seen, time.perf_counter(), 0

    def render(self, task: Task) -> Text:
        while not self.seen.empty():
            self.count += self.seen.get()
        return Text(f"{self.count:,} pictures, {self.count / (time.perf_counter() - self.start):.1f} a second")


def _progress(seen: Any) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(seen), TimeElapsedColumn()
    )
