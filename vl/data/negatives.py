"""Pairs that do not match: an example is given the text or the picture of another sample of its source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import Any, Literal

from vl.data.opposites import opposites_of
from vl.data.sample import Record
from vl.data.views.base import Example
from vl.draw import Draw

Other = tuple[Record, Callable[[], Example]]
#: Others that are drawn at random before all are tried in turn, by leaps that end at none twice.
_DRAWN = 64


@dataclass(frozen=True)
class Negatives:
    """Which examples are mismatched, and how: a pure function of the example's draw and the source.

    The other sample is drawn over the whole source. Its text is never one that is true of the picture: not one of the
    picture's own, and where samples list `objects` it mentions one that the picture does not show.

    Args:
        rate: the share of examples that are mismatched.
        swap: what comes from the other sample: the text (ViLBERT, LXMERT), the picture (UNITER), or the second text
            of a pair (VisualBERT).
        opposites: the share of swapped texts that are a stored opposite of the own one instead, where there is any; of
            each kind as often.
        kinds: of opposites that are taken where there are any.
        same_count: the other sample lists as many objects.
        both: an example has its own text and the swapped one, two rows of the batch with one picture; `rate` is not
            used. What the rows share falls out of the gradient, so that a small model learns sooner what differs.

    Raises:
        ValueError: a share is none, or opposites or both texts are asked for where texts are not
            swapped, or kinds of none.
    """

    rate: float = 0.5
    swap: Literal["text", "picture", "second text"] = "text"
    opposites: float = 0.0
    kinds: tuple[str, ...] = ()
    same_count: bool = False
    both: bool = False

    def __post_init__(self) -> None:
        for name, share in (("rate", self.rate), ("opposites", self.opposites)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {share}; it is a share in 0..1")
        if (self.opposites or self.both) and self.swap != "text":
            raise ValueError(f"opposites and both texts go with swap 'text', not {self.swap!r}")
        if self.kinds and not self.opposites:
            raise ValueError(f"kinds {self.kinds} are of opposites, of which the share is 0")

    def apply(self, example: Example, record: Record, draw: Draw, others: Iterable[Other]) -> Example:
        """The example as it is or mismatched, which `matched` says.

        Args:
            example: made of a sample.
            record: of that sample.
            draw: the example's numbers, one row.
            others: records of other samples in the order to try them, each with a way to make its example.

        Raises:
            ValueError: no other sample will do.
        """
        draw = draw.fold("mismatch")
        if self.both:
            other = self._mismatch(example, record, draw, others)
            texts: Any = (example.text, other.text)
            languages: Any = (example.language, other.language)
            return replace(example, text=None, texts=texts, language=languages, matched=(True, False))
        if float(draw.fold("rate").uniform()) >= self.rate:
            return replace(example, matched=True)
        return self._mismatch(example, record, draw, others)

    def _mismatch(self, example: Example, record: Record, draw: Draw, others: Iterable[Other]) -> Example:
        """The example with a text or picture that does not belong to it."""
        opposites = opposites_of(record, example.text)
        if opposites and float(draw.fold("opposite?").uniform()) < self.opposites:
            kinds = [kind for kind in sorted(opposites) if kind in self.kinds] or sorted(opposites)
            kind = pick(kinds, draw.fold("kind"))
            return replace(example, text=pick(opposites[kind], draw.fold("opposite")), matched=False)
        if self.same_count:
            others = (one for one in others if len(one[0].objects) == len(record.objects))
        if (found := next(mismatches(example, record, others, self.swap), None)) is not None:
            return found
        alike = " with as many objects" if self.same_count else ""
        raise ValueError(f"sample {example.key}: no other sample{alike} has a text that is false of it")


def mismatches(example: Example, record: Record, others: Iterable[Other], swap: str) -> Iterator[Example]:
    """The example with what other samples have in the place of its own, one sample after the other.

    Left out are samples that came before, and those whose text might be true of the picture.
    """
    seen: set[str] = set()
    for other, make in others:
        found = make()
        if found.key not in seen and (swapped := _swap(example, record, found, other, swap)) is not None:
            seen.add(found.key)
            yield swapped


def _swap(example: Example, record: Record, found: Example, other: Record, swap: str) -> Example | None:
    """The mismatched example; None if its text might be true of its picture."""
    text, told_of, shown = found.text, other, record
    if swap == "picture":
        text, told_of, shown = example.text, record, other
        swapped = replace(example, images=found.images)
    elif swap == "text":
        swapped = replace(example, text=found.text, language=found.language)
    else:
        assert isinstance(example.text, tuple)
        assert isinstance(found.text, tuple)
        text = found.text[1]
        swapped = replace(example, text=(example.text[0], text))
        if found.language != example.language:
            return None
    return None if _may_be_true(text, told_of, shown) else replace(swapped, matched=False)


def pick(choices: Sequence[str], draw: Draw) -> str:
    """One of them."""
    return choices[int(draw.integers(len(choices)))]


def candidates(number: int, draw: Draw) -> Iterator[int]:
    """Examples of a source of `number` in the order in which they are tried as the other one."""
    drawn = draw.fold("other").integers(number, _DRAWN)[0].tolist()
    yield from drawn
    leap = round(0.618 * number) | 1  # not to the next one, which is the same picture's
    while gcd(leap, number) > 1:
        leap += 1
    yield from ((drawn[-1] + step * leap) % number for step in range(1, number))


def _may_be_true(text: object, told_of: Record, shown: Record) -> bool:
    """Whether a text about one picture might be true of another one."""
    texts = set(text) if isinstance(text, tuple) else {text}
    if not texts.isdisjoint(caption.text for caption in shown.captions):
        return True
    if not (told_of.objects and shown.objects):
        return False
    there = {name for thing in shown.objects for name in (thing.name, thing.name_zh) if name}
    named = {name for thing in told_of.objects for name in (thing.name, thing.name_zh) if name}
    mentioned = {name for name in named if any(name.lower() in str(part).lower() for part in texts)}
    return mentioned <= there if mentioned else not named.isdisjoint(there)
