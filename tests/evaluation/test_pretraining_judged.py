"""Figures of pretraining beside baselines made by hand; opposites and controls on a model whose scores are known."""

from dataclasses import replace
from math import log

import pytest
import torch
from pretraining import ATTRIBUTES, CLASSES, FIRST, MASK, full, prepared, take

from vl.batch import Encoded
from vl.corrupt import RegionMasking, TokenMasking
from vl.evaluation.pretraining import (
    frequencies,
    judge,
    mean_distribution,
    mean_feature,
    mean_of_regions,
    most_frequent,
    tell_apart,
    truths,
    with_features,
    without_regions,
)
from vl.models.base import VLModel
from vl.objectives.checked_mlm import CheckedMLM
from vl.objectives.itm import ITM
from vl.objectives.mlm import MLM
from vl.objectives.mrc import MRC
from vl.objectives.mrfr import MRFR
from vl.objectives.nce import NCE
from vl.objectives.region_prediction import RegionPrediction
from vl.objectives.wra import WRA


def test_baselines_by_hand():
    train, test = torch.tensor([2, 2, 0, 2, 1, 0]), torch.tensor([2, 0, 0, 3])
    assert float(most_frequent(train, test)) == 25
    # Seen once more than they were: 3, 2, 4 and 1 of 10.
    expected = -(log(0.4) + 2 * log(0.3) + log(0.1)) / 4
    assert float(frequencies(train, test)) == pytest.approx(expected)
    probs = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    sure = torch.tensor([[1.0, 0.0]])
    assert float(mean_distribution(probs, sure)) == pytest.approx(log(2))
    assert float(mean_feature(torch.tensor([[0.0, 2], [2, 2]]), torch.tensor([[1.0, 5]]))) == pytest.approx(4.5)
    assert float(mean_feature(torch.zeros(1, 1), torch.full((1, 1), 3.0), "smooth_l1")) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("objective", "measures"),
    [
        (MLM(TokenMasking(MASK, FIRST, prob=0.5)), {"accuracy", "loss"}),
        (CheckedMLM(TokenMasking(MASK, FIRST, prob=0.5, mask=0.4, random=0.6)), {"accuracy", "check/accuracy"}),
        (MRC(RegionMasking(0.5), CLASSES), {"accuracy", "loss"}),
        (MRFR(RegionMasking(0.5)), {"loss"}),
        (RegionPrediction(RegionMasking(0.5), CLASSES - 1, ATTRIBUTES), {"obj/accuracy", "attr/accuracy", "feat/loss"}),
        (ITM(), {"accuracy"}),
        (WRA(), {"loss"}),
    ],
)
def test_figures_are_those_of_the_objective(objective, measures):
    model, objective = prepared(objective)
    batches = [full(seed=seed) for seed in (1, 2)]
    found = {one.name: one for one in judge(model, objective, [full(seed=3)], batches)}
    assert found.keys() == measures
    again = {
        one.name: one
        for one in judge(
            model, objective, [full(seed=3)], [take(b, slice(r, r + 1)) for b in batches for r in range(6)]
        )
    }
    for name, one in found.items():
        total = count = 0.0
        for batch in batches:
            corrupted, target = objective.corrupt(batch, batch.draw.fold("judge"))
            loss = objective(model(corrupted), corrupted, target)
            part = loss.metrics.get(name, (loss.total, loss.count))
            total, count = total + float(part[0].detach()), count + float(part[1])
        assert one.value == pytest.approx((100 if "accuracy" in name else 1) * total / count, rel=1e-5)
        assert one.n == count
        assert ("accuracy" in name) == (one.rule == "most frequent")  # both in percent
        assert (again[name].value, again[name].baseline) == pytest.approx((one.value, one.baseline), rel=1e-4)


def test_the_baseline_learns_from_training_examples():
    model, objective = prepared(ITM())
    always = replace(full(), matched=torch.ones(6, dtype=torch.bool))
    (measure,) = judge(model, objective, [always], [full()])
    assert measure.baseline == pytest.approx(100 * 4 / 6)


def test_unknown_objectives_are_refused():
    with pytest.raises(TypeError, match="NCE"):
        truths(NCE(RegionMasking()), full(), None)


class Reads(VLModel):
    """Scores a text by its first id, if there are regions and their features differ."""

    pooled_width = 1

    def forward(self, batch):
        seen = batch.visual.mask.any(1) & (batch.visual.features.std(1).amax(1) > 0)
        return Encoded(pooled=(batch.text.ids[:, :1] * seen[:, None]).float())


def opposites():
    """Two texts a pair; the first id is the model's score: 2 of 3 objects right, one count a draw."""
    batch = take(full(words=(5,) * 8, regions=(3,) * 8, matched=(1, 0) * 4), slice(None))
    scores = torch.tensor([9, 3, 2, 7, 8, 1, 4, 4])
    ids = torch.cat([scores[:, None], batch.text.ids[:, 1:]], dim=1)
    keys = ("a", "a", "a", "a", "b", "b", "c", "c")
    kinds = ("object",) * 6 + ("count",) * 2
    return replace(batch, text=replace(batch.text, ids=ids), keys=keys, targets={"kind": kinds})


def matching():
    objective = ITM()
    objective.setup(Reads())
    objective.head.weight.data[:] = torch.tensor([[0.0], [1.0]])
    return objective.eval()


def test_opposites():
    found = tell_apart(Reads(), matching(), [opposites()])
    assert {kind: number for kind, (_, number) in found.items()} == {"count": 1, "object": 3}
    assert found["object"][0].value == pytest.approx(100 * 2 / 3)
    # Pictures are drawn, not pairs: only a, whose pairs are right once in two; or only b.
    assert (found["object"][0].low, found["object"][0].high) == pytest.approx((50, 100))
    assert found["count"][0].value == 50


def test_controls_see_no_picture():
    feature = mean_of_regions([opposites()])
    batch = opposites()
    torch.testing.assert_close(feature, batch.visual.features[batch.visual.mask].mean(0))
    for change in (without_regions, lambda batch: with_features(batch, feature)):
        found = tell_apart(Reads(), matching(), [opposites()], change)
        assert {kind: one.value for kind, (one, _) in found.items()} == {"count": 50, "object": 50}


@pytest.mark.parametrize("system", ["uniter", "vilbert", "lxmert", "visual_bert"])
def test_models_run_without_regions(system):
    model, objective = prepared(ITM(), system)
    scores = objective.scores(model(without_regions(full())))
    assert scores.isfinite().all()
