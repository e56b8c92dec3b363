"""NLVR2, VCR and GQA: by hand, and against the released rules written out."""

import random
from collections import defaultdict

import pytest

from vl.metrics.consistency import nlvr2_scores, vcr_scores
from vl.metrics.gqa import accuracy_by_type, gqa_scores


def test_one_wrong_row_costs_its_whole_statement():
    rows = {f"dev-850-{pair}-{sentence}": True for pair in range(4) for sentence in range(2)}
    assert nlvr2_scores(rows) == {"accuracy": 100, "consistency": 100}
    assert nlvr2_scores(rows | {"dev-850-2-1": False}) == {"accuracy": 87.5, "consistency": 50}
    # another set with the same sentence number is another statement
    assert nlvr2_scores({"dev-1-0-0": True, "dev-2-0-0": False})["consistency"] == 50
    with pytest.raises(ValueError, match="'dev-1-0' is no NLVR2 identifier"):
        nlvr2_scores({"dev-1-0": True})


def test_vcr_needs_both():
    found = vcr_scores([True, True, False, False], [True, False, True, False])
    assert found == {"Q->A": 50, "QA->R": 50, "Q->AR": 25}


def question(answer, kind, group, entailed, balanced=True, detailed="x"):
    return {"answer": answer, "isBalanced": balanced, "groups": {"global": group}, "entailed": entailed,
            "types": {"structural": kind, "semantic": kind, "detailed": detailed}}  # fmt: skip


QUESTIONS = {
    "1": question("yes", "verify", None, ["1", "2", "3"]),
    "2": question("red", "query", "colour", []),
    "3": question("blue", "query", "colour", ["2"]),
    "4": question("shape", "compare", None, [], detailed="twoCommon"),
    "5": question("no", "verify", None, ["1"], balanced=False),
}
CHOICES = {name: {"valid": ["red", "blue", "yes"], "plausible": ["red"]} for name in QUESTIONS}


def test_gqa_by_hand():
    said = {"1": "yes", "2": "red", "3": "red", "4": "color", "5": "no"}
    found = gqa_scores(QUESTIONS, said, CHOICES)
    assert found["accuracy"] == 50
    assert (found["binary"], found["open"]) == (50, 50)
    assert found["validity"] == 100  # color may be asked of what two things have in common
    assert found["plausibility"] == 75
    assert found["consistency"] == 75  # 1 entails 2 (right) and 3 (wrong), 5 entails 1 (right)
    assert found["distribution"] == pytest.approx(((2 - 1) ** 2 / 1 + (0 - 1) ** 2 / 1) / 100)
    assert accuracy_by_type(QUESTIONS, said) == {"compare": 0, "query": 50, "verify": 100}
    assert {"validity", "consistency"}.isdisjoint(gqa_scores(QUESTIONS, dict.fromkeys("1234", "yes")))


def slow(questions, said):
    """The released loop: accuracy, consistency, distribution."""
    hits, shares, gold, predicted = [], [], defaultdict(lambda: defaultdict(int)), defaultdict(lambda: defaultdict(int))
    for name, one in questions.items():
        right = said[name] == one["answer"]
        if one["isBalanced"]:
            hits.append(float(right))
            group = one["groups"]["global"]
            if group is not None:
                gold[group][one["answer"]] += 1
                predicted[group][said[name]] += 1
        others = [other for other in one["entailed"] if other != name]
        if right and others:
            shares.append(sum(said[other] == questions[other]["answer"] for other in others) / len(others))
    score = overall = 0
    for group in gold:
        chi = sum((predicted[group].get(a, 0) - e) ** 2 / e for a, e in gold[group].items())
        score, overall = score + chi * sum(gold[group].values()), overall + sum(gold[group].values())
    return 100 * sum(hits) / len(hits), 100 * sum(shares) / len(shares), score / overall / 100


def test_gqa_equals_the_released_loop():
    draw = random.Random(0)
    names = [str(number) for number in range(400)]
    questions = {
        name: question(draw.choice("abcde"), draw.choice(["query", "verify"]), draw.choice([None, "g", "h"]),
                       draw.sample(names, draw.randint(0, 3)), draw.random() < 0.5)
        for name in names
    }  # fmt: skip
    said = {name: draw.choice([one["answer"], "a", "z"]) for name, one in questions.items()}
    found = gqa_scores(questions, said)
    assert (found["accuracy"], found["consistency"], found["distribution"]) == pytest.approx(slow(questions, said))
