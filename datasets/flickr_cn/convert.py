"""Flickr8k-CN and Flickr30k-CN -> shards. See README.md beside this file.

    python datasets/flickr_cn/convert.py --annotations flickr30kzhb.caption.txt --split train \\
        --names flickr30ktrain.txt --images flickr30k-images --out data/flickr30k_cn/train

One split at a time, each into a folder of its own. Load it with `shards: data/flickr30k_cn/train/train-*.tar` and
`vl.data.views.caption.CaptionView(languages=["zh"])`.
"""

from __future__ import annotations

from vl.data.card import Card
from vl.data.convert import Made, Missing
from vl.data.pictures import Pictures, picture_sample
from vl.data.recipe import parser, refuse, run
from vl.data.sample import Caption, Record
from vl.data.sentences import read_names, read_sentences

CARD = Card(
    name="flickr_cn",
    source="Flickr8k-CN (ICMR 2016) or Flickr30k-CN (ACM MM 2017): Chinese sentences, translated by people for test",
    licence="for non-commercial research; pictures under their Flickr terms",
    splits={
        "train": "29,783 pictures (30k), 6,000 (8k): machine translations of the English sentences in 30k",
        "val": "1,000 pictures",
        "test": "1,000 pictures, five sentences each",
    },
    languages=("zh",),
    settings={"recipe": 1},
)
Picture = tuple[str, tuple[str, ...]]


def pictures_of(path: str, names: str | None) -> list[Picture]:
    """The pictures of the caption file, or those of them that the file of names lists.

    Raises:
        ValueError: a line is malformed, or a named picture has no sentence; names file and line or picture.
    """
    said = read_sentences(path)
    chosen = read_names(names) if names else list(said)
    if silent := [name for name in chosen if name not in said]:
        raise ValueError(f"{names} names {silent[0]}, which has no sentence in {path}")
    return [(name, tuple(said[name])) for name in chosen]


def make(picture: Picture, pictures: Pictures) -> Made | Missing:
    """The sample of one picture with its Chinese sentences."""
    name, sentences = picture

    def record(width: int, height: int) -> Record:
        captions = tuple(Caption(text, "zh") for text in sentences)
        return Record(captions=captions, width=width, height=height, source=f"flickr30k/{name}", licence="Flickr")

    return picture_sample(name, pictures, f"{name}.jpg", record)


def main(args: list[str] | None = None) -> None:
    options = parser(__doc__, "flickr_cn", "a released *.caption.txt", CARD.splits)
    options.add_argument("--names", help="file with the split's pictures, one a line; all if not given")
    options = options.parse_args(args)
    try:
        found = pictures_of(options.annotations, options.names)
    except ValueError as error:
        refuse(error)
    run(options, CARD, {options.split: found}, make)


if __name__ == "__main__":
    main()
