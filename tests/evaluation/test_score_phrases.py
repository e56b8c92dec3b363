"""The scorer of phrase grounding, on the released layout."""

import json
from pathlib import Path

import pytest

from vl.evaluation.score_phrases import score_phrase_grounding

FOLDER = Path(__file__).parents[2] / "datasets/flickr30k/fixture/entities"
CAT, CATS, SOFA = [2, 8, 12, 20], [2, 8, 26, 20], [0, 4, 31, 23]


def score(tmp_path, said):
    (tmp_path / "p.json").write_text(json.dumps([{"id": name, "boxes": boxes} for name, boxes in said.items()]))
    return score_phrase_grounding(tmp_path / "p.json", FOLDER, "val")


def test_any_box_of_a_phrase_or_the_box_around_them(tmp_path):
    said = {"10002456-0-0": [CAT, CATS], "10002456-0-1": [CAT, SOFA], "10002456-1-0": [SOFA], "10002456-1-1": [SOFA]}
    found = score(tmp_path, said)
    assert found.n == 4
    # Cats: one cat is right alone, both are when merged (288 of 589 pixels of the sofa's box are not enough).
    assert found.metrics["R@1"] == 50
    assert found.metrics["R@5"] == found.metrics["upper_bound"] == 75
    assert found.metrics["merged/R@1"] == 25
    assert found.metrics["merged/R@5"] == 75
    assert (found.metrics["R@1/animals"], found.metrics["R@1/other"]) == (50, 50)
    assert found.interval(50).value == 50


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="has no prediction for 10002456-0-1"):
        score(tmp_path, {"10002456-0-0": [], "10002456-1-0": [], "10002456-1-1": []})
