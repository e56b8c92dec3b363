"""GQA's five metrics.

"GQA: A New Dataset for Real-World Visual Reasoning", arXiv:1902.09506, section 4.4, by the rules of its released
`eval.py`: accuracy, validity, plausibility and distribution over the balanced questions, consistency over all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from vl.metrics.consistency import percent

Questions = Mapping[str, Mapping[str, Any]]
Choices = Mapping[str, Mapping[str, list[str]]]
#: What may be asked for in questions about what two things have in common, whatever the choices say.
_COMMON = ("color", "material", "shape")


def gqa_scores(
    questions: Questions, predictions: Mapping[str, str], choices: Choices | None = None
) -> dict[str, float]:
    """All metrics in percent but `distribution`, which is lower where answers spread as they should.

    Args:
        questions: the released questions by id, with `answer`, `isBalanced`, `types`, `groups` and `entailed`.
        predictions: an answer for every balanced question; for all questions if consistency is wanted.
        choices: the released valid and plausible answers by question, without which the two are left out.
    """
    balanced = {name: one for name, one in questions.items() if one["isBalanced"]}
    hits = {name: predictions[name] == one["answer"] for name, one in balanced.items()}
    is_open = {name: one["types"]["structural"] == "query" for name, one in balanced.items()}
    scores = {
        "accuracy": percent(hits.values()),
        "binary": percent(hit for name, hit in hits.items() if not is_open[name]),
        "open": percent(hit for name, hit in hits.items() if is_open[name]),
        "distribution": distribution(balanced, predictions),
    }
    if choices is not None:
        for metric, kind in (("validity", "valid"), ("plausibility", "plausible")):
            scores[metric] = percent(in_scope(predictions[n], one, choices[n][kind]) for n, one in balanced.items())
    if predictions.keys() >= questions.keys():
        scores["consistency"] = consistency(questions, predictions)
    return scores


def accuracy_by_type(questions: Questions, predictions: Mapping[str, str], kind: str = "semantic") -> dict[str, float]:
    """Accuracy in percent for each `structural` or `semantic` type of the balanced questions."""
    hits: dict[str, list[bool]] = defaultdict(list)
    for name, one in questions.items():
        if one["isBalanced"]:
            hits[one["types"][kind]].append(predictions[name] == one["answer"])
    return {kind: percent(found) for kind, found in sorted(hits.items())}


def in_scope(answer: str, question: Mapping[str, Any], allowed: list[str]) -> bool:
    """Whether the answer could be one: of the right kind (valid), or ever seen (plausible)."""
    return answer in (_COMMON if "Common" in question["types"]["detailed"] else allowed)


def consistency(questions: Questions, predictions: Mapping[str, str]) -> float:
    """Of the questions that a right answer entails, the share that is right, averaged over right answers; percent."""
    shares = []
    for name, one in questions.items():
        entailed = [other for other in one["entailed"] if other != name]
        if predictions[name] == one["answer"] and entailed:
            shares.append(sum(predictions[other] == questions[other]["answer"] for other in entailed) / len(entailed))
    return percent(shares)


def distribution(questions: Questions, predictions: Mapping[str, str]) -> float:
    """Chi-square of the predicted answers against the true ones, within each group of questions, over 100."""
    true: dict[str, Counter[str]] = defaultdict(Counter)
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for name, one in questions.items():
        if (group := one["groups"]["global"]) is not None:
            true[group][one["answer"]] += 1
            found[group][predictions[name]] += 1
    total = sum(counts.total() for counts in true.values())
    if not total:
        return 0.0
    weighed = (
        counts.total() * sum((found[group][answer] - number) ** 2 / number for answer, number in counts.items())
        for group, counts in true.items()
    )
    return sum(weighed) / total / 100
