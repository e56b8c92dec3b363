"""CIDEr-D as a reward of captions: the document frequencies of a corpus in a file, and a caption's end as a word.

Without the end, a reward of n-grams teaches captions to stop in the middle of a phrase ("a man on a"); the released
codes of self-critical training count it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from vl.metrics.cider import CiderD, Frequencies
from vl.metrics.ptb import tokenize

#: No word of a caption has angle brackets and letters in between.
END = "<end>"


class Table(msgspec.Struct, frozen=True):
    """The file: the number of pictures, and in how many of them each n-gram (words joined by spaces) occurs."""

    pictures: int
    counts: dict[str, int]


def words(caption: str, language: str = "en", ended: bool = True) -> list[str]:
    """The words of a caption as `CaptionScores` splits it, and its end if it has one."""
    return [*(caption if language == "zh" else tokenize(caption)), *([END] if ended else [])]


def write_frequencies(path: str | Path, frequencies: Frequencies) -> int:
    """Write a file, whole or not at all; returns its number of n-grams.

    An n-gram of one picture weighs as much as one of none, so it is left out: of a corpus' n-grams they are the most.
    """
    counts = {" ".join(gram): count for gram, count in frequencies.counts.items() if count > 1}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(msgspec.json.encode(Table(frequencies.images, counts)))
    temporary.replace(path)
    return len(counts)


def read_frequencies(path: str | Path) -> Frequencies:
    """The document frequencies in a file.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    if not Path(path).is_file():
        raise ValueError(f"there is no file of document frequencies {path}; tools/count_ngrams.py makes one of shards")
    try:
        table = msgspec.json.decode(Path(path).read_bytes(), type=Table)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path} does not hold what tools/count_ngrams.py writes: {error}") from error
    return Frequencies({tuple(gram.split(" ")): count for gram, count in table.counts.items()}, table.pictures)


def rewards(
    captions: Sequence[Sequence[str]],
    pictures: Sequence[int],
    references: Sequence[Sequence[str]],
    languages: Sequence[str],
    frequencies: Frequencies,
) -> list[float]:
    """CIDEr-D, 0 to 10, of captions.

    Args:
        captions: in words, as `words` makes them.
        pictures: the number of the picture each is of.
        references: what people said of each picture.
        languages: of each picture's references.
        frequencies: of the training split.
    """
    split = [[words(text, language) for text in texts] for texts, language in zip(references, languages, strict=True)]
    cider = CiderD(split, frequencies)
    return [cider.score(caption, picture) for caption, picture in zip(captions, pictures, strict=True)]
