"""Fine-tunings on scenes: what is run, from which start, and what comes of it; nothing is done twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from vl.data.card import sha256
from vl.data.views.caption import CaptionView
from vl.demo.finetuned import PROTOCOLS, judge
from vl.demo.scenes import SPLITS, Scenes, fit, last_checkpoint, make_quick
from vl.demo.steps import Steps
from vl.evaluation.finetuning import mean_of_runs
from vl.evaluation.pretraining import mean_of_regions
from vl.report.figures import write_json
from vl.report.finetuned import FineTuned
from vl.train.restore import restore

CONTROLS = {"none": None, "text only": "TextOnly", "mean feature": "MeanFeature", "shuffled boxes": "ShuffledBoxes"}
#: The head of pretraining that a task's head begins as, where the system was pretrained with it: (head, its row).
HEADS = {"vqa": ("answers.head", None), "retrieval": ("itm.head", 1), "captioning": ("mlm.head", None)}


@dataclass(frozen=True)
class Run:
    """One fine-tuning."""

    system: str
    task: str
    init: str
    seed: int
    control: str

    @property
    def name(self) -> str:
        return "-".join((self.task, self.init, str(self.seed), self.control.replace(" ", "_")))

    @property
    def step(self) -> str:
        return f"{self.system} {self.name}"


@dataclass(frozen=True)
class FineTuning:
    """Fine-tunings in the folder `work`, of what was pretrained on `scenes`."""

    work: Path
    scenes: Scenes

    @cached_property
    def steps(self) -> Steps:
        self.work.mkdir(parents=True, exist_ok=True)
        return Steps(self.work)

    @cached_property
    def mean_feature(self) -> Path:
        """The mean feature of training regions, in a file."""
        file = self.work / "mean_feature.npy"
        feature = mean_of_regions(self.scenes.batches("train", CaptionView(), 10 * self.scenes.pictures))
        np.save(file, feature.numpy())
        return file

    @cached_property
    def starts(self) -> dict[str, tuple[Path, str]]:
        """The checkpoints of the systems asked for so far, and their checksums."""
        return {}

    def start(self, system: str) -> tuple[Path, str]:
        if system not in self.starts:
            checkpoint = self.scenes.pretrain(system)
            self.starts[system] = checkpoint, sha256(checkpoint)
        return self.starts[system]

    def config(self, run: Run) -> dict[str, Any]:
        """The task's run with the trunk of the system, which may be shown less."""
        config = self.scenes.read(f"configs/finetune/scenes_{run.task}.yaml")
        pretraining = self.scenes.read(f"configs/debug/{run.system}_scenes.yaml")["model"]
        trunk, control = pretraining["model"], CONTROLS[run.control]
        if control:
            extra = {"file": str(self.mean_feature)} if control == "MeanFeature" else {}
            trunk = {"class_path": f"vl.models.controls.{control}", "init_args": {"model": trunk, **extra}}
        heads = HEADS if HEADS.get(run.task, ("",))[0].split(".")[0] in pretraining["objectives"] else {}
        config["model"] |= {"model": trunk, "seed": run.seed}
        config["model"]["init"] = self.init(run, heads) if run.init == "pretrained" else []
        config["trainer"] |= {"default_root_dir": str(self.folder(run)), "limit_val_batches": 0}
        config["seed_everything"] = config["data"]["seed"] = run.seed
        if self.scenes.quick:
            make_quick(config)
        return config

    def init(self, run: Run, heads: dict[str, tuple[str, int | None]]) -> list[dict[str, Any]]:
        """The trunk's start weights, and those of its head."""
        path, target = str(self.start(run.system)[0]), "" if run.control == "none" else "model"
        trunk: dict[str, Any] = {"path": path, "target": target, "part": ""}
        weights = [("VLWeights", trunk)]
        if run.task in heads:
            part, row = heads[run.task]
            weights.append(("HeadWeights", {"path": path, "target": f"{run.task}.head", "part": part, "row": row}))
        return [{"class_path": f"vl.checkpoints.start.{name}", "init_args": args} for name, args in weights]

    def folder(self, run: Run) -> Path:
        return self.work / run.system / run.name

    def findings(self, run: Run) -> list[FineTuned]:
        """Every figure of a run, trained and judged if that was not done."""
        config, folder = self.config(run), self.folder(run)
        start = {"start": self.start(run.system)[1]} if run.init == "pretrained" else {}
        fit(self.steps, f"train {run.step}", config, folder, **start)
        checkpoint, made = last_checkpoint(folder), folder / "findings.json"
        self.steps.once(f"judge {run.step}", {"checkpoint": sha256(checkpoint)}, made,
                        lambda: write_json(made, [asdict(one) for one in self.judge(run, checkpoint)]))  # fmt: skip
        return [FineTuned(**one) for one in json.loads(made.read_text())]

    def seconds(self, runs: Sequence[Run]) -> dict[str, float | None]:
        """How long runs and their judging took."""
        return self.steps.seconds(*(f"{kind} {run.step}" for run in runs for kind in ("train", "judge")))

    def judge(self, run: Run, checkpoint: Path) -> Iterator[FineTuned]:
        """Its figures on all splits, those of a control on the first."""
        training = restore(self.folder(run).with_suffix(".yaml"), checkpoint)
        for split in SPLITS if run.control == "none" else SPLITS[:1]:
            with Console().status(f"{run.step}: {split}"):
                for one in judge(self.scenes, training.model, run.task, training.objectives[run.task], split):
                    interval = one.value.low, one.value.high
                    yield FineTuned(run.system, run.task, split, one.language, PROTOCOLS[run.task], one.n, one.metrics,
                                    run.init, run.control, run.seed, interval)  # fmt: skip


def over_seeds(findings: Sequence[FineTuned]) -> Iterator[FineTuned]:
    """The mean over seeds of each figure, and of what pretraining adds to it, each with its interval."""
    groups: dict[tuple[str, ...], dict[str, dict[int | None, FineTuned]]] = {}
    for one in findings:
        if one.control == "none":
            place = one.model, one.task, one.split, one.language
            groups.setdefault(place, {}).setdefault(one.init, {})[one.seed] = one
    for runs in groups.values():
        values = {init: [one.metrics["value"] for one in seeds.values()] for init, seeds in runs.items()}
        if len(runs) == 2 and (both := runs["pretrained"].keys() & runs["scratch"].keys()):
            pairs = [[runs[init][seed].metrics["value"] for seed in both] for init in ("pretrained", "scratch")]
            values["pretrained - scratch"] = [a - b for a, b in zip(*pairs, strict=True)]
        first = next(iter(next(iter(runs.values())).values()))
        for init, several in values.items():
            if len(several) > 1:
                mean = mean_of_runs(several)
                metrics = {"value": mean.value, "runs": len(several)}
                protocol = f"{first.protocol}; mean over seeds, 95% interval by Student's t"
                yield replace(first, init=init, seed=None, metrics=metrics, protocol=protocol,
                              interval=(mean.low, mean.high))  # fmt: skip
