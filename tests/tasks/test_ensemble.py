"""The mean of probabilities, by hand."""

import pytest
import torch
from pretraining import prepared
from tasks.test_classification import batch_of

from vl.tasks.ensemble import Ensemble
from vl.tasks.refcoco import RefCOCO
from vl.tasks.vcr import VCR


def test_probabilities_are_averaged():
    batch = batch_of(2, 3, 1, [0, 2], subtask=("answer", "rationale"))
    members = [prepared(VCR()), prepared(VCR())]
    with torch.no_grad():
        members[1][1].head.weight.mul_(-3)
    own = [[one["probs"] for one in task.predict(model, batch)] for model, task in members]
    found = Ensemble(members).predict(batch)
    expected = torch.tensor(own).mean(0)
    assert (torch.tensor(own[0]) - expected).abs().max() > 0.01
    torch.testing.assert_close(torch.tensor([one["probs"] for one in found]), expected)
    right = (expected.argmax(1) == batch.targets["label"]).float()
    assert [one["accuracy"] for one in found] == right.tolist()
    assert [one["probs"] for one in Ensemble(members[:1]).predict(batch)] == own[0]
    assert [one["probs"] for one in members[0][1].predict(members[0][0], batch)] == own[0]  # nothing of it was changed


def test_a_task_without_classes_is_refused():
    with pytest.raises(ValueError, match="RefCOCO does not choose among classes"):
        Ensemble([prepared(RefCOCO()), prepared(RefCOCO())])
