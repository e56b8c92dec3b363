"""What it costs to open an index of ten million samples and to shuffle them: time, memory, and whether both are linear.

python tools/bench_index.py --samples 10000000 --json runs/bench/index.json

The indexes are real files, as `vl.data.shard_index` writes them; the shards beside them are empty files of the right
size, since opening an index does not read its shard. Every figure is taken in a process of its own, forked before
anything was opened. There is no peer: the same is measured with a tenth of the samples, and `linear` says how much more
a sample costs among ten times as many. `check` is the share of randomly drawn examples that were not found under their
own key.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
import torch

from vl.data.index import ShardSet
from vl.data.order import Shuffle
from vl.data.shard_index import INDEX_VERSION, Summary, fingerprint, index_places
from vl.data.tables import write_tables
from vl.data.tar import BLOCK
from vl.data.views.caption import CaptionView
from vl.draw import Draw
from vl.report.figures import Comparison, settings, write_bench

VIEW = CaptionView()
QUICK = {"samples": 100_000, "repeats": 1}
#: A picture of up to 25 KB, a caption and a record: what a sample takes in a shard.
MEMBERS = {"jpg": 24_000, "json": 400, "txt": 60}
DIGITS = 10 ** np.arange(8, -1, -1)
DRAWN = 2000


def simulate(folder: Path, samples: int, per_shard: int) -> None:
    """Shards with their indexes; sample n has the key n, in nine digits."""
    folder.mkdir()
    for number, first in enumerate(range(0, samples, per_shard)):
        write_shard(folder / f"train-{number:06d}.tar", np.arange(first, min(first + per_shard, samples)))


def write_shard(path: Path, ids: np.ndarray) -> None:
    count, kinds = len(ids), len(MEMBERS)
    blocks = np.array([1 + -(-size // BLOCK) for size in MEMBERS.values()])
    tables = {
        "keys": (ids[:, None] // DIGITS % 10 + ord("0")).astype(np.uint8).ravel(),
        "key_starts": np.arange(0, (count + 1) * len(DIGITS), len(DIGITS), dtype=np.uint32),
        "example_starts": np.arange(count + 1, dtype=np.uint32),
        "member_starts": np.arange(0, (count + 1) * kinds, kinds, dtype=np.uint32),
        "kinds": np.tile(np.arange(kinds, dtype=np.uint16), count),
        "blocks": (np.cumsum(np.tile(blocks, count)) - np.tile(blocks, count) + 1).astype(np.uint32),
        "sizes": np.tile(np.array(list(MEMBERS.values()), np.uint64), count),
    }
    path.touch()
    os.truncate(path, int(blocks.sum() * count + 2) * BLOCK)
    status = path.stat()
    summary = Summary(
        INDEX_VERSION, fingerprint(VIEW), status.st_size, status.st_mtime_ns, count, count, 0, 0, tuple(MEMBERS), (),
        path.name,
    )  # fmt: skip
    place = index_places(str(path), VIEW, None)[0]
    place.parent.mkdir(exist_ok=True)
    write_tables(place, tables, msgspec.to_builtins(summary))


def start(folder: Path, batch: int, seed: int) -> dict[str, float]:
    """What a process does before its first batch: open the index, shuffle the first epoch, find some examples."""
    before, opening = memory(), time.perf_counter()
    shards = ShardSet(f"{folder}/*.tar", VIEW)
    opened, shuffling = memory(), time.perf_counter()
    epoch = Shuffle().epoch(Draw.of(seed, 0, 0, torch.zeros(0, dtype=torch.int64)), shards.counts, batch)
    done = time.perf_counter()
    assert len(epoch) == len(shards) // batch
    return {
        "open": shuffling - opening,
        "shuffle": done - shuffling,
        "open memory": opened - before,
        "memory": memory() - before,
        "wrong": wrong(shards, seed),
    }


def wrong(shards: ShardSet, seed: int) -> float:
    """The share of some examples that are not found under their own key."""
    drawn = np.random.default_rng(seed).integers(0, len(shards), DRAWN).tolist()
    return sum(int(shards.key(example)) != example for example in drawn) / DRAWN


def share(folder: Path, seed: int, barrier: multiprocessing.Barrier) -> dict[str, float]:
    """A worker that uses the index while another one does: its memory of index files, and its part where shared."""
    shards = ShardSet(f"{folder}/*.tar", VIEW)
    wrong(shards, seed)
    barrier.wait(60)
    sizes = {"Rss": 0, "Pss": 0}
    mapped = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            mapped = line.endswith(".index")
        elif mapped and (name := line.partition(":")[0]) in sizes:
            sizes[name] += int(line.split()[1]) / 1024
    barrier.wait(60)
    return sizes


def memory() -> float:
    """Resident memory of this process in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def fresh(folder: Path, args: argparse.Namespace) -> dict[str, float]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        return pool.submit(start, folder, args.batch, args.seed).result()


def two_workers(folder: Path, seed: int) -> Comparison:
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager, ProcessPoolExecutor(2, context) as pool:
        barrier = manager.Barrier(2)
        found = [done.result() for done in [pool.submit(share, folder, seed, barrier) for _ in range(2)]]
    unshared, shared = sum(one["Rss"] for one in found), sum(one["Pss"] for one in found)
    note = {"resident": unshared, "shared by": unshared / shared}
    return figure("memory of the index", "2 workers together", "MiB", [shared], note)


def figure(name: str, case: str, unit: str, values: list[float], note: dict | None = None, check: float | None = None):
    return Comparison(
        name, case, unit, "lower", median(values), None, None, [[v, None] for v in values], check, note or {}
    )


def results(large: list[dict[str, float]], small: list[dict[str, float]], args: argparse.Namespace) -> list[Comparison]:
    found = []
    for name, unit in {"open": "s", "shuffle": "s", "open memory": "MiB", "memory": "MiB"}.items():
        for count, runs in ((args.samples, large), (args.samples // 10, small)):
            check = max(run["wrong"] for run in runs)
            found.append(figure(name, f"{count:,} samples", unit, [run[name] for run in runs], check=check))
    for name in ("open", "shuffle", "memory"):
        ratios = [more[name] / max(less[name], 1e-9) / 10 for more, less in zip(large, small, strict=True)]
        found.append(figure("linear", name, "cost of a sample among 10x as many", ratios))
    return found


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000_000, help="samples of the larger index (%(default)s)")
    parser.add_argument("--per-shard", type=int, default=10_000, help="samples of a shard (%(default)s)")
    parser.add_argument("--batch", type=int, default=4096, help="global batch (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5, help="measured runs of each size (%(default)s)")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--quick", action="store_true", help=f"only show that it works: {QUICK}")
    args = parser.parse_args(words)
    if args.quick:
        vars(args).update(QUICK)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, samples in (("large", args.samples), ("small", args.samples // 10)):
            simulate(folder / name, samples, args.per_shard)
        runs = [(fresh(folder / "large", args), fresh(folder / "small", args)) for _ in range(args.repeats)]
        found = results(*map(list, zip(*runs, strict=True)), args)
        found.append(two_workers(folder / "large", args.seed))
    about = settings(samples=args.samples, per_shard=args.per_shard, batch=args.batch, seed=args.seed)
    write_bench(args.json, found, about, quick=args.quick, tolerance=0.0)


if __name__ == "__main__":
    main()
