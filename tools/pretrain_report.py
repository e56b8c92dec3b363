"""Pretrain four small region models on scenes, in English and Chinese, and judge them: every objective beside the best
answer that looks at nothing, matching beside its controls, true captions beside each kind of opposite.

python tools/pretrain_report.py --json runs/pretrain/report.json
python tools/pretrain_report.py --json OUT --quick         # a few scenes and steps, to see that it works
python tools/pretrain_report.py --json OUT --only uniter   # some of the models

What is done is not done again: a killed report is finished by the same command.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

import yaml
from rich.console import Console

from vl.batch import Batch
from vl.data.card import CARD, read_card
from vl.data.collate import Collator
from vl.data.index import ShardSet
from vl.data.loader import EvalLoader
from vl.data.mixture import Source
from vl.data.negatives import Negatives
from vl.data.tokenizers import CorpusTokenizer
from vl.data.views.base import View
from vl.data.views.caption import CaptionView
from vl.data.views.opposite import OppositeView
from vl.data.views.qa import QAView
from vl.data.views.regions import RegionView
from vl.demo.run import command
from vl.demo.steps import Steps
from vl.evaluation.pretraining import judge, mean_of_regions, tell_apart, with_features, without_regions
from vl.report.baselines import show_baselines
from vl.report.figures import SCHEMA, Finding, settings, write_json
from vl.train.checkpoint_folder import find_checkpoint
from vl.train.cli import main as command_line
from vl.train.module import Training
from vl.train.restore import restore

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = ("uniter", "vilbert", "lxmert", "visualbert")
SPLITS = ("test", "test_objects", "test_compositions")
LANGUAGES = ("en", "zh")
NEGATIVES = Negatives(swap="text", same_count=True)
PROTOCOLS = {
    "itm": "captions of other scenes with as many objects, none of them true; a coin's baseline",
    "opposite": "a true caption above one that differs in one point, over pairs; 95% bootstrap over pictures",
}


@dataclass(frozen=True)
class Report:
    """The report in the folder `work`; a quick one has a few scenes and steps."""

    work: Path
    quick: bool

    @property
    def scenes(self) -> Path:
        return self.work / "scenes" if self.quick else Path("data/scenes")

    @property
    def regions(self) -> Path:
        return self.work / "regions" if self.quick else Path("data/scenes-regions")

    @property
    def pictures(self) -> int:
        """Of a split that are judged."""
        return 8 if self.quick else 400

    @cached_property
    def steps(self) -> Steps:
        self.work.mkdir(parents=True, exist_ok=True)
        return Steps(self.work)

    def prepare(self) -> None:
        """Draw the scenes, extract their regions, learn a vocabulary and a table of answers."""
        size = ["--scenes", 88, "--held-out", 8, "--shard", 40, "--pairs", 0] if self.quick else []
        limits = ["--workers", 1, "--learn-from", 24] if self.quick else []
        tokenizer, answers = self.work / "tokenizer.json", self.work / "answers.json"
        every, train = (f"{self.scenes}/{split}-scenes-*.tar" for split in ("*", "train"))
        draw = (ROOT / "datasets/scenes/convert.py", "--out", self.scenes, *size)
        extract = (ROOT / "tools/extract_regions.py", "ground_truth", "--data", every, "--out", self.regions, *limits)
        learn = (ROOT / "tools/train_tokenizer.py", "--data", train, "--vocab-size", 1000, "--out", tokenizer)
        for name, made, work in (
            ("scenes", self.scenes / CARD, partial(command, *draw)),
            ("regions", self.regions / CARD, partial(command, *extract)),
            ("tokenizer", tokenizer, partial(command, *learn)),
            ("answers", answers, partial(write_answers, train, answers)),
        ):
            self.steps.once(name, {"size": size}, made, work)

    def train(self, system: str) -> Path:
        """The last checkpoint of a system, trained if that was not done."""
        text = (ROOT / f"configs/debug/{system}_scenes.yaml").read_text()
        text = text.replace("data/scenes-regions/", f"{self.regions}/").replace("runs/scenes/", f"{self.work}/")
        config, folder = yaml.safe_load(text), self.work / system
        config["trainer"] |= {"default_root_dir": str(folder)}
        self.set_classes(config["model"]["objectives"])
        if self.quick:
            config["trainer"] |= {"max_steps": 2, "val_check_interval": 2, "enable_progress_bar": False}
            config["data"] |= {"batch_size": 8, "num_workers": 0}
        file = folder.with_suffix(".yaml")
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        self.steps.once(f"train {system}", config, folder,
                        lambda: command_line(["fit", "--config", str(file), "--ckpt_path", "last"]))  # fmt: skip
        return find_checkpoint("last", folder / "checkpoints")

    def set_classes(self, objectives: dict[str, dict]) -> None:
        """Numbers of classes as the extractor knew them: on a few pictures it saw fewer things."""
        known = read_card(self.regions).settings["regions"]
        classes, attributes = len(known["class vocabulary"]), len(known["attribute vocabulary"])
        sizes = {"classes": classes, "objects": classes - 1, "attributes": attributes - 1}
        for objective in objectives.values():
            arguments = objective.get("init_args", {})
            arguments |= {name: size for name, size in sizes.items() if name in arguments}

    def batches(self, split: str, view: View, pictures: int, negatives: Negatives | None = None) -> Iterator[Batch]:
        """The examples of the first pictures of a split."""
        source = Source(
            f"{self.regions}/{split}-scenes-*.tar", RegionView(view, min_confidence=0.2), negatives=negatives
        )
        collator = Collator(CorpusTokenizer(str(self.work / "tokenizer.json")), None)
        keys: dict[str, None] = {}
        for batch in EvalLoader(source, collator, 128, 0, 0, 1):
            yield batch
            keys |= dict.fromkeys(batch.keys)
            if len(keys) >= pictures:
                return

    def judge(self, system: str, checkpoint: Path) -> Iterator[Finding]:
        """Every figure of a system."""
        training = restore(self.work / f"{system}.yaml", checkpoint)
        feature = mean_of_regions(self.batches("train", CaptionView(), self.pictures))
        controls = {"text only": without_regions, "mean feature": partial(with_features, feature=feature)}
        for language in LANGUAGES:
            yield from self.judge_objectives(system, training, language)
            for split, change in [*((split, None) for split in SPLITS), *(("test", name) for name in controls)]:
                yield from self.judge_matching(system, training, language, split, change, controls.get(change))

    def judge_objectives(self, system: str, training: Training, language: str) -> Iterator[Finding]:
        for name, objective in training.objectives.items():
            if name == "itm":
                continue
            view = QAView((language,)) if name == "answers" else CaptionView((language,), choose="all")
            negatives = NEGATIVES if name == "wra" else None
            train, test = (self.batches(split, view, self.pictures, negatives) for split in ("train", "test"))
            for measure in judge(training.model, objective, train, test):
                metrics = {"value": measure.value, "baseline": measure.baseline}
                protocol = f"baseline: {measure.rule}"
                yield Finding(system, f"{name} {measure.name}", "test", language, protocol, measure.n, metrics)

    def judge_matching(
        self, system: str, training: Training, language: str, split: str, control: str | None, change: Callable | None
    ) -> Iterator[Finding]:
        """Matching, and captions beside their opposites; with `change`, as a control."""
        suffix = f" ({control})" if control else ""
        view, itm = CaptionView((language,), choose="all"), training.objectives["itm"]
        batches = (self.batches(part, view, self.pictures, NEGATIVES) for part in ("train", split))
        (measure,) = judge(training.model, itm, *batches, change=change)
        metrics = {"value": measure.value, "baseline": 50.0}
        yield Finding(system, f"itm accuracy{suffix}", split, language, PROTOCOLS["itm"], measure.n, metrics)
        pairs = self.batches(split, OppositeView((language,)), self.pictures)
        for kind, (found, number) in tell_apart(training.model, itm, pairs, change).items():
            metrics = {"value": found.value, "baseline": 50.0, "low": found.low, "high": found.high}
            yield Finding(system, f"opposite {kind}{suffix}", split, language, PROTOCOLS["opposite"], number, metrics)


def write_answers(shards: str, file: Path, most: int = 300) -> None:
    """The most frequent answers to the questions of some shards."""
    questions, counts = ShardSet(shards, QAView()), Counter[str]()
    for number in range(0, len(questions), max(1, len(questions) // 4000)):
        for question in questions.read(number).record.qa:
            counts.update(question.answers)
    file.write_text(json.dumps([answer for answer, _ in counts.most_common(most)], ensure_ascii=False))


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--work", type=Path, help="folder of the runs (runs/pretrain)")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=SYSTEMS, help="some of the models")
    parser.add_argument("--quick", action="store_true", help="a few scenes and steps, to see that it works")
    options = parser.parse_args(args)
    start = time.perf_counter()
    report = Report(options.work or Path("runs/pretrain-quick" if options.quick else "runs/pretrain"), options.quick)
    report.prepare()
    findings: list[Finding] = []
    for system in options.only:
        checkpoint = report.train(system)
        with Console().status(f"judging {system}"):
            findings += report.judge(system, checkpoint)
    show_baselines(findings)
    names = ["scenes", "regions", "tokenizer", "answers", *(f"train {system}" for system in options.only)]
    shards = sorted(report.regions.glob("*-scenes-*.tar"))
    conditions = settings(shards, pictures=report.pictures, step_seconds=report.steps.seconds(*names))
    content = {"schema": SCHEMA, "quick": options.quick, "results": [asdict(finding) for finding in findings]}
    write_json(options.json, {**content, "seconds": time.perf_counter() - start, "settings": conditions})


if __name__ == "__main__":
    main()
