"""Pretrain four small region models on scenes, in English and Chinese, and judge them: every objective beside the best
answer that looks at nothing, matching beside its controls, true captions beside each kind of opposite.

python tools/pretrain_report.py --json runs/pretrain/report.json
python tools/pretrain_report.py --json OUT --quick         # a few scenes and steps, to see that it works
python tools/pretrain_report.py --json OUT --only uniter   # some of the models

What is done is not done again: a killed report is finished by the same command.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

from rich.console import Console

from vl.data.negatives import Negatives
from vl.data.views.caption import CaptionView
from vl.data.views.opposite import OppositeView
from vl.data.views.qa import QAView
from vl.demo.scenes import LANGUAGES, SPLITS, SYSTEMS, Scenes
from vl.evaluation.pretraining import judge, mean_of_regions, tell_apart, with_features, without_regions
from vl.report.baselines import show_baselines
from vl.report.figures import SCHEMA, Finding, settings, write_json
from vl.train.module import Training
from vl.train.restore import restore

ROOT = Path(__file__).resolve().parent.parent
NEGATIVES = Negatives(swap="text", same_count=True)
PROTOCOLS = {
    "itm": "captions of other scenes with as many objects, none of them true; a coin's baseline",
    "opposite": "a true caption above one that differs in one point, over pairs; 95% bootstrap over pictures",
}


@dataclass(frozen=True)
class Report:
    """The figures of what was trained on `scenes`."""

    scenes: Scenes

    def judge(self, system: str, checkpoint: Path) -> Iterator[Finding]:
        """Every figure of a system."""
        training = restore(self.scenes.work / f"{system}.yaml", checkpoint)
        feature = mean_of_regions(self.scenes.batches("train", CaptionView(), self.scenes.pictures))
        controls = {"text only": without_regions, "mean feature": partial(with_features, feature=feature)}
        for language in LANGUAGES:
            yield from self.judge_objectives(system, training, language)
            for split in SPLITS:
                yield from self.judge_matching(system, training, language, split, controls if split == "test" else {})

    def judge_objectives(self, system: str, training: Training, language: str) -> Iterator[Finding]:
        batches = cache(
            lambda split, view, negatives: list(self.scenes.batches(split, view, self.scenes.pictures, negatives))
        )
        for name, objective in training.objectives.items():
            if name == "itm":
                continue
            view = QAView((language,)) if name == "answers" else CaptionView((language,), choose="all")
            negatives = NEGATIVES if name == "wra" else None
            train, test = (batches(split, view, negatives) for split in ("train", "test"))
            for measure in judge(training.model, objective, train, test):
                metrics = {"value": measure.value, "baseline": measure.baseline}
                protocol = f"baseline: {measure.rule}"
                yield Finding(system, f"{name} {measure.name}", "test", language, protocol, measure.n, metrics)

    def judge_matching(
        self, system: str, training: Training, language: str, split: str, controls: dict[str, Callable]
    ) -> Iterator[Finding]:
        """Matching, and captions beside their opposites; then as each control."""
        itm = training.objectives["itm"]
        captions = CaptionView((language,), choose="all")
        matching = list(self.scenes.batches(split, captions, self.scenes.pictures, NEGATIVES))
        pairs = list(self.scenes.batches(split, OppositeView((language,)), self.scenes.opposite_pictures))
        for control, change in {"": None, **controls}.items():
            suffix = f" ({control})" if control else ""
            (measure,) = judge(training.model, itm, matching, matching, change=change)
            metrics = {"value": measure.value, "baseline": 50.0}
            yield Finding(system, f"itm accuracy{suffix}", split, language, PROTOCOLS["itm"], measure.n, metrics)
            for kind, (found, number) in tell_apart(training.model, itm, pairs, change).items():
                metrics = {"value": found.value, "baseline": 50.0, "low": found.low, "high": found.high}
                task = f"opposite {kind}{suffix}"
                yield Finding(system, task, split, language, PROTOCOLS["opposite"], number, metrics)


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--work", type=Path, help="folder of the runs (runs/pretrain)")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=SYSTEMS, help="some of the models")
    parser.add_argument("--quick", action="store_true", help="a few scenes and steps, to see that it works")
    options = parser.parse_args(args)
    start = time.perf_counter()
    work = options.work or Path("runs/pretrain-quick" if options.quick else "runs/pretrain")
    scenes = Scenes(ROOT, work, options.quick)
    scenes.prepare()
    report = Report(scenes)
    findings: list[Finding] = []
    for system in options.only:
        checkpoint = scenes.pretrain(system)
        with Console().status(f"judging {system}"):
            findings += report.judge(system, checkpoint)
    show_baselines(findings)
    names = ["scenes", "regions", "tokenizer", "answers", *(f"train {system}" for system in options.only)]
    shards = sorted(scenes.regions.glob("*-scenes-*.tar"))
    conditions = settings(shards, pictures=scenes.pictures, step_seconds=scenes.steps.seconds(*names))
    content = {"schema": SCHEMA, "quick": options.quick, "results": [asdict(finding) for finding in findings]}
    write_json(options.json, {**content, "seconds": time.perf_counter() - start, "settings": conditions})


if __name__ == "__main__":
    main()
