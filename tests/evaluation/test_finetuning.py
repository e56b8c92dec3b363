"""Means over types, intervals and majorities by hand."""

from math import nan

import pytest

from vl.evaluation.finetuning import Row, both_right, figures, mean_of_runs, mean_of_types


def rows(*scores, kind="count", key="a", truth="1"):
    return [Row(key, "en", kind, float(score), truth) for score in scores]


def test_every_type_weighs_the_same():
    many, few = rows(1, 1, 1, 0, 0, 0, 0, 0), rows(1, 0, kind="exist", key="b", truth="yes")
    found = figures(many + few)
    assert found.mean.value == pytest.approx(100 * (3 / 8 + 1 / 2) / 2)
    assert found.types == {"count": 37.5, "exist": 50.0}
    assert found.metrics() == {"value": found.mean.value, "majority": 100.0, "of count": 37.5, "of exist": 50.0}
    assert found.n == 10


def test_the_majority_is_that_of_each_type():
    answers = [Row("a", "en", "exist", 1.0, truth) for truth in ("yes", "no", "yes", "yes")]
    answers += [Row("a", "en", "count", 1.0, truth) for truth in ("1", "2")]
    assert figures(answers).majority == pytest.approx(100 * (3 / 4 + 1 / 2) / 2)


def test_the_interval_is_over_pictures():
    alike = [row for picture in range(50) for row in rows(picture % 2, picture % 2, key=str(picture))]
    apart = [row for picture in range(50) for row in rows(1, 0, key=str(picture))]
    assert mean_of_types(apart).low == mean_of_types(apart).high == 50
    found = mean_of_types(alike)
    assert found.low < 42 < 58 < found.high


def test_both_of_a_question_and_its_rationale():
    pairs = [(1, 1), (1, 0), (0, 1), (1, 1)]
    asked = [row for number, (a, b) in enumerate(pairs) for row in
             (*rows(a, kind="answer", key=str(number)), *rows(b, kind="rationale", key=str(number)))]  # fmt: skip
    assert both_right(asked, "answer", "rationale") == 50
    assert both_right(rows(1, kind="answer"), "answer", "rationale") == pytest.approx(nan, nan_ok=True)


def test_the_interval_of_several_runs_is_students():
    found = mean_of_runs([1.0, 2.0, 3.0])
    assert found.value == 2
    assert found.high - 2 == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert mean_of_runs([5.0]).low == pytest.approx(nan, nan_ok=True)
