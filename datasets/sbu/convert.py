"""SBU Captions -> shards. See README.md beside this file.

    python datasets/sbu/convert.py --annotations sbu-captions-all.json --images 'sbu/*.tar'

Pictures are found in img2dataset's shards by their URL; in a folder or .zip by their place in the list, counted from
1, as 000000123.jpg. Load it with `shards: data/sbu/train-*.tar` and `vl.data.views.caption.CaptionView`.
"""

from __future__ import annotations

from vl.data.card import Card
from vl.data.convert import Made, Missing
from vl.data.pictures import Pictures
from vl.data.recipe import parser, refuse, run
from vl.data.rows import read_json
from vl.data.web import UrlRow, web_sample

CARD = Card(
    name="sbu",
    source="SBU Captioned Photo Dataset (NeurIPS 2011): Flickr pictures with what their owners wrote",
    licence="pictures and texts under their Flickr terms",
    splits={"train": "1,000,000 pictures, less what Flickr has lost"},
    languages=("en",),
    settings={"recipe": 1},
)


def rows(path: str) -> list[UrlRow]:
    """The rows of the released JSON, which holds two lists of equal length.

    Raises:
        ValueError: it does not; names the file, and the first row that is malformed.
    """
    content = read_json(path)
    lists = [content.get(name) if isinstance(content, dict) else None for name in ("image_urls", "captions")]
    if not all(isinstance(one, list) for one in lists) or len(lists[0]) != len(lists[1]):
        raise ValueError(f"{path} has no lists `image_urls` and `captions` of equal length")
    for number, pair in enumerate(zip(*lists, strict=True), start=1):
        if not all(isinstance(field, str) for field in pair):
            raise ValueError(f"{path}, row {number} is not a URL and a caption: {pair!r}")
    return [UrlRow(number, url, caption) for number, (url, caption) in enumerate(zip(*lists, strict=True), start=1)]


def make(row: UrlRow, pictures: Pictures) -> Made | Missing:
    """The sample of one row."""
    return web_sample(row, pictures, "sbu", "en")


def main(args: list[str] | None = None) -> None:
    options = parser(__doc__, "sbu", "sbu-captions-all.json").parse_args(args)
    try:
        found = rows(options.annotations)
    except ValueError as error:
        refuse(error)
    run(options, CARD, {"train": found}, make)


if __name__ == "__main__":
    main()
