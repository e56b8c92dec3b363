"""What `make generate-demo` reports: figures of both families by every reranker, and pictures to look at."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vl.checkpoints.bundle import Bundle, load
from vl.evaluation.caption_pictures import caption_pictures
from vl.evaluation.embed import read_samples
from vl.evaluation.generation import (
    Prompts,
    judge_painted,
    judge_reconstruction,
    judged,
    paint_all,
    protocol,
)
from vl.evaluation.magnify import magnify
from vl.evaluation.object_judge import ObjectJudge
from vl.evaluation.painter import Painted, Painter
from vl.evaluation.picture_features import PictureFeatures
from vl.evaluation.sampling import Sampling
from vl.models.autoregressive import Autoregressive
from vl.models.image_tokenizer import ImageTokenizer
from vl.models.object_grid import ObjectGrid
from vl.report.generated import Generated
from vl.report.page import Candidate, Example, Page

#: Prompts of pairs of object, colour and place that training never shows; and of pairs it does.
SPLITS = ("test_compositions", "test")
SHOWN = 8
#: Chosen on prompts of pairs not seen that are not among those judged.
SAMPLING = {
    "dalle": Sampling(temperature=0.4, top_k=64, guidance=1.5),
    "cogview": Sampling(temperature=0.6, top_k=64, guidance=1.25),
}
REAL = "the pictures that the prompts were made from; an object counts if its name, colour and place are right"


@dataclass
class Judged:
    """Findings, and examples by the title of their section."""

    findings: list[Generated] = field(default_factory=list)
    examples: dict[str, list[Example]] = field(default_factory=dict)


def judge_all(
    out: Path, data: Path, families: Mapping[str, Sequence[str]], limit: int, candidates: int, seed: int
) -> Judged:
    """Judge the real pictures, each tokenizer's reconstructions, and each family's pictures."""
    judge, features, clip = load_judge(out), PictureFeatures(), load(out / "clip/model")
    result = Judged()
    for split in SPLITS:
        prompts = Prompts.read(read_samples(f"{data}/{split}-scenes-*.tar", limit), judge.model.image_size)
        result.findings.append(_finding("real scenes", "judge", split, judged(judge, prompts.pixels, prompts), prompts))
        for family, (tokenizer, model, caption, *_) in families.items():
            kept = load(out / tokenizer / "model")
            painter = painter_of(load(out / model / "model"), kept, clip, load(out / caption / "model"))
            figures = judge_reconstruction(painter.tokenizer, judge, prompts, features)
            result.findings.append(_finding(family, "reconstruction", split, figures, prompts))
            painted = paint_all(painter, prompts, candidates, SAMPLING[family], seed)
            by_reranker = judge_painted(painter, painted, judge, prompts, features)
            quality = {name: figures[name] for name in ("psnr", "ssim")}
            for rerank, found in by_reranker.items():
                how = protocol(rerank, candidates, seed)
                figures = {**found, **quality}
                result.findings.append(_finding(family, "generation", split, figures, prompts, how, rerank))
            result.examples[f"{family}, {split}: candidates, the best by CLIP first"] = _pictures(
                painted, prompts, judge
            )
            if split == "test":
                result.examples[f"{family}: completions of the upper half"] = _completions(
                    painter, prompts, SAMPLING[family], seed
                )
                captions = caption_pictures(painter.captioner, painter.generator.tokenizer, painted.codes[:SHOWN, 0])
                shown = zip(captions, painted.pixels[:SHOWN, 0], strict=True)
                result.examples[f"{family}: captions of its pictures"] = [
                    Example(png(picture), [Candidate(text, False)]) for text, picture in shown
                ]
    if "cogview_magnify" in families.get("cogview", ()):
        result.examples["cogview: super-resolution"] = _magnified(out, prompts, seed)
    result.findings.sort(key=lambda one: (SPLITS.index(one.split), one.task, one.protocol))
    return result


def load_judge(out: Path) -> ObjectJudge:
    return ObjectJudge(cast(ObjectGrid, load(out / "judge/model").model))


def painter_of(generator: Bundle, tokenizer: Bundle, clip: Bundle, captioner: Bundle) -> Painter:
    return Painter(generator, cast(ImageTokenizer, tokenizer.model), clip, cast(Autoregressive, captioner.model))


def _finding(
    model: str,
    task: str,
    split: str,
    figures: Mapping[str, float],
    prompts: Prompts,
    how: str = REAL,
    rerank: str | None = None,
) -> Generated:
    languages = "+".join(sorted(set(prompts.languages)))
    return Generated(model, task, split, languages, how, len(prompts.texts), figures, rerank)


def _pictures(painted: Painted, prompts: Prompts, judge: ObjectJudge) -> list[Example]:
    """Candidates of the first prompts; marked where everything is there."""
    examples = []
    for i, text in enumerate(prompts.texts[:SHOWN]):
        order = painted.scores["clip"][i].argsort(descending=True)
        whole = judge(painted.pixels[i, order], [prompts.asked[i]] * len(order)).share == 1
        found = [Candidate(png(painted.pixels[i, j]), bool(right)) for j, right in zip(order, whole, strict=True)]
        examples.append(Example(text, found))
    return examples


def _completions(painter: Painter, prompts: Prompts, sampling: Sampling, seed: int) -> list[Example]:
    """The upper half of real pictures, completed."""
    real = prompts.pixels[:SHOWN]
    codes = painter.tokenizer.encode(real)
    texts, languages = prompts.texts[:SHOWN], prompts.languages[:SHOWN]
    painted = painter.paint(texts, languages, 3, sampling, seed, codes[:, : codes.shape[1] // 2])
    rows = zip(texts, real, painted.pixels, strict=True)
    return [Example(text, [Candidate(png(p), False) for p in (one, *done)]) for text, one, done in rows]


def _magnified(out: Path, prompts: Prompts, seed: int) -> list[Example]:
    """Real pictures beside those of twice the side that are drawn from their codes."""
    tokenizer = cast(ImageTokenizer, load(out / "vqvae/model").model)
    bundle, real = load(out / "cogview_magnify/model"), prompts.pixels[:SHOWN]
    text = bundle.tokenizer.encode(prompts.texts[:SHOWN])
    fine = magnify(cast(Autoregressive, bundle.model), text, tokenizer.encode(real), SAMPLING["cogview"], seed)
    with torch.inference_mode():
        large = tokenizer.decode(fine)
    rows = zip(prompts.texts, real, large, strict=False)
    return [Example(text, [Candidate(png(small), False), Candidate(png(big), False)]) for text, small, big in rows]


def png(pixels: Float[Tensor, "3 h w"]) -> bytes:
    """A picture of at least 128 px as PNG."""
    shown = Image.fromarray((pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())
    scale = max(1, 128 // shown.width)
    buffer = io.BytesIO()
    shown.resize((shown.width * scale, shown.height * scale), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


INTERVALS = ("object_accuracy", "object_accuracy_gain")
COLUMNS = (
    *("object_accuracy/en", "object_accuracy/zh", "object_accuracy_shuffled"),
    *("all_present", "name", "count", "relations"),
)


def _interval(metrics: Mapping[str, float], name: str) -> str | None:
    """A figure with its interval."""
    if name not in metrics:
        return None
    return f"{metrics[name]:.1f} [{metrics[f'{name}/low']:.1f}, {metrics[f'{name}/high']:.1f}]"


def write_page(path: Path, report: Mapping[str, Any], result: Judged) -> None:
    """The table, the pictures, every figure, the settings."""
    page = Page("Pictures from words", "DALL-E and CogView trained here, on scenes of one to three objects.")
    fids = sorted({name for f in result.findings for name in f.metrics if name.startswith("fid_") and "/" not in name})
    columns = (*COLUMNS, *fids, "psnr", "caption_loss")
    page.section("Figures", "Percent, intervals of 95%; rerank none is the first candidate, not the best.")
    page.table(
        ("", "pictures", "rerank", "split", "n", *INTERVALS, *columns),
        (
            [
                *(f.model, f.task, f.rerank or "", f.split, f.n),
                *(_interval(f.metrics, name) for name in INTERVALS),
                *map(f.metrics.get, columns),
            ]
            for f in result.findings
        ),
    )
    page.section("Minutes", "Of training and encoding, on this machine.")
    page.settings(report["settings"]["minutes_a_family"])
    for title, examples in result.examples.items():
        page.section(title)
        page.examples(examples)
    page.section("Every figure")
    for found in result.findings:
        page.section(f"{found.model}, {found.task}, {found.split}", found.protocol)
        page.settings(found.metrics)
    page.section("Settings")
    page.settings(report["settings"])
    page.write(path)
