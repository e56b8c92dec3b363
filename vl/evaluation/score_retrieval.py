"""Scorer of retrieval: scores of every picture against every caption of a Karpathy split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vl.data.rows import Row, read_json
from vl.evaluation.outcome import Outcome
from vl.evaluation.submissions import require_ids
from vl.metrics.folds import mean_of_folds, retrieve_scores
from vl.metrics.recall import TIE

FOLD = 1000


def score_retrieval(predictions: str | Path, annotations: str | Path, split: str = "test") -> Outcome:
    """`scores` (images x texts) with `image_ids` and `sentence_ids` in an .npz, against Karpathy's `dataset_*.json`.

    Any-hit recall over the whole split (Flickr30k 1K, COCO 5K), and where it is several thousand pictures also the
    mean over folds of 1,000 in the order of the released file (COCO 1K).
    """
    split_images = [image for image in _images(annotations) if image["split"] == split]
    if not split_images:
        raise ValueError(f"{annotations} has no pictures in a split {split!r}")
    images = [str(image["imgid"]) for image in split_images]
    owner = {str(text): str(image["imgid"]) for image in split_images for text in image["sentids"]}
    scores, rows, columns = _read(predictions)
    require_ids(rows, images, images, f"{predictions}, image_ids")
    require_ids(columns, owner, owner, f"{predictions}, sentence_ids")
    place = {image: number for number, image in enumerate(images)}
    scores = scores[[rows[image] for image in images]][:, [columns[text] for text in owner]]
    owners = torch.tensor([place[image] for image in owner.values()])
    found = retrieve_scores(scores, owners, tie=TIE)
    metrics = found.metrics()
    protocol = f"any-hit, ties against: {len(owner)} texts <-> {len(images)} pictures of {split}"
    if len(images) > FOLD and len(images) % FOLD == 0:
        folds = mean_of_folds(scores, owners, FOLD)
        metrics |= {f"1K/{name}": value for name, value in folds.items()}
        protocol += f"; 1K: mean of {len(images) // FOLD} folds of {FOLD} pictures in the file's order"
    return Outcome(protocol, len(owner), metrics, "mean_recall", found.score(), len(images))


def _images(path: str | Path) -> list[Row]:
    content = read_json(path)
    images = content.get("images") if isinstance(content, dict) else None
    wanted = {"imgid", "split", "sentids"}
    if not images or not all(isinstance(image, dict) and wanted <= image.keys() for image in images):
        raise ValueError(f"{path} is no Karpathy file: a list `images` with {', '.join(sorted(wanted))} is wanted")
    return images


def _read(path: str | Path) -> tuple[torch.Tensor, dict[str, int], dict[str, int]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [file[name] for name in ("scores", "image_ids", "sentence_ids")]
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is no .npz with scores, image_ids and sentence_ids: {error}") from error
    scores, images, sentences = arrays
    if scores.shape != (len(images), len(sentences)):
        raise ValueError(
            f"{path}: scores are {scores.shape}, but there are {len(images)} images, {len(sentences)} texts"
        )
    rows, columns = ({str(name): number for number, name in enumerate(ids)} for ids in (images, sentences))
    if len(rows) < len(images) or len(columns) < len(sentences):
        raise ValueError(f"{path} has an id twice")
    return torch.from_numpy(scores.astype(np.float32)), rows, columns
