"""Scorer of referring expressions: RefCOCO, RefCOCO+ and RefCOCOg, in both conventions of overlap."""

from __future__ import annotations

from pathlib import Path

import torch

from vl.data.refer import read_refer
from vl.data.rows import read_rows
from vl.evaluation.outcome import Outcome
from vl.evaluation.submissions import by_id, outcome, require_ids
from vl.metrics.grounding import iou_xywh, iou_xyxy, pointing_hits, to_xyxy


def score_refcoco(
    predictions: str | Path, annotations: str | Path, split: str = "val", refs: str | None = None
) -> Outcome:
    """`[{"sent_id", "box": [x, y, width, height]}]` in pixels against a folder with `refs(...).p`.

    There is no official submission format. Say in your report whether the boxes that were chosen from are those of
    people or of a detector: the two are not comparable.
    """
    folder = read_refer(annotations, refs)
    wanted = {one.sent_id: one for one in folder.references if one.split == split}
    if not wanted:
        known = sorted({one.split for one in folder.references})
        raise ValueError(f"{annotations} has no split {split!r}; it has {known}")
    said = by_id(read_rows(predictions), "sent_id", "box", predictions)
    require_ids(said, wanted, wanted, predictions)
    predicted = torch.tensor([[float(x) for x in said[name]] for name in wanted])
    right = torch.tensor([one.box for one in wanted.values()])
    hits = pointing_hits(predicted, right)
    corners = pointing_hits(to_xyxy(predicted), to_xyxy(right), overlap=iou_xyxy)
    metrics = {"accuracy": 100 * hits.mean().item(), "accuracy_corners": 100 * corners.mean().item()}
    metrics["mean_overlap"] = 100 * iou_xywh(predicted, right).mean().item()
    protocol = f"overlap > 0.5 on {split}: of x, y, w, h in pixels (UNITER), accuracy_corners: corners + 1 (ViLBERT)"
    return outcome(protocol, metrics, "accuracy", hits.tolist(), [one.image_id for one in wanted.values()])
