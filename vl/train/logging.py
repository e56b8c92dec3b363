"""What a run writes down beside its checkpoints: figures, the examples of each step, answers."""

from __future__ import annotations

import csv
import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from itertools import cycle
from operator import itemgetter
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import distributed

from vl.batch import Batch


class CsvLog(Logger):
    """`metrics.csv`: a row a step, a column a metric. A resumed run goes on in the same file.

    Rows that a killed run wrote after the checkpoint it continues from are taken out, so every step is there once.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self._file = Path(folder) / "metrics.csv"
        self._columns: list[str] = []
        self._row: dict[str, Any] = {}
        self._started = False

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self._file.parent)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's `config.yaml` lies beside the file."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._row and step != self._row["step"]:
            self._write()
        self._row |= {"step": step, **metrics}

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._row:
            self._write()

    def _write(self) -> None:
        """Append the row of a step, once all that is logged of the step is there."""
        row, self._row = self._row, {}
        if not self._started:
            self._start(row)
        if new := [name for name in row if name not in self._columns]:
            self._rewrite(self._rows(), self._columns + new)
        with self._file.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def _start(self, row: dict[str, Any]) -> None:
        """Keep of an earlier part of the run what lies before this step."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        rows = [old for old in self._rows() if int(old["step"]) < int(row["step"])]
        self._rewrite(rows, list(rows[0]) if rows else list(row))
        self._started = True

    def _rows(self) -> list[dict[str, str]]:
        if not self._file.exists():
            return []
        with self._file.open(newline="") as file:
            return list(csv.DictReader(file))

    def _rewrite(self, rows: list[dict[str, str]], columns: list[str]) -> None:
        self._columns = columns
        with self._file.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)


class StepLog(Callback):
    """`steps.jsonl`: step, loss and the keys of the global batch, a line a step; for comparing runs exactly.

    Keys stand in the order of the global batch whatever the number of ranks. Add it by
    `--trainer.callbacks+=vl.train.logging.StepLog`.
    """

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Sequence[Batch], batch_idx: int
    ) -> None:
        keys = _gather([part.keys for part in batch])
        if trainer.is_global_zero:
            loss = float(trainer.callback_metrics["train/loss"])
            # Micro-batch by micro-batch, row i of rank 0, row i of rank 1, ...
            rows = [key for micro in zip(*keys, strict=True) for row in zip(*micro, strict=True) for key in row]
            line = {"step": trainer.global_step, "loss": loss, "keys": rows}
            with (Path(trainer.default_root_dir) / "steps.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")


class Answers(Callback):
    """`answers.jsonl`: the answers of `vl predict`, a line an example, in their order whatever the number of ranks."""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        part = _part(trainer, trainer.global_rank)
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text("")

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        places = [(dataloader_idx, example) for example in batch.draw.examples.tolist()]
        with _part(trainer, trainer.global_rank).open("a") as file:
            for place, answer in zip(cycle(places), outputs, strict=False):  # one task's answers after another's
                file.write(json.dumps([place, answer], ensure_ascii=False) + "\n")

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.strategy.barrier("answers")
        if trainer.is_global_zero:
            parts = [_part(trainer, rank) for rank in range(trainer.world_size)]
            rows = sorted((json.loads(row) for part in parts for row in part.open()), key=itemgetter(0))
            with (Path(trainer.default_root_dir) / "answers.jsonl").open("w") as file:
                file.writelines(json.dumps(answer, ensure_ascii=False) + "\n" for _, answer in rows)
            for part in parts:
                part.unlink()


def _part(trainer: Trainer, rank: int) -> Path:
    return Path(trainer.default_root_dir) / f"answers.{rank}.jsonl"


def _gather(value: Any) -> list[Any]:
    """The values of all ranks, in their order."""
    if not distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values
