"""Text-to-image generation, judged: what was asked for against what is there, and distances to real pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vl.data.sample import Object, Sample
from vl.data.stages import ImageStage
from vl.evaluation.embed import progress
from vl.evaluation.object_judge import ObjectJudge, Verdict
from vl.evaluation.painter import Painted, Painter
from vl.evaluation.picture_features import PictureFeatures
from vl.evaluation.rerank import caption_loss
from vl.evaluation.sampling import Sampling
from vl.metrics.image_quality import blur, feature_distance, frechet_distance, inception_score, psnr, ssim
from vl.metrics.recall import bootstrap
from vl.models.image_tokenizer import ImageTokenizer

#: Standard deviations of the blur, in pixels, of FID-k.
BLURS = (0.0, 1.0, 2.0)


@dataclass(frozen=True)
class Prompts:
    """Prompts with the scenes they describe: the first caption of each, in one language or in turn."""

    texts: list[str]
    languages: list[str]
    asked: list[Sequence[Object]]
    pixels: Float[Tensor, "p 3 h w"]

    @classmethod
    def read(cls, samples: Iterable[Sample], size: int, languages: Sequence[str] = ("en", "zh")) -> Prompts:
        """Prompt i is in language i modulo their number.

        Raises:
            ValueError: there are no samples, or one lacks a caption in its language or its objects.
        """
        texts, spoken, pixels = [], [], []
        asked: list[Sequence[Object]] = []
        stage = ImageStage(size)
        for number, sample in enumerate(samples):
            record, language = sample.record, languages[number % len(languages)]
            caption = next((caption for caption in record.captions if caption.language == language), None)
            if caption is None or not record.objects:
                raise ValueError(
                    f"sample {sample.key} has no caption in {language!r}, or no objects: nothing to ask for"
                )
            texts.append(caption.text)
            spoken.append(language)
            asked.append(record.objects)
            pixels.append(stage(sample.image() or b""))
        if not texts:
            raise ValueError("there are no samples to take prompts from")
        return cls(texts, spoken, asked, torch.stack(pixels).float() / 255)


def intervals(verdict: Verdict, name: str, first: Verdict | None = None) -> dict[str, float]:
    """The share of objects found, or by how much it is above that in `first` (paired: the same objects are asked for),
    with its 95% bootstrap interval over pictures."""
    asked = torch.bincount(verdict.owner, minlength=len(verdict.counted)).double()
    found = (verdict.share - (first.share if first else 0)).double() * asked
    interval = bootstrap(lambda w: 100 * (w.double() @ found) / (w.double() @ asked), len(asked))
    return {name: interval.value, f"{name}/low": interval.low, f"{name}/high": interval.high}


def judged(
    judge: ObjectJudge, pixels: Float[Tensor, "p 3 h w"], prompts: Prompts, first: Verdict | None = None
) -> dict[str, float]:
    """All the judge says, also by language, and what it says when every picture is asked for what the next prompt says.

    Args:
        first: the verdict on the first candidates: what a reranker gains over them is reported too.
    """
    verdict = judge(pixels, prompts.asked)
    shuffled = judge(pixels, [*prompts.asked[1:], prompts.asked[0]])
    figures = verdict.metrics() | intervals(verdict, "object_accuracy")
    if first is not None:
        figures |= intervals(verdict, "object_accuracy_gain", first)
    for language in sorted(set(prompts.languages)):
        spoken = torch.tensor([name == language for name in prompts.languages])[verdict.owner]
        figures[f"object_accuracy/{language}"] = 100 * float(verdict.found[spoken].float().mean())
    return figures | {"object_accuracy_shuffled": shuffled.metrics()["object_accuracy"]}


def judge_reconstruction(
    tokenizer: ImageTokenizer, judge: ObjectJudge, prompts: Prompts, features: PictureFeatures
) -> Mapping[str, float]:
    """What the image tokenizer keeps of real pictures: the most a generator on its codes can reach."""
    with torch.inference_mode():
        parts = [tokenizer.decode(tokenizer.encode(part)) for part in prompts.pixels.split(64)]
    seen = torch.cat(parts)
    near = feature_distance(features.maps(seen[:64]), features.maps(prompts.pixels[:64]))
    quality = {"psnr": psnr(seen, prompts.pixels), "ssim": ssim(seen, prompts.pixels), "feature_distance": near}
    figures = {name: float(value.mean()) for name, value in quality.items()}
    return judged(judge, seen, prompts) | figures | frechet(seen, prompts.pixels, features)


def judge_painted(
    painter: Painter, painted: Painted, judge: ObjectJudge, prompts: Prompts, features: PictureFeatures
) -> dict[str, dict[str, float]]:
    """Figures of painted candidates, by reranker (none: the first candidate, not the best)."""
    rows = torch.arange(len(prompts.texts))
    first, results = judge(painted.pixels[:, 0], prompts.asked), {}
    for name in (None, *painted.scores):
        best = painted.best(name)
        figures = judged(judge, painted.pixels[rows, best], prompts, first if name else None)
        figures |= frechet(painted.pixels[rows, best], prompts.pixels, features)
        if painter.captioner is not None:
            text = painter.prompts(prompts.texts, prompts.languages).text
            figures["caption_loss"] = float(caption_loss(painter.captioner, text, painted.codes[rows, best]).mean())
        results[name or "none"] = figures
    return results


def paint_all(
    painter: Painter,
    prompts: Prompts,
    candidates: int = 4,
    sampling: Sampling | None = None,
    seed: int = 0,
    batch: int = 32,
) -> Painted:
    """Candidates of every prompt, `batch` prompts at a time."""
    starts = progress(range(0, len(prompts.texts), batch), "groups of prompts, painted")
    parts = [
        painter.paint(prompts.texts[i : i + batch], prompts.languages[i : i + batch], candidates, sampling, seed)
        for i in starts
    ]
    scores = {name: torch.cat([part.scores[name] for part in parts]) for name in parts[0].scores}
    return Painted(torch.cat([part.codes for part in parts]), torch.cat([part.pixels for part in parts]), scores)


def frechet(
    pixels: Float[Tensor, "p 3 h w"], real: Float[Tensor, "p 3 h w"], features: PictureFeatures
) -> dict[str, float]:
    """FID-k by this network, and its inception score; named after the network, for it is not Inception's."""
    figures = {}
    for radius in BLURS:
        found, logits = features(blur(pixels, radius))
        figures[f"fid_{features.name}" + (f"/{radius:g}" if radius else "")] = frechet_distance(
            found, features(blur(real, radius))[0]
        )
        if radius == 0:
            figures[f"is_{features.name}"] = inception_score(logits)
    return figures


def protocol(rerank: str, candidates: int, seed: int) -> str:
    """How a picture was chosen and judged."""
    shown = "the first candidate" if rerank == "none" else f"the best of {candidates} by {rerank}"
    return f"rerank: {rerank}; {shown}; seed {seed}; an object counts if its name, colour and place are right"
