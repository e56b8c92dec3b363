"""Metrics of questions that belong together: NLVR2's statements and VCR's answers with their rationales."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def nlvr2_sentence(identifier: str) -> str:
    """The statement a row belongs to: its identifier (split-set-pair-sentence) without the number of the pair.

    Raises:
        ValueError: the identifier has no four parts; names it.
    """
    parts = identifier.split("-")
    if len(parts) < 4:
        raise ValueError(f"{identifier!r} is no NLVR2 identifier, split-set-pair-sentence, such as dev-850-0-1")
    return "-".join([*parts[:2], "", *parts[3:]])


def consistent(right: Mapping[str, bool], group: Mapping[str, str]) -> dict[str, bool]:
    """For each group, whether all of its rows are right."""
    found: dict[str, bool] = {}
    for name, hit in right.items():
        found[group[name]] = found.get(group[name], True) and hit
    return found


def nlvr2_scores(right: Mapping[str, bool]) -> dict[str, float]:
    """Accuracy of the rows and consistency of the statements, in percent."""
    statements = consistent(right, {name: nlvr2_sentence(name) for name in right})
    return {"accuracy": percent(right.values()), "consistency": percent(statements.values())}


def vcr_scores(answers: Sequence[bool], rationales: Sequence[bool]) -> dict[str, float]:
    """Q->A, QA->R (the rationale given the right answer) and Q->AR (both right), in percent."""
    both = [a and r for a, r in zip(answers, rationales, strict=True)]
    return {"Q->A": percent(answers), "QA->R": percent(rationales), "Q->AR": percent(both)}


def percent(hits: Iterable[float | bool]) -> float:
    """The mean in percent, 0 of nothing."""
    hits = list(hits)
    return 100 * sum(hits) / len(hits) if hits else 0.0
