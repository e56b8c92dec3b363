"""VQA accuracy by the official rules, quirks included, and the soft labels that follow from it.

"VQA: Visual Question Answering", arXiv:1505.00468, section 4, and the released `vqaEval.py`: an answer scores
min(1, n/3) where n of the other nine people gave it, averaged over the ten ways to leave one out. An answer is
normalised before it is compared; those of people only where they differ, and then only their punctuation (the
released annotations are normalised otherwise).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

_NUMBERS = ["none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)} | {"zero": "0"}
_ARTICLES = {"a", "an", "the"}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
#: The released pattern means to spare periods after digits as well, but `(?!<=\d)` asks for a literal "<=".
_PERIOD = re.compile(r"\.(?!\d)")
#: The released code passes re.UNICODE where `re.sub` takes the number of replacements.
_MAX_PERIODS = int(re.UNICODE)

#: Written without any apostrophe, these get theirs back.
_CONTRACTIONS = """
    ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's isn't
    it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've shouldn't
    somebody'll somebody's someone'd someone'll someone's something'd something'll that's there'd there're there's
    they'd they'll they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's
    where've who'd who'll who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
"""
#: Of two contractions in one word, either may have lost its apostrophe.
_DOUBLE_CONTRACTIONS = """
    couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've something'd've
    there'd've they'd've we'd've who'd've wouldn't've y'all'll you'd've
"""
_IRREGULAR = {
    "ow's'at": "'ow's'at", "'ows'at": "'ow's'at", "'ow'sat": "'ow's'at", "somebody'd": "somebodyd",
    "yall'd've": "y'all'd've", "y'alld've": "y'all'd've", "y'all'dve": "y'all'd've",
}  # fmt: skip


def _contractions() -> dict[str, str]:
    table = {word.replace("'", ""): word for word in _CONTRACTIONS.split()}
    for word in _DOUBLE_CONTRACTIONS.split():
        first, second, third = word.split("'")
        table |= {f"{first}{second}'{third}": word, f"{first}'{second}{third}": word}
    return table | _IRREGULAR


_WITH_APOSTROPHES = _contractions()


@lru_cache(maxsize=2**16)
def normalize_punctuation(answer: str) -> str:
    """Marks go where a space or a number with a comma is beside them (anywhere in the answer), else become a space."""
    number = _COMMA_IN_NUMBER.search(answer) is not None
    found = answer
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in answer or f" {mark}" in answer
        found = found.replace(mark, "" if beside_space or number else " ")
    return _PERIOD.sub("", found, count=_MAX_PERIODS)


def normalize_words(answer: str) -> str:
    """Lower case, numbers to ten as digits, no articles, contractions with their apostrophes."""
    words = (_DIGITS.get(word, word) for word in answer.lower().split())
    return " ".join(_WITH_APOSTROPHES.get(word, word) for word in words if word not in _ARTICLES)


@lru_cache(maxsize=2**16)
def normalize_answer(answer: str) -> str:
    """An answer as the official evaluation compares it."""
    return normalize_words(normalize_punctuation(answer.replace("\n", " ").replace("\t", " ").strip()))


def vqa_accuracy(answer: str, people: Sequence[str]) -> float:
    """The accuracy, 0 to 1, of an answer given those of all people asked (ten in VQA).

    Where fewer than four were asked, which the rule was not made for, any of their answers is right.
    """
    people = [normalize_punctuation(one) for one in people] if len(set(people)) > 1 else list(people)
    return score_of(people.count(normalize_answer(answer)), len(people))


def score_of(given: int, people: int) -> float:
    """The accuracy of an answer that `given` of `people` people gave."""
    if people < 4:
        return float(given > 0)
    leaving_it = (people - given) * min(1.0, given / 3)
    return (leaving_it + given * min(1.0, (given - 1) / 3)) / people if given else 0.0


def soft_labels(people: Sequence[str]) -> dict[str, float]:
    """Each normalised answer with its accuracy, in the order of the first to give it.

    With ten people the scores are 0.3, 0.6, 0.9 and 1, for one, two, three and more who agree.
    """
    counts = Counter(normalize_answer(one) for one in people)
    return {answer: score_of(given, len(people)) for answer, given in counts.items()}
