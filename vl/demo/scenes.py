"""What reports on scenes share: pictures, their regions, a vocabulary, a table of answers, and pretrained systems."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import yaml

from vl.batch import Batch
from vl.data.card import CARD, read_card
from vl.data.collate import Collator
from vl.data.index import ShardSet
from vl.data.loader import EvalLoader
from vl.data.mixture import Source
from vl.data.negatives import Negatives
from vl.data.tokenizers import CorpusTokenizer
from vl.data.views.base import View
from vl.data.views.qa import QAView
from vl.data.views.regions import RegionView
from vl.demo.run import command
from vl.demo.steps import Steps
from vl.train.checkpoint_folder import find_checkpoint
from vl.train.cli import main as command_line

SYSTEMS = ("uniter", "vilbert", "lxmert", "visualbert")
SPLITS = ("test", "test_objects", "test_compositions")
LANGUAGES = ("en", "zh")
#: What things are to each other, where they are and how many: masked by themselves, lest colours and names drown them.
RELATIONS = ("left/right", "above/below", "top/bottom", "bigger/smaller", "two/three",
             "左边/右边/上方/下方", "大/小", "两/三")  # fmt: skip


@dataclass(frozen=True)
class Scenes:
    """The recipes and runs of the checkout `root`, with what they make in `work`.

    Args:
        root: the checkout.
        work: folder of the runs; of a quick one also of the data, which is otherwise in `data/`.
        quick: a few scenes and steps, to see that everything works.
    """

    root: Path
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

    @property
    def opposite_pictures(self) -> int:
        """Of a split whose captions are judged beside their opposites: more, for few captions count."""
        return 8 if self.quick else 800

    @property
    def tokenizer(self) -> Path:
        return self.work / "tokenizer.json"

    @cached_property
    def steps(self) -> Steps:
        self.work.mkdir(parents=True, exist_ok=True)
        return Steps(self.work)

    def prepare(self) -> None:
        """Draw the scenes, extract their regions, learn a vocabulary and a table of answers."""
        size = ["--scenes", 184, "--held-out", 26, "--shard", 54, "--pairs", 16] if self.quick else []
        answers, train = self.work / "answers.json", f"{self.scenes}/train-scenes-*.tar"
        draw = (self.root / "datasets/scenes/convert.py", "--out", self.scenes, *size)
        learn = (self.root / "tools/train_tokenizer.py", "--data", train, "--vocab-size", 1000, "--kind", "bpe",
                 "--merge-chinese", "--out", self.tokenizer, "--content", self.work / "content.json",
                 "--words", *RELATIONS, "--words-out", self.work / "relations.json")  # fmt: skip
        for name, inputs, made, work in (
            ("scenes", {}, self.scenes / CARD, partial(command, *draw)),
            ("regions", {}, self.regions / CARD, partial(self.extract, "*" if self.quick else "scenes")),
            ("tokenizer", {"words": RELATIONS}, self.tokenizer, partial(command, *learn)),
            ("answers", {}, answers, partial(write_answers, train, answers)),
        ):
            self.steps.once(name, {"size": size} | inputs, made, work)

    def prepare_pairs(self) -> None:
        """Extract the regions of the pairs of pictures, by what was learnt for the scenes; a quick run has them."""
        if self.quick:
            return
        card = read_card(self.regions)
        assert card is not None
        first = next(self.scenes.glob("test-pairs-*.tar")).name
        self.steps.once("pairs", card.settings, self.regions / first, partial(self.extract, "pairs"))

    def extract(self, kind: str) -> None:
        limits = ["--workers", 1, "--learn-from", 24] if self.quick else []
        shards = f"{self.scenes}/*-{kind}-*.tar"
        tool = self.root / "tools/extract_regions.py"
        command(tool, "ground_truth", "--data", shards, "--out", self.regions, *limits)

    def read(self, config: str) -> dict[str, Any]:
        """A run of the checkout, with this data and in these folders."""
        text = (self.root / config).read_text()
        text = text.replace("data/scenes-regions/", f"{self.regions}/").replace("runs/scenes/", f"{self.work}/")
        return yaml.safe_load(text)

    def pretrain(self, system: str) -> Path:
        """The last checkpoint of a system, trained if that was not done."""
        config, folder = self.read(f"configs/debug/{system}_scenes.yaml"), self.work / system
        config["trainer"] |= {"default_root_dir": str(folder)}
        self.set_classes(config["model"]["objectives"])
        if self.quick:
            make_quick(config)
        fit(self.steps, f"train {system}", config, folder)
        return last_checkpoint(folder)

    def set_classes(self, objectives: dict[str, dict]) -> None:
        """Numbers of classes as the extractor knew them: on a few pictures it saw fewer things."""
        card = read_card(self.regions)
        assert card is not None
        known: Any = card.settings["regions"]
        classes, attributes = len(known["class vocabulary"]), len(known["attribute vocabulary"])
        sizes = {"classes": classes, "objects": classes - 1, "attributes": attributes - 1}
        for objective in objectives.values():
            arguments = objective.get("init_args", {})
            arguments |= {name: size for name, size in sizes.items() if name in arguments}

    def batches(
        self,
        split: str,
        view: View,
        pictures: int,
        negatives: Negatives | None = None,
        kind: str = "scenes",
        size: int = 128,
    ) -> Iterator[Batch]:
        """The examples of the first pictures (of the kind `pairs`: the first pairs) of a split, `size` a batch."""
        source = Source(
            f"{self.regions}/{split}-{kind}-*.tar", RegionView(view, min_confidence=0.2), negatives=negatives
        )
        collator = Collator(CorpusTokenizer(str(self.tokenizer)), None)
        keys: dict[str, None] = {}
        for batch in EvalLoader(source, collator, size, 0, 0, 1):
            yield batch
            keys |= dict.fromkeys(batch.keys)
            if len(keys) >= pictures:
                return


def make_quick(config: dict[str, Any]) -> None:
    """Two small steps in this process."""
    config["trainer"] |= {"max_steps": 2, "val_check_interval": 2, "enable_progress_bar": False}
    config["trainer"] |= {"devices": 1, "strategy": "auto"}
    config["data"] |= {"batch_size": 8, "num_workers": 0}


def fit(steps: Steps, name: str, config: dict[str, Any], folder: Path, **inputs: Any) -> None:
    """Train, or go on where it was killed, unless it was done; the run lies beside its folder, as YAML.

    A run of several processes is started by its command, which is what starts the others.
    """
    file = folder.with_suffix(".yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    words = ["fit", "--config", str(file), "--ckpt_path", "last"]
    alone = config["trainer"].get("devices", 1) == 1
    work = partial(command_line, words) if alone else partial(command, "-m", "vl.train.cli", *words)
    steps.once(name, config | inputs, folder, work)


def last_checkpoint(folder: Path) -> Path:
    """Of a run that was trained to its end."""
    checkpoint = find_checkpoint("last", folder / "checkpoints")
    assert checkpoint is not None
    return checkpoint


def write_answers(shards: str, file: Path, most: int = 300) -> None:
    """The most frequent answers to the questions of some shards."""
    questions, counts = ShardSet(shards, QAView()), Counter[str]()
    for number in range(0, len(questions), max(1, len(questions) // 4000)):
        for question in questions.read(number).record.qa:
            counts.update(question.answers)
    file.write_text(json.dumps([answer for answer, _ in counts.most_common(most)], ensure_ascii=False))
