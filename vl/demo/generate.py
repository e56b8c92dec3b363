"""`make generate-demo`: DALL-E and CogView on scenes of one to three objects, from pixels to ranked pictures."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from vl.checkpoints.bundle import load
from vl.data.card import CARD, read_card
from vl.demo.generate_report import SAMPLING, judge_all, write_page
from vl.demo.run import command
from vl.demo.steps import Steps
from vl.report.figures import settings, show, write_json
from vl.train.checkpoint_folder import find_checkpoint

#: The image tokenizer, the transformer and its fine-tunings of each family.
FAMILIES = {
    "dalle": ("dvae", "dalle", "dalle_caption"),
    "cogview": ("vqvae", "cogview", "cogview_caption", "cogview_magnify"),
}
#: What the generators are trained on; the judge has scenes of its own, of every pair.
TRAIN = "train-scenes-*.tar"
SCENES, HELD_OUT, JUDGE = 43_000, 600, 10_000


@dataclass(frozen=True)
class GenerateDemo:
    """The demo of the checkout `root`, in `out`.

    Args:
        root: the checkout: recipes and configurations are in it.
        out: folder for all that is made but the shards.
        data: folder for the shards.
        seed: of training and of generation.
        quick: a few scenes and steps, to see that everything works.
    """

    root: Path
    out: Path
    data: Path
    seed: int = 0
    quick: bool = False

    def run(self) -> None:
        """Do what is not done yet, and show the figures."""
        steps = Steps(self.out)
        self.out.mkdir(parents=True, exist_ok=True)
        recipe, text = self.root / "datasets/scenes/convert.py", self.out / "text.json"
        few = ["--scenes", 160, "--held-out", 16, "--judge", 16, "--shard", 16, "--processes", 1]
        options = few if self.quick else ["--scenes", SCENES, "--held-out", HELD_OUT, "--judge", JUDGE]
        steps.once("shards", {"options": options, "data": self.data}, self.data / CARD,
                   lambda: command(recipe, "--out", self.data, "--preset", "generate", *options))  # fmt: skip
        scenes = {"shards": {shard.file: shard.sha256 for shard in read_card(self.data).shards}}
        kind = ("--vocab-size", 600, "--kind", "bpe", "--merge-chinese")
        words = ("--data", f"{self.data}/{TRAIN}", *kind, "--out", text)
        steps.once("text", scenes, text, lambda: command(self.root / "tools/train_tokenizer.py", *words))
        done = {"judge": self.fit(steps, "judge", scenes)}
        for tokenizer, *models in FAMILIES.values():
            done[tokenizer] = made = self.fit(steps, tokenizer, scenes)
            codes = self.encode(steps, tokenizer, made)
            for model in models:
                codes = done[model] = self.fit(
                    steps, model, codes, str(load(self.out / tokenizer / "model").model.fingerprint)
                )
        done["clip"] = self.fit(steps, "clip", scenes)
        steps.once("report", done, self.out / "report.json", lambda: self.report(steps))

    def fit(self, steps: Steps, name: str, inputs: Mapping[str, Any], codes_of: str = "") -> Mapping[str, Any]:
        """Train a run, and export its model; what follows depends on the result."""
        run = self.configuration(name, codes_of)
        file, folder, model = self.out / f"{name}.yaml", self.out / name, self.out / name / "model"
        inputs = {"run": run, "inputs": inputs}

        def work() -> None:
            file.write_text(yaml.safe_dump(run, allow_unicode=True, sort_keys=False))
            command("-m", "vl.train.cli", "fit", "--config", file, "--ckpt_path", "last")
            load(find_checkpoint("last", folder / "checkpoints")).save(model)

        steps.once(name, inputs, folder, work)
        return inputs

    def configuration(self, name: str, codes_of: str) -> dict[str, Any]:
        """The shipped run with this demo's folders, seed and size."""
        text = (self.root / f"configs/generate/scenes_{name}.yaml").read_text()
        text = text.replace("data/scenes-generate/", f"{self.data}/").replace("runs/generate/", f"{self.out}/")
        run = yaml.safe_load(re.sub(r"/checkpoints/step_\d+\.ckpt", "/model", text))
        run["seed_everything"] = run["data"]["seed"] = run["model"]["seed"] = self.seed
        if codes_of:
            run["model"]["model"]["init_args"]["sequence"]["init_args"]["codes_of"] = codes_of
            for source in (run["data"]["train"][0], run["data"]["val"]["scenes"]):
                source["init_args"]["view"]["init_args"]["codes_of"] = codes_of
        if self.quick:
            run["trainer"] |= {"max_steps": 3, "val_check_interval": 3, "devices": 1, "strategy": "auto"}
            run["checkpoint"] |= {"every_steps": 3}
            run["data"] |= {"batch_size": 8, "num_workers": 0}
        return run

    def encode(self, steps: Steps, tokenizer: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Codes of the generators' scenes, without the pictures."""
        words = ("--tokenizer", self.out / tokenizer / "model", "--out", self.data / tokenizer, "--coarse")
        shards = ("--data", f"{self.data}/{TRAIN}", f"{self.data}/val-scenes-*.tar", "--drop-pictures")
        steps.once(f"{tokenizer}_codes", inputs, self.data / tokenizer,
                   lambda: command(self.root / "tools/encode_images.py", *words, *shards))  # fmt: skip
        return {"codes": inputs}

    def report(self, steps: Steps) -> None:
        """Judge everything, write report.json and report.html."""
        start = time.perf_counter()
        limit, candidates = (8, 2) if self.quick else (300, 8)
        judged = judge_all(self.out, self.data, FAMILIES, limit, candidates, self.seed)
        names = ["shards", "text", "judge", "clip"]
        names += [step for runs in FAMILIES.values() for step in (runs[0], f"{runs[0]}_codes", *runs[1:])]
        seconds = steps.seconds(*names) | {"report": round(time.perf_counter() - start, 1)}
        minutes = {
            family: round(sum(seconds[step] or 0 for step in (runs[0], f"{runs[0]}_codes", *runs[1:])) / 60, 1)
            for family, runs in FAMILIES.items()
        }
        content = {
            "schema": 1,
            "quick": self.quick,
            "results": [asdict(finding) for finding in judged.findings],
            "seconds": sum(value or 0 for value in seconds.values()),
            "settings": settings(
                sorted(self.data.glob("*.tar")),
                seed=self.seed,
                candidates=candidates,
                sampling={family: asdict(sampling) for family, sampling in SAMPLING.items()},
                step_seconds=seconds,
                minutes_a_family=minutes,
            ),
        }
        show(judged.findings)
        write_page(self.out / "report.html", content, judged)
        write_json(self.out / "report.json", content)
