"""When checkpoints are saved, and what they hold beside the weights."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
import yaml
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.rank_zero import rank_zero_info

from vl.checkpoints.bundle import portable
from vl.train.checkpoint_folder import TEMPORARY, checkpoint_name, publish, remove, tidy

#: Layout of `checkpoint["vl"]`.
SCHEMA = 1
#: What a process ends with when SIGTERM stopped it: 128 + 15, as a shell reports it. The checkpoint is saved by then.
TERMINATED = 128 + signal.SIGTERM


class Checkpoints(Checkpoint):
    """Saves checkpoints at the ends of optimiser steps, and a last one when training ends or SIGTERM arrives.

    They lie in `checkpoints/` of the run's folder (`trainer.default_root_dir`). Continue with `--ckpt_path last`.

    Args:
        every_steps: Save after every so many optimiser steps; None for never.
        every_minutes: Save when so many minutes have passed since the last save; None for never.
        keep: How many of them are kept, the latest ones.
        best: Name of a validation metric whose best checkpoint is kept too, as `best.ckpt`.
        mode: Whether the best value of that metric is its largest or its smallest.
    """

    def __init__(
        self,
        every_steps: int | None = None,
        every_minutes: float | None = 30.0,
        keep: int = 2,
        best: str | None = None,
        mode: Literal["max", "min"] = "max",
    ) -> None:
        if keep < 1 or (every_steps is not None and every_steps < 1):
            raise ValueError(f"checkpoint: keep ({keep}) and every_steps ({every_steps}) must be at least 1")
        self.every_steps, self.every_minutes, self.keep = every_steps, every_minutes, keep
        self.best, self.mode = best, mode
        #: The run's resolved YAML; set by the command line.
        self.run = ""
        self._best_value: float | None = None
        self._saved_step, self._saved_time = -1, time.monotonic()
        self._terminated = False

    def state_dict(self) -> dict[str, Any]:
        return {"best_value": self._best_value}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best_value = state_dict["best_value"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            folder = _folder(trainer)
            folder.mkdir(parents=True, exist_ok=True)
            tidy(folder, self.keep)
            (folder.parent / "config.yaml").write_text(self.run)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # In place of Lightning's handler, whose collective inside the handler can meet another one of the step.
        signal.signal(signal.SIGTERM, self._on_sigterm)
        self._saved_step, self._saved_time = trainer.global_step, time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        step = trainer.global_step
        # One decision for all ranks: their clocks differ, and a signal may reach only one of them.
        asked = _any_rank(trainer, self._terminated or self._minutes_are_over())
        on_step = self.every_steps is not None and step % self.every_steps == 0
        if (on_step or asked or _is_last(trainer)) and step != self._saved_step:
            self._save(trainer, checkpoint_name(step))
            self._saved_step, self._saved_time = step, time.monotonic()
        if asked and _any_rank(trainer, self._terminated):
            rank_zero_info(f"SIGTERM: step {step} is saved; go on with --ckpt_path last")
            # The launcher takes a failed child for a fault and would kill this process, so only rank 0 says 143.
            raise SystemExit(TERMINATED if trainer.is_global_zero else 0)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.best is None or trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        if self.best not in trainer.callback_metrics:
            raise ValueError(f"checkpoint.best: validation logs no {self.best!r}; it logs {_names(trainer)}")
        value = float(trainer.strategy.broadcast(trainer.callback_metrics[self.best].item()))
        sign = 1 if self.mode == "max" else -1
        if self._best_value is None or sign * value > sign * self._best_value:
            self._best_value = value
            self._save(trainer, "best.ckpt")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        config = yaml.safe_load(self.run)
        data = trainer.datamodule  # type: ignore[attr-defined]
        files = data.tokenizer.files() if data.tokenizer is not None else {}
        checkpoint["vl"] = {
            "schema": SCHEMA,
            "config": {
                "model": portable(config["model"]["model"]),
                "tokenizer": config["data"].get("tokenizer"),
                "image": config["data"].get("eval_image") or config["data"].get("image"),
            },
            "files": {name: torch.frombuffer(bytearray(content), dtype=torch.uint8) for name, content in files.items()},
            "run": self.run,
            "data": data.fingerprint(),
        }

    def _save(self, trainer: Trainer, name: str) -> None:
        final = _folder(trainer) / name
        temporary = final.with_name(name + TEMPORARY)
        if trainer.is_global_zero:
            remove(temporary)
        trainer.strategy.barrier("before saving")
        trainer.save_checkpoint(temporary, weights_only=False)
        if trainer.is_global_zero:
            publish(temporary, final)
            tidy(final.parent, self.keep)
        trainer.strategy.barrier("after saving")

    def _minutes_are_over(self) -> bool:
        return self.every_minutes is not None and time.monotonic() - self._saved_time > 60 * self.every_minutes

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True


def describe_changes(saved: str, now: str) -> list[str]:
    """`key: old -> new` for every setting in which the YAML of a checkpoint and of this run differ."""
    old, new = _flatten(yaml.safe_load(saved)), _flatten(yaml.safe_load(now))
    missing = "(not set)"
    return [
        f"{key}: {old.get(key, missing)} -> {new.get(key, missing)}"
        for key in sorted({*old, *new})
        if old.get(key, missing) != new.get(key, missing) and key != "ckpt_path"
    ]


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    leaves = {key: leaf for name, branch in items for key, leaf in _flatten(branch, f"{prefix}{name}.").items()}
    return leaves if isinstance(tree, dict | list) and tree else {prefix[:-1]: tree}


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "checkpoints"


def _is_last(trainer: Trainer) -> bool:
    """Whether the step that has just ended is the last one of training."""
    last_batch = trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs
    return trainer.should_stop or last_batch or trainer.global_step == trainer.max_steps


def _any_rank(trainer: Trainer, value: bool) -> bool:
    return value if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(value, all=False)


def _names(trainer: Trainer) -> str:
    return ", ".join(sorted(trainer.callback_metrics)) or "nothing"
