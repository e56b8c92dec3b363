"""Count in how many pictures' captions each n-gram occurs: what self-critical training weighs CIDEr-D by.

python tools/count_ngrams.py --data 'data/coco/train-*.tar' 'data/coco/restval-*.tar' --out runs/coco/ngrams.json
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from vl.data.index import ShardSet
from vl.data.sample import TEXT_MEMBERS
from vl.data.views.captioning import CaptioningView
from vl.metrics.caption_reward import words, write_frequencies
from vl.metrics.cider import Frequencies


class Captions(CaptioningView):
    """Captions alone: pictures are not read, and need not be there."""

    members = frozenset(TEXT_MEMBERS)


def references(shards: list[str], language: str) -> Iterator[list[list[str]]]:
    """The captions of each picture in words."""
    view = Captions(language)
    pictures = ShardSet(shards, view)
    for number in range(len(pictures)):
        texts = view.texts(pictures.read(number).record)[0]
        yield [words(text, language) for text in texts]


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, nargs="+", help="shards of the training split")
    parser.add_argument("--language", default="en", help="of the captions (%(default)s)")
    parser.add_argument("--out", required=True, type=Path, help="the JSON")
    options = parser.parse_args(args)
    try:
        frequencies = Frequencies.of(list(references(options.data, options.language)))
    except ValueError as error:
        raise SystemExit(f"count_ngrams: {error}") from error
    number = write_frequencies(options.out, frequencies)
    print(f"{options.out}: {number:,} n-grams of two pictures and more; {frequencies.images:,} pictures")


if __name__ == "__main__":
    main()
