"""The easy-VQA recipe: the published numbers, run in full (it takes seconds)."""

import importlib.util
import json
from collections import Counter
from pathlib import Path

import pytest

from vl.data.card import read_card, verify_shards
from vl.data.index import ShardSet
from vl.data.views.qa import QAView

RECIPE = Path(__file__).parents[2] / "datasets/easy_vqa/convert.py"


@pytest.fixture(scope="module")
def made(recipe, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("easy_vqa")
    recipe.main(["--out", str(folder)])
    return folder


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("easy_vqa_recipe", RECIPE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_published_picture_and_question_is_there(made):
    card = read_card(made)
    assert verify_shards(made, card) == []
    assert card.count("train") + card.count("val") == 4000
    assert card.count("train", "qa") + card.count("val", "qa") == 38_575
    assert (card.count("test"), card.count("test", "qa")) == (1000, 9673)
    assert 0.08 < card.count("val") / 4000 < 0.12


def test_questions_are_examples(made):
    test = ShardSet(f"{made}/test-*.tar", QAView())
    assert len(test) == 9673
    records = {test.read(example).key: test.read(example).record for example in range(0, len(test), 50)}
    questions = [question for record in records.values() for question in record.qa]
    assert {(record.width, record.height) for record in records.values()} == {(64, 64)}
    kinds = Counter(question.type for question in questions)
    assert set(kinds) == {"yes/no", "colour", "shape"}
    assert kinds["yes/no"] / len(questions) == pytest.approx(7136 / 9673, abs=0.05)


def test_questions_stay_with_their_picture(made):
    """Against the wheel's own reader."""
    import easy_vqa

    texts, answers, pictures = easy_vqa.get_test_questions()
    paths = easy_vqa.get_test_image_paths()
    test = ShardSet(f"{made}/test-*.tar", QAView())
    for number in (0, 5000, 9672):
        asked = [(t, a) for t, a, picture in zip(texts, answers, pictures, strict=True) if picture == pictures[number]]
        key = f"test-{pictures[number]:06d}"
        sample = next(s for s in map(test.read, range(len(test))) if s.key == key)
        assert [(one.question, one.answers[0]) for one in sample.record.qa] == asked
        assert sample.members["png"] == Path(paths[pictures[number]]).read_bytes()


def test_a_small_one_twice_gives_the_same_bytes(recipe, tmp_path, capsys):
    for out in ("one", "two", "one"):
        recipe.main(["--out", str(tmp_path / out), "--limit", "20"])
    assert "is complete" in capsys.readouterr().out
    card = read_card(tmp_path / "one")
    assert [card.count(split) for split in ("train", "val", "test")] == [20, 20, 20]
    assert read_card(tmp_path / "two") == card


def test_a_malformed_entry_is_named(recipe, tmp_path):
    file = tmp_path / "questions.json"
    file.write_text(json.dumps([["what?", "red", 0], ["what?", "red"]]))
    with pytest.raises(ValueError, match=r"questions\.json: entry 1 is not \[question, answer, picture\]"):
        recipe.questions(file)
