"""What the demo's model has learnt, beside the ridge control on the same frozen backbones, pictures and texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vl.checkpoints.bundle import load
from vl.data.sample import Sample
from vl.evaluation.embed import Embedder, Images, captions_of, read_samples
from vl.evaluation.models import RidgeControl, frozen_backbones
from vl.evaluation.zero_shot_retrieval import zero_shot_retrieval
from vl.report.figures import Finding
from vl.report.page import Candidate, Example

LANGUAGES = {"en": "English", "zh": "Chinese"}
#: What is judged: a name, its shards, and what is new to a model that was trained on train's concepts in Twemoji.
SPLITS = {
    "val": ("val-twemoji-*.tar", "concepts for choosing, in Twemoji"),
    "unseen_concepts": ("unseen_concepts-twemoji-*.tar", "new concepts, in Twemoji"),
    "unseen_style": ("unseen_style-openmoji-*.tar", "the training concepts, in OpenMoji"),
    "unseen_both": ("unseen_concepts-openmoji-*.tar", "new concepts, in OpenMoji"),
}


@dataclass(frozen=True)
class Judgement:
    """Figures of both models, the control's lambda of each language, and examples of what `vl` finds."""

    findings: list[Finding]
    lambdas: dict[str, float]
    examples: dict[str, list[Example]]


def judge(checkpoint: Path, data: Path, languages: Iterable[str] = LANGUAGES) -> Judgement:
    """Judge a checkpoint on every split in every language, beside a control that is fitted anew for each language."""
    ours, control = Embedder(load(checkpoint)), RidgeControl(Embedder(frozen_backbones()))
    train = control.features(read_samples(str(data / "train-twemoji-*.tar")), "train, frozen")
    frozen, embedded = {}, {}
    for split, (shards, _) in SPLITS.items():
        frozen[split] = control.features(read_samples(str(data / shards)), f"{split}, frozen")
        embedded[split] = ours.images(read_samples(str(data / shards)), split)
    findings, lambdas, examples = [], {}, {}
    for language in languages:
        lambdas[language] = control.fit(train, frozen["val"], language).chosen
        for split in SPLITS:
            theirs = zero_shot_retrieval(control.embedder, control.map(frozen[split]), language)
            mine = zero_shot_retrieval(ours, embedded[split], language)
            for model, outcome, against in (("vl", mine, {"ridge": theirs}), ("ridge", theirs, {})):
                figures = with_chance(outcome.figures(against), outcome.groups)
                findings.append(Finding(model, "retrieval", split, language, outcome.protocol, outcome.n, figures))
            samples = list(read_samples(str(data / SPLITS[split][0])))
            examples[f"{split}, {language}"] = find_examples(ours, embedded[split], samples, language)
    return Judgement(findings, lambdas, examples)


def with_chance(figures: Mapping[str, float], candidates: int) -> dict[str, float]:
    """Figures with R@1, the mean of both directions, and how many times better than chance it is."""
    recall = (figures["text_to_image/R@1"] + figures["image_to_text/R@1"]) / 2
    return {**figures, "R@1": recall, "R@1/times_chance": recall * candidates / 100}


def find_examples(
    embedder: Embedder, images: Images, samples: Sequence[Sample], language: str, queries: int = 4, count: int = 5
) -> list[Example]:
    """What is found for some texts and for some pictures, evenly spread over the samples: good or bad, not chosen."""
    pictures = {sample.key: sample.image() or b"" for sample in samples}
    images, texts, owners = images.captioned(language)
    scores = embedder.texts(texts, language) @ images.emb.T
    shown: list[Example] = []
    for text in torch.linspace(0, len(texts) - 1, queries + 2).long()[1:-1].tolist():
        best = scores[text].topk(min(count, scores.shape[1])).indices.tolist()
        found = [Candidate(pictures[images.samples[i].key], i == int(owners[text])) for i in best]
        shown.append(Example(texts[text], found))
    for image in torch.linspace(0, len(images.samples) - 1, queries + 2).long()[1:-1].tolist():
        best = scores[:, image].topk(min(count, len(texts))).indices.tolist()
        right = {caption.text for caption in captions_of(images.samples[image], language)}
        found = [Candidate(texts[i], texts[i] in right) for i in best]
        shown.append(Example(pictures[images.samples[image].key], found))
    return shown
