"""Scorer of phrase grounding: Flickr30k Entities, in both protocols for phrases of several boxes."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from vl.data.entities import around, read_entities, read_split
from vl.data.rows import read_rows
from vl.data.sample import Phrase
from vl.evaluation.outcome import Outcome
from vl.evaluation.submissions import by_id, outcome, require_ids
from vl.metrics.phrases import phrase_scores


def score_phrase_grounding(predictions: str | Path, annotations: str | Path, split: str = "test") -> Outcome:
    """`[{"id", "boxes": [[x1, y1, x2, y2], ...]}]` in pixels, the best box first, against the released folder.

    An id is the picture, the sentence and the number of the phrase in it, both from 0: `36979-0-2`. There is no
    official submission format. `upper_bound` is the share of phrases for which any box is right, so that it needs all
    that were chosen from.
    """
    wanted: dict[str, tuple[str, Phrase, Tensor]] = {}
    for image in read_split(annotations, split):
        width, height, sentences = read_entities(annotations, image)
        size = torch.tensor([width, height, width, height])
        wanted |= {one.id: (image, one, size) for sentence in sentences for one in sentence.phrases}
    said = by_id(read_rows(predictions), "id", "boxes", predictions)
    require_ids(said, wanted, wanted, predictions)
    values: dict[str, list[float]] = defaultdict(list)
    for name, (_, phrase, size) in wanted.items():
        ranked = torch.tensor(said[name], dtype=torch.float32).view(-1, 4)
        scores = phrase_scores(ranked, torch.tensor(phrase.boxes) * size)
        merged = phrase_scores(ranked, torch.tensor([around(phrase.boxes)]) * size)
        scores |= {f"merged/{field}": value for field, value in merged.items()} | {f"R@1/{phrase.type}": scores["R@1"]}
        for field, value in scores.items():
            values[field].append(value)
    metrics = {field: 100 * fmean(several) for field, several in values.items()}
    protocol = (
        f"phrases of {split} with a box, overlap >= 0.5 with any of a phrase's boxes; merged: with the box around"
    )
    return outcome(protocol, metrics, "R@1", values["R@1"], [image for image, _, _ in wanted.values()])
