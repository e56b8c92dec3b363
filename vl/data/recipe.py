"""The command that every recipe of a released data set has, and the parts it makes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, NoReturn

from vl.data.card import Card
from vl.data.convert import Made, Missing, Part, convert
from vl.data.pictures import Pictures

#: Items of a part: what a killed run has to do again at most.
PART = 100_000


def parser(doc: str, name: str, annotations: str, splits: Iterable[str] = ()) -> argparse.ArgumentParser:
    """The options all recipes share.

    Args:
        doc: The recipe's docstring.
        name: The data set's, for the folder of the shards.
        annotations: What `--annotations` is.
        splits: Where the annotations are one file a split, what it may be; shards then go to a folder of the split.
    """
    found = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    out = f"data/{name}" + ("/SPLIT" if splits else "")
    found.add_argument("--annotations", required=True, help=annotations)
    if splits:
        found.add_argument("--split", choices=tuple(splits), required=True, help="what the annotations are")
    found.add_argument("--images", nargs="+", required=True, help="folders, .zip files or shards with the pictures")
    found.add_argument("--out", default=out, help="folder for the shards and their card (%(default)s)")
    found.add_argument("--limit", type=int, help="at most this many samples of each split, to try it out")
    found.add_argument("--workers", type=int, help="processes (one for each core)")
    return found


def run(
    options: argparse.Namespace,
    card: Card,
    splits: Mapping[str, Sequence[Any]],
    make: Callable[..., Made | Missing | None],
    **more: Any,
) -> Card:
    """Convert: `make(item, pictures=..., **more)` for the items of each split, in parts of `PART`.

    Raises:
        SystemExit: an annotation or option is wrong, in one line.
    """
    try:
        job = partial(make, pictures=Pictures(tuple(options.images)), **more)
        parts = [part for split, items in splits.items() for part in _parts(split, items[: options.limit], job)]
        out = options.out.replace("SPLIT", getattr(options, "split", "SPLIT"))
        return convert(out, card, parts, options.workers)
    except ValueError as error:
        refuse(error)


def refuse(error: ValueError) -> NoReturn:
    """End the command with the error's one line."""
    raise SystemExit(f"convert: {error}") from error


def _parts(split: str, items: Sequence[Any], job: Callable[[Any], Made | Missing | None]) -> list[Part]:
    if len(items) <= PART:
        return [Part(split, split, items, job)] if len(items) else []
    starts = zip(count(), range(0, len(items), PART), strict=False)
    return [Part(f"{split}-{number:04d}", split, items[first : first + PART], job) for number, first in starts]
