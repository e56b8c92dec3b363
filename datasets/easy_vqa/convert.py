"""easy-VQA, questions about coloured shapes -> shards. See README.md beside this file.

    python datasets/easy_vqa/convert.py              # data/easy_vqa, a few seconds
    python datasets/easy_vqa/convert.py --limit 50   # a small one, to look at

Load it with `shards: data/easy_vqa/train-*.tar` and `vl.data.views.qa.QAView`.
"""

from __future__ import annotations

import argparse
import json
from hashlib import blake2b
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from vl.data.card import Card
from vl.data.convert import Made, Part, convert
from vl.data.sample import Question, Record

SPLITS = {
    "train": "nine tenths of the published training pictures",
    "val": "a tenth of the published training pictures, by a hash of the picture",
    "test": "the published test pictures",
}
VAL = 0.10
COLOURS = ("black", "gray", "red", "green", "blue", "yellow", "teal", "brown")


def package() -> Path:
    """The folder of the wheel that holds pictures and questions."""
    found = find_spec("easy_vqa")
    assert found is not None, "the imports above would have failed"
    return Path(str(found.origin)).parent / "data"


def questions(file: Path) -> dict[int, list[Question]]:
    """The questions of each picture.

    Raises:
        ValueError: an entry is not [question, answer, number of the picture]; names file and entry.
    """
    asked: dict[int, list[Question]] = {}
    for number, entry in enumerate(json.loads(file.read_text())):
        match entry:
            case [str(question), str(answer), int(picture)]:
                one = Question(f"{file.parent.name}-{number}", question, (answer,), type=kind(answer))
                asked.setdefault(picture, []).append(one)
            case _:
                raise ValueError(f"{file}: entry {number} is not [question, answer, picture] but {entry!r}")
    return asked


def kind(answer: str) -> str:
    """What is asked for: yes/no, colour or shape."""
    return "yes/no" if answer in ("yes", "no") else "colour" if answer in COLOURS else "shape"


def make(work: tuple[Path, list[Question]]) -> Made:
    """The sample of one picture, whose bytes stay as they are."""
    path, asked = work
    with Image.open(path) as image:
        width, height = image.size
    record = Record(qa=tuple(asked), width=width, height=height, source="easy-vqa", licence="MIT")
    return f"{path.parent.parent.name}-{int(path.stem):06d}", {"png": path.read_bytes(), "json": record}


def part(split: str, folder: str, limit: int | None) -> Part:
    """The pictures of a split, out of one of the two folders of the wheel."""
    asked = questions(package() / folder / "questions.json")
    pictures = {int(path.stem): path for path in (package() / folder / "images").glob("*.png")}
    if missing := sorted(set(asked) - set(pictures)):
        raise ValueError(
            f"{package() / folder / 'questions.json'} asks about pictures that do not exist: {missing[:5]}"
        )
    chosen = [number for number in sorted(pictures) if folder == "test" or in_val(pictures[number]) == (split == "val")]
    return Part(split, split, [(pictures[number], asked.get(number, [])) for number in chosen[:limit]], make)


def in_val(picture: Path) -> bool:
    """By a hash of the picture itself, so that equal pictures stay in one split."""
    return int.from_bytes(blake2b(picture.read_bytes(), digest_size=8).digest(), "big") / 2**64 < VAL


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="data/easy_vqa", help="folder for the shards and their card (%(default)s)")
    parser.add_argument("--limit", type=int, help="at most this many pictures of each split, to try it out")
    parser.add_argument("--workers", type=int, default=1, help="processes (%(default)s: reading is quick)")
    args = parser.parse_args(words)
    card = Card(
        name="easy_vqa",
        source=f"PyPI easy-vqa {version('easy-vqa')}",
        licence="MIT",
        splits=SPLITS,
        languages=("en",),
        settings={"recipe": 1, "limit": args.limit},
    )
    folders = {"train": "train", "val": "train", "test": "test"}
    convert(args.out, card, [part(split, folder, args.limit) for split, folder in folders.items()], args.workers)


if __name__ == "__main__":
    main()
