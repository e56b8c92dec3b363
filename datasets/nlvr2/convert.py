"""NLVR2 -> shards. See README.md beside this file.

    python datasets/nlvr2/convert.py --annotations train.json --split train --images images/train
    python datasets/nlvr2/convert.py --annotations dev.json --split dev --images dev

One file at a time, each into a folder of its own, data/nlvr2/SPLIT. Load it with
`shards: data/nlvr2/train/train-*.tar` and `vl.data.views.statement.StatementView`.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from vl.data.card import Card
from vl.data.convert import Made, Missing
from vl.data.pictures import Pictures, picture_sample
from vl.data.recipe import parser, refuse, run
from vl.data.rows import read_json_lines
from vl.data.sample import Record, Statement

CARD = Card(
    name="nlvr2",
    source="NLVR2 (arXiv:1811.00491): statements about two photographs",
    licence="annotations CC-BY-4.0; the pictures are given out for research on request",
    splits={
        "train": "86,373 statements",
        "dev": "6,982 statements",
        "test1": "6,967 statements (test-P)",
        "test2": "6,970 statements (test-U)",
    },
    languages=("en",),
    settings={"recipe": 1},
)
LABELS = {"True": True, "False": False}
Pair = tuple[str, str, tuple[Statement, ...]]


def statements(path: str) -> list[Pair]:
    """The pairs of pictures of a file, each with its name, its folder (train alone) and its statements.

    Raises:
        ValueError: a line is malformed; names file and line.
    """
    said: dict[tuple[str, str], list[Statement]] = defaultdict(list)
    for number, row in enumerate(read_json_lines(path), start=1):
        try:
            pair, _, _ = row["identifier"].rpartition("-")
            found = Statement(row["identifier"], row["sentence"], LABELS[row["label"]])
        except (KeyError, AttributeError) as error:
            raise ValueError(f"{path}, row {number} is malformed: {error!r}") from error
        said[pair, str(row.get("directory", ""))].append(found)
    return [(pair, folder, tuple(found)) for (pair, folder), found in said.items()]


def make(work: Pair, pictures: Pictures) -> Made | Missing:
    """The sample of one pair: members left.* and right.*."""
    pair, folder, said = work
    names = {side: str(Path(folder) / f"{pair}-img{number}.png") for number, side in enumerate(("left", "right"))}

    def record(width: int, height: int) -> Record:
        return Record(statements=said, source=f"nlvr2/{pair}", licence="for research")

    return picture_sample(pair, pictures, names, record)


def main(args: list[str] | None = None) -> None:
    options = parser(__doc__, "nlvr2", "train.json, dev.json, ... (JSON lines)", CARD.splits).parse_args(args)
    try:
        found = statements(options.annotations)
    except ValueError as error:
        refuse(error)
    run(options, CARD, {options.split: found}, make)


if __name__ == "__main__":
    main()
