"""Wukong -> shards. See README.md beside this file.

    python datasets/wukong/convert.py --annotations wukong_100m_0.csv --images 'wukong/00*.tar' --out data/wukong/0

One of the 256 lists at a time, each into a folder of its own. Pictures are found in img2dataset's shards by their URL;
in a folder or .zip by the number of their row, counted from 1, as 000000123.jpg.
Load it with `shards: data/wukong/*/train-*.tar` and `vl.data.views.caption.CaptionView`.
"""

from __future__ import annotations

import csv

import msgspec

from vl.data.card import Card
from vl.data.convert import Made, Missing
from vl.data.pictures import Pictures
from vl.data.recipe import parser, refuse, run
from vl.data.web import UrlRow, web_sample

CARD = Card(
    name="wukong",
    source="Wukong (arXiv:2202.06767): 100 million pictures of the Chinese web with their texts",
    licence="captions CC-BY-NC-SA-4.0; pictures under their owners' terms",
    splits={"train": "101,483,885 rows in 256 lists, less what the web has lost"},
    languages=("zh",),
)


def rows(path: str) -> list[UrlRow]:
    """The rows of a list with the header `url,caption`.

    Raises:
        ValueError: a row is malformed; names file and line.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            found = []
            for number, row in enumerate(reader, start=1):
                if not row.get("url") or row.get("caption") is None or None in row:
                    raise ValueError(f"{path}, line {reader.line_num} is not `url,caption`: {row!r}")
                found.append(UrlRow(number, row["url"], row["caption"]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    return found


def make(row: UrlRow, pictures: Pictures) -> Made | Missing:
    """The sample of one row."""
    return web_sample(row, pictures, "wukong", "zh")


def main(args: list[str] | None = None) -> None:
    options = parser(__doc__, "wukong", "one of wukong_100m_*.csv").parse_args(args)
    try:
        found = rows(options.annotations)
    except ValueError as error:
        refuse(error)
    run(options, msgspec.structs.replace(CARD, settings={"recipe": 1, "rows": len(found)}), {"train": found}, make)


if __name__ == "__main__":
    main()
