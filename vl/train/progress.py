"""Progress of a run: a bar on a terminal, a line now and then elsewhere; samples/s and MFU in the logs.

MFU (model FLOPs utilisation; Chowdhery et al. 2022, "PaLM", arXiv:2204.02311, appendix B): the share of the machine's
matrix-multiplication peak that a step's FLOPs make use of. Both are measured: the peak by a short product at the run's
precision when training starts, the FLOPs by counting those of the first step of every set of objectives (counting
takes longer than such a step does). Frozen towers that remember do less from step to step: with them there is no MFU.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from torch.utils.flop_counter import FlopCounterMode

from vl.batch import Batch
from vl.models.cached import CachedImage, CachedText


class Progress(ProgressBar):
    """Shows and logs `train/samples_per_second` and `train/mfu`.

    Args:
        every_seconds: How often a line is printed where there is no terminal.
        mfu: Measure the peak (about half a second) and count the FLOPs of the first step of every set of objectives.
    """

    def __init__(self, every_seconds: float = 10.0, mfu: bool = True) -> None:
        super().__init__()
        self.every_seconds, self.mfu = every_seconds, mfu
        self._console = Console(stderr=True)
        self._bar: RichProgress | None = None
        self._counter: FlopCounterMode | None = None
        self._peak = self._flops = 0.0
        self._flops_a_sample: dict[tuple[str, ...], float] = {}
        self._printed = self._since = 0.0
        self._paused = 0.0
        self._samples = 0
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.mfu = self.mfu and not any(isinstance(part, CachedImage | CachedText) for part in pl_module.modules())
        if self.mfu:
            self._peak = matmul_peak(pl_module.device, _dtype(trainer))
        if self._enabled and self._console.is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            self._bar = RichProgress(*columns, TextColumn("{task.fields[figures]}"), console=self._console)
            self._bar.add_task("train", total=_total_steps(trainer), completed=trainer.global_step, figures="")
            self._bar.start()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Sequence[Batch], batch_idx: int
    ) -> None:
        if self.mfu and batch[0].objectives not in self._flops_a_sample:
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Sequence[Batch], batch_idx: int
    ) -> None:
        now = time.monotonic()
        size = sum(map(len, batch))
        self._end_count(batch[0].objectives, size)
        if not self._since:  # The first step warms up; the clock starts after it.
            self._since = self._printed = now
            return
        self._samples += size * trainer.world_size
        self._flops += size * self._flops_a_sample.get(batch[0].objectives, 0.0)
        figures = self._figures(now - self._since)
        pl_module.log_dict(figures, batch_size=1)
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._samples, self._flops, self._since = 0, 0.0, now
        if self._enabled and trainer.is_global_zero:
            self._show(trainer, figures, now)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._paused = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since += time.monotonic() - self._paused
        if self._enabled and trainer.is_global_zero and not trainer.sanity_checking:
            figures = {name: float(value) for name, value in trainer.callback_metrics.items() if name[:5] != "train"}
            self._console.print(f"step {trainer.global_step}: {_format(figures)}", highlight=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._end_count((), 1)
        self._close()

    def _figures(self, seconds: float) -> dict[str, float]:
        """Speed since the last figures that were logged."""
        figures = {"train/samples_per_second": self._samples / seconds}
        if self._peak and self._flops:
            figures["train/mfu"] = self._flops / seconds / self._peak
        return figures

    def _show(self, trainer: Trainer, figures: dict[str, float], now: float) -> None:
        loss = trainer.callback_metrics.get("train/loss")
        text = _format({"loss": float("nan") if loss is None else float(loss), **figures})
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=trainer.global_step, figures=text)
        elif now - self._printed > self.every_seconds:
            total = _total_steps(trainer)
            self._console.print(f"step {trainer.global_step}/{total or '?'}: {text}", highlight=False)
            self._printed = now

    def _end_count(self, objectives: tuple[str, ...], size: int) -> None:
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self._flops_a_sample[objectives] = self._counter.get_total_flops() / size
            self._counter = None

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def matmul_peak(device: torch.device, dtype: torch.dtype, size: int = 1024, seconds: float = 0.3) -> float:
    """The FLOPs a second of the best of several square products: what 100% MFU means on this machine."""
    left, right = torch.randn(2, size, size, device=device).to(dtype)
    best = float("inf")
    end = time.monotonic() + seconds
    while time.monotonic() < end or best == float("inf"):
        _synchronize(device)
        start = time.perf_counter()
        torch.mm(left, right)
        _synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _dtype(trainer: Trainer) -> torch.dtype:
    precision = str(trainer.precision)
    return torch.bfloat16 if "bf16" in precision else torch.float16 if precision.startswith("16") else torch.float32


def _total_steps(trainer: Trainer) -> int | None:
    total = trainer.estimated_stepping_batches
    return None if total == float("inf") else int(total)


def _format(figures: dict[str, float]) -> str:
    return "  ".join(f"{name.removeprefix('train/')} {value:.4g}" for name, value in figures.items())
