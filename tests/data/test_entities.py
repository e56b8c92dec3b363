"""Flickr30k Entities as released, in three rows."""

from pathlib import Path

import pytest

from vl.data.entities import around, read_entities, read_split

FOLDER = Path(__file__).parents[2] / "datasets/flickr30k/fixture/entities"


def test_sentences_lose_their_marks_and_phrases_keep_their_places():
    found = read_entities(FOLDER, "10002456")
    assert (found.width, found.height) == (32, 24)
    first, second = found.groundings
    assert (first.id, first.text) == ("10002456-0", "Two cats sleep on a sofa .")
    assert second.text == "Cats on a couch ."
    cats, sofa = first.phrases
    assert (cats.id, cats.type, sofa.id) == ("10002456-0-0", "animals", "10002456-0-1")
    assert [first.text[one.end - len(one.text) : one.end] for one in first.phrases] == ["Two cats", "a sofa"]
    assert cats.boxes == ((2 / 32, 8 / 24, 12 / 32, 20 / 24), (14 / 32, 8 / 24, 26 / 32, 20 / 24))
    assert around(cats.boxes) == (2 / 32, 8 / 24, 26 / 32, 20 / 24)


def test_phrases_without_a_box_are_left_out_and_still_counted(tmp_path):
    (first, second) = read_entities(FOLDER, "1000092795").groundings
    assert [one.text for one in (*first.phrases, *second.phrases)] == ["A red bus", "A bus"]
    for name in ("Annotations", "Sentences"):
        (tmp_path / name).mkdir()
    (tmp_path / "Annotations/1.xml").write_text((FOLDER / "Annotations/1000092795.xml").read_text())
    (tmp_path / "Sentences/1.txt").write_text("In [/EN#2/scene a street] is [/EN#1/vehicles/other a bus]\nA corner .\n")
    (only,) = read_entities(tmp_path, "1").groundings
    assert [(one.id, one.text, one.type) for one in only.phrases] == [("1-0-1", "a bus", "vehicles")]
    assert only.text == "In a street is a bus"


def test_splits_and_refusals(tmp_path):
    assert read_split(FOLDER, "val") == ["10002456"]
    with pytest.raises(ValueError, match=r"has no split 'dev'; it has test, train, val"):
        read_split(FOLDER, "dev")
    with pytest.raises(ValueError, match=r"Annotations/7\.xml is malformed"):
        read_entities(FOLDER, "7")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations/10002456.xml").write_text("<annotation><size>")
    with pytest.raises(ValueError, match=r"10002456\.xml is malformed"):
        read_entities(tmp_path, "10002456")
