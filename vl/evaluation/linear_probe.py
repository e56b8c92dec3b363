"""Linear probe: a logistic regression on frozen picture embeddings (arXiv:2103.00020, appendix A.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vl.evaluation.embed import Images
from vl.evaluation.labels import read_labels
from vl.evaluation.outcome import Outcome
from vl.evaluation.zero_shot_classification import accuracy_outcome
from vl.metrics.recall import ranks

#: Inverse strengths of the regularisation, tried on val.
STRENGTHS = tuple(10.0**exponent for exponent in range(-3, 5))


def linear_probe(
    train: Images,
    val: Images | None,
    test: Images,
    language: str,
    classes: Sequence[str] | None = None,
    max_iterations: int = 1000,
) -> Outcome:
    """Accuracy on test of a probe fitted on train, its strength chosen on val, then fitted on both.

    Without `val`, a fifth of train, drawn once with a fixed seed, takes its place. Without `classes`, they are those
    of train.

    Raises:
        ValueError: a picture has no class, train fewer than two, or val or test one that is not listed.
    """
    names, labels = read_labels(train.samples, language, classes)
    if len(labels.unique()) < 2:
        raise ValueError(f"a linear probe needs two classes, train has {len(labels.unique())}")
    goals = read_labels(test.samples, language, names)[1]
    if val is None:
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        held, kept = order[: len(order) // 5], order[len(order) // 5 :]
        x, y, x_val, y_val = train.emb[kept], labels[kept], train.emb[held], labels[held]
    else:
        x, y, x_val, y_val = train.emb, labels, val.emb, read_labels(val.samples, language, names)[1]
    strength = best_strength(x, y, x_val, y_val, max_iterations)
    x, y = torch.cat([x, x_val]), torch.cat([y, y_val])
    scores = class_scores(x, y, test.emb, len(names), strength, max_iterations)
    places = ranks(lambda first, last: scores[first:last], goals, torch.arange(len(names)), tie=0.0)
    protocol = f"{len(y)} training pictures, {len(goals)} test pictures, {len(names)} classes, C={strength:g} from val"
    if bad := len(train.bad) + len(test.bad) + (len(val.bad) if val else 0):
        protocol += f", {bad} unreadable pictures left out"
    return accuracy_outcome(places, goals, protocol, {"C": strength, "unreadable": float(bad)})


def best_strength(
    x: Float[Tensor, "n e"],
    y: Int[Tensor, " n"],
    x_val: Float[Tensor, "m e"],
    y_val: Int[Tensor, " m"],
    max_iterations: int = 1000,
) -> float:
    """The strength with the best accuracy on val, the smallest of equals."""
    classes = int(torch.cat([y, y_val]).max()) + 1
    right = {
        strength: (class_scores(x, y, x_val, classes, strength, max_iterations).argmax(1) == y_val).sum().item()
        for strength in STRENGTHS
    }
    return max(right, key=lambda strength: right[strength])


def class_scores(
    x: Float[Tensor, "n e"],
    y: Int[Tensor, " n"],
    x_test: Float[Tensor, "m e"],
    classes: int,
    strength: float,
    max_iterations: int = 1000,
) -> Float[Tensor, "m c"]:
    """Scores of every class; a class that does not occur in y scores -inf."""
    from sklearn.linear_model import LogisticRegression

    probe = LogisticRegression(C=strength, max_iter=max_iterations).fit(x.numpy(), y.numpy())
    found = torch.from_numpy(probe.decision_function(x_test.numpy())).float()
    found = torch.stack([-found, found], 1) if found.ndim == 1 else found
    scores = torch.full((len(x_test), classes), -torch.inf)
    scores[:, torch.from_numpy(probe.classes_)] = found
    return scores
