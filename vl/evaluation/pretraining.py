"""Pretraining judged: objectives beside the best answer that looks at nothing, true texts beside their opposites."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vl.batch import Batch, Loss
from vl.losses.masked import feature_distance, kl_divergence, top_class
from vl.metrics.recall import Interval, bootstrap
from vl.models.base import VLModel
from vl.objectives.answer_pretraining import AnswerPretraining
from vl.objectives.base import Objective
from vl.objectives.checked_mlm import CheckedMLM
from vl.objectives.itm import ITM
from vl.objectives.mlm import IGNORED, MLM
from vl.objectives.mrc import MRC
from vl.objectives.mrfr import MRFR
from vl.objectives.region_prediction import RegionPrediction
from vl.objectives.wra import WRA

#: (true answers of training, of the test) -> the mean score on the test of what looks at nothing.
Rule = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Measure:
    """One figure of an objective beside its baseline; rates are in percent."""

    name: str
    value: float
    baseline: float
    n: int
    rule: str


def most_frequent(train: Tensor, test: Tensor) -> Tensor:
    """Percent right of the most frequent answer."""
    return 100 * (test == train.mode().values).float().mean()


def frequencies(train: Tensor, test: Tensor) -> Tensor:
    """Cross-entropy of the answers' frequencies, each seen once more than it was."""
    counts = torch.bincount(train, minlength=int(test.max()) + 1) + 1.0
    return -(counts / counts.sum()).log()[test].mean()


def mean_distribution(train: Tensor, test: Tensor) -> Tensor:
    """KL divergence from the mean distribution."""
    return kl_divergence(train.mean(0).log().expand_as(test), test).mean()


def mean_feature(train: Tensor, test: Tensor, kind: Any = "l2") -> Tensor:
    """Distance from the mean feature."""
    return feature_distance(train.mean(0).expand_as(test), test, kind).mean()


def no_difference(train: Tensor, test: Tensor) -> Tensor:
    """Pairs that match and pairs that do not are equally far apart."""
    return torch.zeros(())


def truths(objective: Objective, batch: Batch, target: Any) -> dict[str, tuple[Tensor, Rule]]:
    """What an objective asks of a corrupted batch: by measure, the true answers and the baseline's rule.

    Raises:
        TypeError: the objective is not one whose answers are known.
    """
    if isinstance(objective, CheckedMLM):
        labels, shown = target[target != IGNORED], batch.text.ids[target != IGNORED]
        hidden = shown == objective.masking.mask_id
        replaced = (shown != labels)[~hidden].long()
        return {"accuracy": (labels[hidden], most_frequent), "check/accuracy": (replaced, most_frequent)}
    if isinstance(objective, MLM):
        labels = target[target != IGNORED]
        return {"accuracy": (labels, most_frequent), "loss": (labels, frequencies)}
    if isinstance(objective, ITM):
        return {"accuracy": (batch.matched.long(), most_frequent)}
    if isinstance(objective, WRA):
        return {"loss": (batch.matched.long(), no_difference)}
    if isinstance(objective, AnswerPretraining):
        return {"accuracy": (target[(target != IGNORED) & _matched(batch)], most_frequent)}
    if isinstance(objective, MRC):
        probs = batch.visual.class_probs[target]
        return {"accuracy": (top_class(probs), most_frequent), "loss": (probs, mean_distribution)}
    if isinstance(objective, MRFR):
        return {"loss": (target.features[target.chosen], partial(mean_feature, kind=objective.distance))}
    if isinstance(objective, RegionPrediction):
        distance: Rule = partial(mean_feature, kind="smooth_l1")
        found = {"obj": batch.visual.class_probs, "attr": batch.visual.attribute_probs}
        labels = {name: top_class(found[name][target.chosen]) - 1 for name in objective.classes}
        asked: dict[str, tuple[Tensor, Rule]] = {f"{name}/accuracy": (x, most_frequent) for name, x in labels.items()}
        return asked | {"feat/loss": (target.features[target.chosen], distance)}
    raise TypeError(f"no baseline is known for {type(objective).__name__}")


@torch.no_grad()
def judge(
    model: VLModel,
    objective: Objective,
    train: Iterable[Batch],
    test: Iterable[Batch],
    change: Callable[[Batch], Batch] | None = None,
) -> list[Measure]:
    """Every figure of an objective on test batches; its baseline learns from training batches.

    `change` is done to what the model sees, such as `without_regions`.
    """
    known: dict[str, list[Tensor]] = defaultdict(list)
    for batch in train:
        for name, (answers, _) in truths(objective, *_corrupt(objective, batch)).items():
            known[name].append(answers)
    asked, rules = defaultdict(list), {}
    losses: list[Loss] = []
    for batch in test:
        corrupted, target = _corrupt(objective, batch)
        for name, (answers, rules[name]) in truths(objective, corrupted, target).items():
            asked[name].append(answers)
        losses.append(objective(model(change(corrupted) if change else corrupted), corrupted, target))
    return [
        Measure(
            name,
            _mean(name, losses),
            float(rule(torch.cat(known[name]), torch.cat(asked[name]))),
            sum(map(len, asked[name])),
            _title(rule),
        )
        for name, rule in rules.items()
    ]


@torch.no_grad()
def tell_apart(
    model: VLModel, matching: ITM, batches: Iterable[Batch], change: Callable[[Batch], Batch] | None = None
) -> dict[str, tuple[Interval, int]]:
    """How often a true text scores above its opposite (equal scores count half), in percent, by kind, with a bootstrap
    interval over pictures, and the number of pairs.

    Args:
        model: scores texts with pictures.
        matching: its head.
        batches: of `OppositeView`, of even sizes: true, false, true, false.
        change: what is done to each batch first, such as `without_regions`.
    """
    rows: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for batch in batches:
        assert batch.matched[::2].all()
        assert not batch.matched[1::2].any()
        true, false = matching.scores(model(change(batch) if change else batch)).view(-1, 2).unbind(1)
        right = ((true > false).float() + (true >= false).float()) / 2
        for key, kind, value in zip(batch.keys[::2], batch.targets["kind"][::2], right.tolist(), strict=True):
            rows[kind].append((key, value))
    return {kind: (_interval(found), len(found)) for kind, found in sorted(rows.items())}


def without_regions(batch: Batch) -> Batch:
    """The texts alone."""
    return replace(batch, visual=replace(batch.visual, mask=torch.zeros_like(batch.visual.mask)))


def with_features(batch: Batch, feature: Float[Tensor, " f"]) -> Batch:
    """Every region has the same feature; boxes stay."""
    return replace(batch, visual=replace(batch.visual, features=feature.expand_as(batch.visual.features)))


def mean_of_regions(batches: Iterable[Batch]) -> Float[Tensor, " f"]:
    """The mean feature of all regions."""
    parts = [batch.visual.features[batch.visual.mask] for batch in batches]
    return torch.cat(parts).mean(0)


def _corrupt(objective: Objective, batch: Batch) -> tuple[Batch, Any]:
    return objective.corrupt(batch, batch.draw.fold("judge"))


def _mean(measure: str, losses: Iterable[Loss]) -> float:
    """The mean over all batches, in percent where it is a rate."""
    pairs = [loss.metrics.get(measure, (loss.total, loss.count)) for loss in losses]
    total, count = (float(sum(part)) for part in zip(*pairs, strict=True))
    return (100 if measure.endswith("accuracy") else 1) * total / max(count, 1)


def _interval(rows: list[tuple[str, float]]) -> Interval:
    keys = {key: index for index, key in enumerate(dict.fromkeys(key for key, _ in rows))}
    owner = torch.tensor([keys[key] for key, _ in rows])
    values, counts = torch.zeros(len(keys)), torch.zeros(len(keys))
    values.index_add_(0, owner, torch.tensor([value for _, value in rows]))
    counts.index_add_(0, owner, torch.ones(len(rows)))
    return bootstrap(lambda weights: 100 * (weights.float() @ values) / (weights.float() @ counts), len(keys))


def _matched(batch: Batch) -> Tensor:
    return torch.ones(len(batch), dtype=torch.bool) if batch.matched is None else batch.matched


def _title(rule: Rule) -> str:
    function: Any = rule.func if isinstance(rule, partial) else rule
    return function.__name__.replace("_", " ")
