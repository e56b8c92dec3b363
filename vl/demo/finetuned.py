"""Fine-tuned models judged on scenes: every task on the pictures of a split, language by language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from vl.batch import Batch
from vl.data.sample import LANGUAGES as CODES
from vl.data.views.base import View
from vl.data.views.caption import CaptionView
from vl.data.views.captioning import CaptioningView
from vl.data.views.choices import ChoicesView
from vl.data.views.entailment import EntailmentView
from vl.data.views.expression import ExpressionView
from vl.data.views.qa import QAView
from vl.data.views.statement import StatementView
from vl.demo.scenes import LANGUAGES, Scenes
from vl.evaluation.cross_encoder import CrossEncoder
from vl.evaluation.finetuning import Row, both_right, figures
from vl.metrics.captions import Words
from vl.metrics.cider import CiderD
from vl.metrics.folds import retrieve_scores
from vl.metrics.ptb import tokenize
from vl.metrics.recall import KS, TIE, Interval, bootstrap
from vl.models.base import VLModel
from vl.models.controls import Control
from vl.tasks.base import Task
from vl.tasks.captioning import Captioning
from vl.tasks.refcoco import RefCOCO, overlaps

#: The tasks, and how they read a sample.
VIEWS: dict[str, View] = {
    "vqa": QAView(),
    "nlvr2": StatementView(),
    "snli_ve": EntailmentView(),
    "vcr": ChoicesView(),
    "refcoco": ExpressionView(),
    "retrieval": CaptionView(),
    "captioning": CaptioningView(),
}
ANSWERS = "mean over types; majority: the most frequent right answer of each type, known from the test itself"
PROTOCOLS = {
    "vqa": f"VQA accuracy, {ANSWERS}",
    "nlvr2": f"statements about two pictures, {ANSWERS}",
    "snli_ve": f"three classes, the picture as premise, {ANSWERS}",
    "vcr": "mean of Q->A and QA->R of four choices each; majority: the most frequent place",
    "refcoco": f"IoU > 0.5, boxes of the truth, jittered, among background; {ANSWERS}",
    "retrieval": "mean of R@1, 5, 10 both ways, a caption a picture, every pair scored; majority: chance",
    "captioning": "CIDEr-D in percent against five references, greedy; 95% bootstrap over pictures, as everywhere",
}


@dataclass(frozen=True)
class Judged:
    """The figures of a task in one language: its value with the 95% interval, and others, in percent."""

    language: str
    n: int
    value: Interval
    metrics: dict[str, float]


def judge(scenes: Scenes, model: VLModel, name: str, task: Any, split: str) -> Iterator[Judged]:
    """A task on the first pictures of a split."""
    if name == "retrieval":
        yield from (retrieval(scenes, model, task, split, language) for language in LANGUAGES)
        return
    kind = "pairs" if name == "nlvr2" else "scenes"
    batches = scenes.batches(split, VIEWS[name], scenes.pictures, kind=kind)
    if name == "captioning":
        yield captioning(model, task, batches)
        return
    rows = answers(model, task, batches)
    for language in LANGUAGES:
        own = [row for row in rows if row.language == language]
        found = figures(own)
        more = {"Q->AR": both_right(own, "answer", "rationale")} if name == "vcr" else {}
        yield Judged(language, found.n, found.mean, found.metrics() | more)


@torch.inference_mode()
def answers(model: VLModel, task: Task, batches: Iterable[Batch]) -> list[Row]:
    """The answers of a task, one row an example."""
    rows = []
    for batch in batches:
        answers, right = task.predict(model, batch), truths(task, batch)
        texts = batch.text.language.view(len(batch), -1)[:, 0].tolist()
        kinds = batch.targets.get("subtask", batch.targets["type"])
        for key, language, kind, one, truth in zip(batch.keys, texts, kinds, answers, right, strict=True):
            rows.append(Row(key, CODES[language], kind, float(one["accuracy"]), truth))
    return rows


def truths(task: Task, batch: Batch) -> list[str]:
    """The right answers, as names by which they can be counted: of a region, its place among the regions."""
    if isinstance(task, RefCOCO):
        return [str(place) for place in overlaps(batch).argmax(1).tolist()]
    if "answers" in batch.targets:
        return [Counter(people).most_common(1)[0][0] for people in batch.targets["answers"]]
    return [str(label) for label in batch.targets["label"].tolist()]


def retrieval(scenes: Scenes, model: VLModel, task: Any, split: str, language: str) -> Judged:
    """Among 100 pictures and the first caption of each."""
    batch = next(scenes.batches(split, CaptionView((language,), "first"), 1, size=100))
    if isinstance(model, Control):
        batch, model = model.see(batch), model.model
    encoder = CrossEncoder(model, task.scores)  # type: ignore[arg-type]
    gallery, n = encoder.gallery([batch]), len(batch)
    found = retrieve_scores(encoder.matrix(gallery), gallery.owners, tie=TIE)
    chance = 100 * sum(min(k, n) for k in KS) / len(KS) / n
    value = bootstrap(found.score(), n)
    return Judged(language, n, value, {"value": value.value, "majority": chance} | found.metrics())


@torch.inference_mode()
def captioning(model: VLModel, task: Captioning, batches: Iterable[Batch]) -> Judged:
    """CIDEr-D, whose document frequencies are those of the references."""
    found: list[tuple[Words, list[Words]]] = []
    for batch in batches:
        rows = zip(task.predict(model, batch), batch.targets["captions"], batch.targets["language"], strict=True)
        for one, references, language in rows:
            split: Callable[[str], Words] = list if language == "zh" else tokenize
            found.append((split(one["caption"]), [split(text) for text in references]))
    captions, references = (list(side) for side in zip(*found, strict=True))
    scores = torch.tensor(CiderD(references).scores(captions))
    value = bootstrap(lambda weights: 100 * (weights.float() @ scores) / weights.sum(1), len(scores))
    return Judged("en", len(scores), value, {"value": value.value})
