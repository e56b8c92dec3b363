"""Statements about two pictures, entailment, and four choices: losses by hand, answers as they are submitted."""

from dataclasses import replace

import pytest
import torch
from pretraining import full, prepared
from torch.nn import functional as F

from vl.batch import Batch
from vl.tasks.nlvr2 import NLVR2
from vl.tasks.nlvr2_biattention import NLVR2BiAttention
from vl.tasks.nlvr2_triplet import NLVR2Triplet
from vl.tasks.snli_ve import SnliVE
from vl.tasks.vcr import VCR, BinaryVCR


def batch_of(examples, texts, images, labels, **targets):
    """`examples` examples of several texts and pictures each, out of six of either."""
    batch = full()
    rows = [(e * texts + t, e * images + i) for e in range(examples) for t in range(texts) for i in range(images)]
    targets = {"id": tuple(f"x-{e}" for e in range(examples)), "type": ("",) * examples} | targets
    text = batch.text.rows(torch.arange(examples * texts))
    visual = batch.visual._each(lambda tensor: tensor[: examples * images])
    return replace(batch, text=text, visual=visual, matched=None, keys=batch.keys[:examples],
                   pairs=torch.tensor(rows), targets=targets | {"label": torch.tensor(labels)})  # fmt: skip


def test_a_statement_is_judged_from_both_pictures_side_by_side():
    model, task = prepared(NLVR2())
    batch = batch_of(3, 1, 2, [1, 0, 1])
    output = model(batch)
    sides = output.pooled[0::2], output.pooled[1::2]
    logits = task.head(torch.cat(sides, dim=1))
    loss = task(output, batch)
    assert loss.total.item() == pytest.approx(F.cross_entropy(logits, torch.tensor([1, 0, 1]), reduction="sum").item())
    found = task.predict(model, batch)
    assert [one["prediction"] for one in found] == [bool(c) for c in logits.argmax(1)]
    assert found[0]["identifier"] == "x-0"
    # an exchange of the two pictures is another question
    swapped = replace(batch, pairs=batch.pairs[[1, 0, 3, 2, 5, 4]])
    assert (task.logits(model(swapped), swapped) - logits).abs().max() > 1e-3


def test_a_triplet_is_one_row():
    model, task = prepared(NLVR2Triplet())
    batch = batch_of(3, 1, 2, [1, 0, 1])
    joined, _ = task.corrupt(batch, batch.draw)
    assert joined.pairs is None
    assert joined.visual.mask.sum(1).tolist() == [4 + 1, 8 + 3, 5 + 6]
    assert joined.visual.segment[0].tolist() == [0] * 8 + [1] * 8
    output = model(joined)
    assert len(output.pooled) == 3
    assert task(output, joined).count == 3
    # every region of either picture is seen
    for place in (3, 8):
        features = joined.visual.features.clone()
        features[0, place] += 1
        other = model(replace(joined, visual=replace(joined.visual, features=features)))
        assert (other.pooled[0] - output.pooled[0]).abs().max() > 1e-4
        assert torch.equal(other.pooled[1:], output.pooled[1:])


def test_two_outputs_attend_to_each_other():
    model, task = prepared(NLVR2BiAttention(heads=3))
    batch = batch_of(3, 1, 2, [1, 0, 1])
    logits = task.logits(model(batch), batch)
    assert logits.shape == (3, 2)
    # padding counts for nothing: what stands in it may change
    visual = batch.visual
    features = torch.where(visual.mask[..., None], visual.features, 9.0)
    other = replace(batch, visual=replace(visual, features=features))
    assert torch.allclose(task.logits(model(other), other), logits, atol=1e-5)
    # and an example is judged by its own two pictures alone
    one = batch_of(1, 1, 2, [1])
    assert torch.allclose(task.logits(model(one), one)[0], logits[0], atol=1e-5)


def test_entailment():
    model, task = prepared(SnliVE(), "vilbert")
    batch = replace(batch_of(6, 1, 1, [0, 1, 2, 0, 1, 2]), pairs=None)
    output = model(batch)
    assert task(output, batch).count == 6
    found = task.predict(model, batch)
    assert {one["label"] for one in found} <= {"contradiction", "neutral", "entailment"}
    task.metric.update(found, batch)
    right = (task.logits(output, batch).argmax(1) == batch.targets["label"]).float().mean().item()
    assert task.metric.compute()["accuracy"] == pytest.approx(100 * right)


@pytest.mark.parametrize("kind", [VCR, BinaryVCR])
def test_choices_share_a_picture(kind):
    model, task = prepared(kind())
    batch = batch_of(2, 3, 1, [2, 0], subtask=("answer", "rationale"))
    output = model(batch)
    loss = task(output, batch)
    labels = torch.tensor([2, 0])
    if kind is VCR:
        expected = F.cross_entropy(task.head(output.pooled).view(2, 3), labels, reduction="sum")
    else:
        right = F.one_hot(labels, 3).flatten()
        expected = F.cross_entropy(task.head(output.pooled), right, reduction="sum") / 3
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-4)
    found = task.predict(model, batch)
    assert [len(one["probs"]) for one in found] == [3, 3]
    assert sum(found[0]["probs"]) == pytest.approx(1)


def test_vcr_accuracy_joins_the_two_halves_of_a_question():
    metric = VCR().metric
    rows = [("1", "answer", 1), ("1", "rationale", 1), ("2", "answer", 1), ("2", "rationale", 0), ("3", "answer", 0)]
    for name, part, hit in rows:
        metric.update([{"annot_id": name, "subtask": part, "accuracy": hit}], Batch())
    assert metric.compute() == pytest.approx({"Q->A": 200 / 3, "QA->R": 50, "Q->AR": 50})
    metric.reset()
    metric.update([{"annot_id": "1", "subtask": "answer", "accuracy": 1}], Batch())
    assert metric.compute() == {"Q->A": 100}
