"""Zero-shot classification: a picture belongs to the class whose prompts it is closest to.

"Learning Transferable Visual Models From Natural Language Supervision", arXiv:2103.00020, section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from vl.evaluation.embed import Embedder, Images
from vl.evaluation.labels import read_labels
from vl.evaluation.outcome import Outcome
from vl.metrics.recall import cosine_scores, hits, ranks


def class_embeddings(
    embedder: Embedder, names: Sequence[str], templates: Sequence[str], language: str
) -> Float[Tensor, "c e"]:
    """One embedding of unit length a class: the mean over its prompts."""
    prompts = [template.replace("{}", name) for name in names for template in templates]
    rows = embedder.texts(prompts, language)
    return normalize(rows.view(len(names), len(templates), -1).mean(1), dim=1)


def zero_shot_classification(
    embedder: Embedder,
    images: Images,
    language: str,
    templates: Sequence[str],
    classes: Sequence[str] | None = None,
) -> Outcome:
    """Top-1 and top-5 accuracy and the mean of the classes' own top-1, ties counted against.

    Without `classes`, the classes are the first captions of the pictures.

    Raises:
        ValueError: a picture has no class (`vl.evaluation.labels`).
    """
    names, labels = read_labels(images.samples, language, classes)
    prompts = class_embeddings(embedder, names, templates, language)
    places = ranks(cosine_scores(images.emb, prompts), labels, torch.arange(len(names)))
    protocol = f"{len(labels)} pictures, {len(names)} classes, {len(templates)} prompts a class, ties against"
    if images.bad:
        protocol += f", {len(images.bad)} unreadable pictures left out"
    unknown = 100 * embedder.bundle.tokenizer.unknown_rate(names)
    return accuracy_outcome(places, labels, protocol, {"unknown_tokens": unknown, "unreadable": float(len(images.bad))})


def accuracy_outcome(
    places: Int[Tensor, " i"], labels: Int[Tensor, " i"], protocol: str, more: dict[str, float]
) -> Outcome:
    """Accuracies in percent from the rank of every picture's right class."""
    first = hits(places, 1)
    per_class = [first[labels == label].mean() for label in labels.unique()]
    metrics = {
        "top1": 100 * first.mean().item(),
        "top5": 100 * hits(places, 5).mean().item(),
        "mean_per_class": 100 * torch.stack(per_class).mean().item(),
        **more,
    }

    def top1(weights: Tensor) -> Tensor:
        return 100 * (weights.double() @ first) / weights.sum(1)

    return Outcome(protocol, len(labels), metrics, "top1", top1, len(labels))
