"""Questions: soft labels, loss against a slow loop, answers in the submission's form, and their accuracy."""

import json
import math

import pytest
import torch
from pretraining import full, prepared

from vl.batch import Batch
from vl.metrics.by_type import MeanByType
from vl.tasks.gqa import GQA
from vl.tasks.visual_bert_vqa import VisualBertVQA
from vl.tasks.vqa import VQA

PEOPLE = (["yes"] * 10, ["red"] * 3 + ["dark red"] * 7, ["2"], ["no"] * 5 + ["yes"] * 5, [], ["unheard of"] * 10)
LABELS = [{"yes": 1.0}, {"red": 0.9}, {"2": 1.0}, {"no": 1.0, "yes": 1.0}, {}, {}]


@pytest.fixture
def answers(tmp_path):
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(["no", "yes", "red", "2"]))
    return str(path)


def asked():
    batch = full()
    batch.targets.update(
        answers=PEOPLE, id=tuple(map(str, range(6))), type=("yes/no", "other", "number", "yes/no", "", "")
    )
    return batch


@pytest.mark.parametrize(("kind", "name"), [(VQA, "uniter"), (VQA, "lxmert"), (VQA, "vilbert"), (GQA, "uniter")])
def test_loss_equals_a_slow_loop(answers, kind, name):
    model, task = prepared(kind(answers, answers=5), name)
    batch = asked()
    corrupted, target = task.corrupt(batch, batch.draw)
    output = model(corrupted)
    loss = task(output, corrupted, target)
    logits, total, best = task.logits(output, batch).tolist(), 0.0, 0.0
    for row, labels in zip(logits, LABELS, strict=True):
        for place, answer in enumerate(["no", "yes", "red", "2", None]):
            prob = 1 / (1 + math.exp(-row[place]))
            wanted = labels.get(answer, 0.0)
            total -= wanted * math.log(prob) + (1 - wanted) * math.log(1 - prob)
        best += labels.get(["no", "yes", "red", "2", None][row.index(max(row))], 0.0)
    assert loss.count == 6
    assert loss.total.item() == pytest.approx(total, rel=1e-4)
    assert loss.metrics["soft_score"][0].item() == pytest.approx(best)


def test_answers_are_a_submission_with_scores(answers):
    model, task = prepared(VQA(answers, answers=5))
    batch = asked()
    found = task.predict(model, batch)
    best = task.logits(model(batch), batch)[:, :4].argmax(1).tolist()  # the fifth class has no answer
    assert [one["question_id"] for one in found] == list(range(6))
    assert [one["answer"] for one in found] == [["no", "yes", "red", "2"][place] for place in best]
    assert "accuracy" not in found[4]
    assert found[5]["accuracy"] == 0
    gqa = prepared(GQA(answers, answers=5))[1]
    assert set(gqa.predict(model, batch)[0]) == {"questionId", "prediction", "accuracy", "type"}


def test_visualbert_reads_the_last_word_and_wants_a_distribution(answers):
    model, task = prepared(VisualBertVQA(answers, answers=5), "visual_bert")
    batch = asked()
    corrupted, target = task.corrupt(batch, batch.draw)
    output = model(corrupted)
    logits = torch.stack([task.head(output.text[row, length - 2]) for row, length in enumerate((5, 9, 4, 7, 6, 8))])
    total = 0.0
    for row, labels in zip(logits.log_softmax(1).tolist(), LABELS, strict=True):
        for answer, score in labels.items():
            share = score / sum(labels.values())
            total += share * (math.log(share) - row[["no", "yes", "red", "2"].index(answer)])
    assert task(output, corrupted, target).total.item() == pytest.approx(total, rel=1e-4)


def test_lists_of_answers_that_do_not_fit_are_refused(answers, tmp_path):
    batch = asked()
    with pytest.raises(ValueError, match="holds 4 answers, more than `answers`, 3"):
        prepared(VQA(answers, answers=3))[1].corrupt(batch, batch.draw)
    with pytest.raises(ValueError, match=r"there is no list of answers nowhere\.json; tools/list_answers.py"):
        prepared(VQA("nowhere.json"))[1].corrupt(batch, batch.draw)


def test_means_by_type():
    metric = MeanByType("accuracy")
    scores = [("a", 1.0), ("a", 0.0), ("a", 0.5), ("b", 1.0), ("", 0.0)]
    metric.update([{"type": kind, "accuracy": value} for kind, value in scores[:2]], Batch())
    metric.update([{"type": kind, "accuracy": value} for kind, value in scores[2:]] + [{"type": "a"}], Batch())
    assert metric.compute() == {"accuracy": 50, "accuracy/of_types": 75, "accuracy/a": 50, "accuracy/b": 100}
    metric.reset()
    assert metric.compute() == {}
