"""Scorers of captions: COCO and Flickr30k by coco-caption's metrics, nocaps also by its three domains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from vl.data.rows import read_json, read_rows
from vl.evaluation.outcome import Outcome
from vl.evaluation.submissions import by_id, outcome, require_ids
from vl.metrics.captions import bleu, rouge_l
from vl.metrics.cider import Cider, CiderD
from vl.metrics.consistency import percent
from vl.metrics.java_captions import java_scores
from vl.metrics.ptb import tokenize

DOMAINS = ("in-domain", "near-domain", "out-domain")


def score_captioning(predictions: str | Path, annotations: str | Path, java: bool = True) -> Outcome:
    """COCO: `[{"image_id", "caption"}]` against `captions_*.json` (`images`, `annotations`).

    Metrics are in percent, CIDEr in hundredths of its 0 to 10, as papers print them. Where pictures have a `domain`
    (nocaps), CIDEr of each domain is given too, over the document frequencies of the domain, as the server does.
    """
    texts, domains = read_references(annotations)
    said = by_id(read_rows(predictions), "image_id", "caption", predictions)
    require_ids(said, texts, texts, predictions)
    candidates = {image: tokenize(str(said[image])) for image in texts}
    references = {image: [tokenize(text) for text in captions] for image, captions in texts.items()}
    metrics, cider, protocol = caption_scores(list(candidates.values()), list(references.values()), java)
    for domain in DOMAINS if domains else ():
        chosen = [image for image in texts if domains.get(image) == domain]
        if chosen:
            scores = CiderD([references[image] for image in chosen]).scores([candidates[image] for image in chosen])
            metrics[f"{domain}/CIDEr"] = percent(scores)
    return outcome(protocol, metrics, "CIDEr", cider, list(texts))


def caption_scores(
    candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]], java: bool = True
) -> tuple[dict[str, float], list[float], str]:
    """All metrics, CIDEr of each caption, and the protocol."""
    cider = CiderD(references).scores(candidates)
    rouge = [rouge_l(candidate, texts) for candidate, texts in zip(candidates, references, strict=True)]
    metrics = {f"BLEU-{n}": 100 * value for n, value in enumerate(bleu(candidates, references), start=1)}
    metrics |= {"ROUGE-L": percent(rouge), "CIDEr": percent(cider), "CIDEr-D": percent(cider)}
    metrics["CIDEr-plain"] = percent(Cider(references).scores(candidates))
    protocol = (
        "Penn Treebank words without Java; CIDEr is coco-caption's, which is CIDEr-D with the document frequencies of "
        "these references; CIDEr-plain is the paper's first form"
    )
    found, reasons = java_scores(candidates, references) if java else ({}, dict.fromkeys(("METEOR", "SPICE"), "off"))
    protocol += "".join(f"; no {name}: {reason}" for name, reason in reasons.items())
    return metrics | found, cider, protocol


def read_references(path: str | Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The captions of each picture in COCO's layout, and the domains of pictures that have one (nocaps).

    Raises:
        ValueError: the file is of another layout.
    """
    content = read_json(path)
    rows = content.get("annotations") if isinstance(content, dict) else None
    if not rows or not all(isinstance(row, dict) and {"image_id", "caption"} <= row.keys() for row in rows):
        raise ValueError(f"{path} has no captions: a list `annotations` with `image_id` and `caption` is wanted")
    texts: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        texts[str(row["image_id"])].append(row["caption"])
    return dict(texts), {str(row["id"]): row["domain"] for row in content.get("images", ()) if "domain" in row}
