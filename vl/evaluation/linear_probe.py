"""Linear probe: a logistic regression on frozen picture embeddings (arXiv:2103.00020, appendix A.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vl.data.sample import Sample
from vl.evaluation.embed import Embedder
from vl.evaluation.labels import read_labels
from vl.evaluation.outcome import Outcome
from vl.evaluation.zero_shot_classification import accuracy_outcome
from vl.metrics.recall import ranks

#: Inverse strengths of the regularisation, tried on val.
STRENGTHS = tuple(10.0**exponent for exponent in range(-3, 5))


def linear_probe(
    embedder: Embedder,
    train: Iterable[Sample],
    val: Iterable[Sample] | None,
    test: Iterable[Sample],
    language: str,
    classes: Sequence[str] | None = None,
    max_iterations: int = 1000,
) -> Outcome:
    """Accuracy on test of a probe fitted on train, its strength chosen on val, then fitted on both.

    Without `val`, a fifth of train, drawn once with a fixed seed, takes its place.

    Raises:
        ValueError: train holds fewer than two classes, a test picture a class that train has not, or a picture none.
    """
    fit, judge = embedder.images(train, "train"), embedder.images(test, "test")
    names, labels = read_labels(fit.samples, language, classes)
    _, goals = read_labels(judge.samples, language, names)
    if len(labels.unique()) < 2:
        raise ValueError(f"a linear probe needs two classes, train has {len(labels.unique())}")
    if val is None:
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        held, kept = order[: len(order) // 5], order[len(order) // 5 :]
        parts = fit.emb[kept], labels[kept], fit.emb[held], labels[held]
    else:
        choose = embedder.images(val, "val")
        parts = fit.emb, labels, choose.emb, read_labels(choose.samples, language, names)[1]
    strength = best_strength(*parts, max_iterations)
    x, y = torch.cat([parts[0], parts[2]]), torch.cat([parts[1], parts[3]])
    scores = class_scores(x, y, judge.emb, len(names), strength, max_iterations)
    places = ranks(lambda first, last: scores[first:last], goals, torch.arange(len(names)), tie=0)
    protocol = f"{len(y)} training pictures, {len(goals)} test pictures, {len(names)} classes, C={strength:g} from val"
    if bad := len(fit.bad) + len(judge.bad):
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
