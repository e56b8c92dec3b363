"""Scorers of answers: VQA, GQA, NLVR2, SNLI-VE and VCR, from their submission formats, by their official rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vl.data.rows import lines, read_json, read_json_lines, read_rows
from vl.evaluation.outcome import Outcome
from vl.evaluation.submissions import by_id, outcome, require_ids
from vl.metrics.consistency import nlvr2_scores, percent, vcr_scores
from vl.metrics.gqa import accuracy_by_type, gqa_scores
from vl.metrics.vqa_accuracy import vqa_accuracy

NUM_CHOICES = 4


def score_vqa(predictions: str | Path, annotations: str | Path) -> Outcome:
    """VQA v2: `[{"question_id", "answer"}]` against `v2_mscoco_*_annotations.json`."""
    asked = by_id(_list(annotations, "annotations"), "question_id", None, annotations)
    said = by_id(read_rows(predictions), "question_id", "answer", predictions)
    require_ids(said, asked, asked, predictions)
    values = {
        name: vqa_accuracy(str(said[name]), [one["answer"] for one in row["answers"]]) for name, row in asked.items()
    }
    parts: dict[str, list[float]] = defaultdict(list)
    for name, row in asked.items():
        for kind in ("answer_type", "question_type"):
            parts[f"{kind}/{row[kind]}"].append(values[name])
    metrics = {"accuracy": percent(values.values())} | {kind: percent(parts[kind]) for kind in sorted(parts)}
    protocol = "official VQA accuracy: min(1, n/3) averaged over leaving out each person, normalised by its rules"
    return outcome(protocol, metrics, "accuracy", list(values.values()), [row["image_id"] for row in asked.values()])


def score_gqa(predictions: str | Path, annotations: str | Path, choices: str | Path | None = None) -> Outcome:
    """GQA: `[{"questionId", "prediction"}]` against `*_questions.json`; validity and plausibility need its choices."""
    questions = read_json(annotations)
    if not isinstance(questions, dict) or not all(isinstance(one, dict) for one in questions.values()):
        raise ValueError(f"{annotations} is no file of GQA's questions: a mapping from ids to questions is wanted")
    said = by_id(read_rows(predictions), "questionId", "prediction", predictions)
    balanced = [name for name, one in questions.items() if one["isBalanced"]]
    require_ids(said, balanced, questions, predictions)
    metrics = gqa_scores(questions, said, read_json(choices) if choices else None)
    metrics |= {f"semantic/{kind}": value for kind, value in accuracy_by_type(questions, said).items()}
    protocol = "exact match on the balanced questions"
    protocol += "; consistency over all questions" if "consistency" in metrics else "; no consistency: not all answered"
    hits = [float(said[name] == questions[name]["answer"]) for name in balanced]
    return outcome(protocol, metrics, "accuracy", hits, [questions[name]["imageId"] for name in balanced])


def score_nlvr2(predictions: str | Path, annotations: str | Path) -> Outcome:
    """NLVR2: lines `identifier,true` against its `.json` (JSON lines with `identifier` and `label`)."""
    rows = by_id(read_json_lines(annotations), "identifier", "label", annotations)
    said = {name.removesuffix(".png"): label for name, label in _csv_pairs(predictions).items()}
    require_ids(said, rows, rows, predictions)
    right = {name: said[name].lower() == str(label).lower() for name, label in rows.items()}
    protocol = "accuracy of all rows; consistency: all rows of a sentence right"
    pairs = [name.rpartition("-")[0] for name in rows]
    return outcome(protocol, nlvr2_scores(right), "accuracy", [float(hit) for hit in right.values()], pairs)


def score_snli_ve(predictions: str | Path, annotations: str | Path) -> Outcome:
    """SNLI-VE: rows with `pairID` and `label` against `snli_ve_*.jsonl`."""
    rows = by_id(read_rows(annotations), "pairID", None, annotations)
    said = by_id(read_rows(predictions), "pairID", "label", predictions)
    require_ids(said, rows, rows, predictions)
    hits = {name: float(said[name] == row["gold_label"]) for name, row in rows.items()}
    labels = sorted({row["gold_label"] for row in rows.values()})
    metrics = {"accuracy": percent(hits.values())} | {
        f"label/{label}": percent(hits[name] for name, row in rows.items() if row["gold_label"] == label)
        for label in labels
    }
    images = [row["Flickr30K_ID"] for row in rows.values()]
    return outcome("accuracy, the picture alone is the premise", metrics, "accuracy", list(hits.values()), images)


def score_vcr(predictions: str | Path, annotations: str | Path) -> Outcome:
    """VCR: the leaderboard's CSV (answer_0.., rationale_conditioned_on_a0_0..) against `val.jsonl`."""
    rows = by_id(read_rows(annotations), "annot_id", None, annotations)
    said = by_id(read_rows(predictions), "annot_id", None, predictions)
    require_ids(said, rows, rows, predictions)
    answers, rationales = [], []
    for name, row in rows.items():
        right = row["answer_label"]
        answers.append(_best(said[name], "answer_", name) == right)
        rationales.append(_best(said[name], f"rationale_conditioned_on_a{right}_", name) == row["rationale_label"])
    both = [float(a and r) for a, r in zip(answers, rationales, strict=True)]
    protocol = "4 choices; QA->R given the right answer; Q->AR needs both"
    return outcome(protocol, vcr_scores(answers, rationales), "Q->AR", both, [row["img_fn"] for row in rows.values()])


def _best(row: Mapping[str, Any], prefix: str, name: str) -> int:
    """The choice with the highest probability, the first of equals."""
    try:
        scores = [float(row[f"{prefix}{number}"]) for number in range(NUM_CHOICES)]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: {prefix}0 to {prefix}{NUM_CHOICES - 1} must all be numbers ({error})") from error
    return scores.index(max(scores))


def _list(path: str | Path, field: str) -> Sequence[Mapping[str, Any]]:
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get(field), list):
        raise ValueError(f"{path} has no list {field!r}")
    return content[field]


def _csv_pairs(path: str | Path) -> dict[str, str]:
    """Lines `name,value` without a header."""
    pairs: dict[str, str] = {}
    for number, line in enumerate(lines(path), start=1):
        name, comma, value = line.strip().partition(",")
        if line.strip() and (not comma or value.lower() not in ("true", "false")):
            raise ValueError(f"{path}, line {number}: {line!r} is not `identifier,true` or `identifier,false`")
        if name in pairs:
            raise ValueError(f"{path}, line {number} has {name} twice")
        if name:
            pairs[name] = value
    return pairs
