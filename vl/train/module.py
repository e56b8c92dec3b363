"""Training: a model, the objectives it is trained by, and one optimiser step a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn

from vl.batch import Batch, Encoded, Loss, Reconstruction
from vl.checkpoints.start import StartWeights
from vl.checkpoints.state import require_fit
from vl.draw import Draw
from vl.models.base import VLModel
from vl.objectives.base import Objective
from vl.ranks import rank, world_size
from vl.tasks.base import Task
from vl.train.ema import EMA
from vl.train.optim import AdamW
from vl.train.scores import Scores, answers, loader_names
from vl.train.strategies import gradient_sync, shard, unsharded
from vl.train.tally import Tally
from vl.train.whole_batch import gradients, keep, send

T = TypeVar("T")
Output = Encoded | Reconstruction


class Training(pl.LightningModule):
    """Pretraining and fine-tuning alike: corrupt the batch, run the model once, sum the objectives' losses, step.

    A batch names the objectives it trains (`Batch.objectives`; none means all). The loss of an objective is its sum
    over its count, both over all ranks. Over accumulated micro-batches the mean of their losses is taken; a
    `whole_batch` objective scores them together, as one batch.

    Args:
        model: what is trained.
        objectives: what it is trained by, tasks among them; batches are corrupted in this order.
        optimizer: how.
        weights: factors on the objectives' losses, 1 where not named.
        init: start weights, loaded in this order when `fit` starts anew, never when it resumes.
        ema: a running mean of the weights.
        seed: of dropout, whose masks are a function of (seed, step, micro-batch, rank).
    """

    def __init__(
        self,
        model: VLModel,
        objectives: dict[str, Objective],
        optimizer: AdamW,
        weights: dict[str, float] | None = None,
        init: Sequence[StartWeights] = (),
        ema: EMA | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        check(model, objectives, weights or {})
        for objective in objectives.values():
            objective.setup(model)
        self.model, self.ema = model, ema
        self.objectives: Mapping[str, Objective] = nn.ModuleDict(objectives)  # type: ignore[assignment]
        self.optimizer, self.init, self.seed = optimizer, tuple(init), seed
        self.weights = dict.fromkeys(objectives, 1.0) | (weights or {})

    def setup(self, stage: str) -> None:
        if self.trainer.precision == "16-mixed":
            raise ValueError("precision 16-mixed scales the gradients that are clipped here; use bf16-mixed or 32-true")
        # The data module splits by rank itself; a DistributedSampler on top would drop examples with no warning.
        self.trainer._accelerator_connector.use_distributed_sampler = False
        data: Any = getattr(self.trainer, "datamodule", None)
        for name in ("image", "eval_image"):
            found = getattr(data, name, None)
            if found is not None and self.model.image_size not in (None, found.size):
                raise ValueError(
                    f"data.{name} makes pictures of {found.size} pixels a side, but the model's image_size is "
                    f"{self.model.image_size}; set the size of data.{name} to it, or image_size in model.model"
                )
        for source in getattr(data, "train", ()):
            self.active(Batch(objectives=tuple(source.objectives)))

    def configure_model(self) -> None:
        """Load start weights, then shard, then start the running mean: each needs the one before."""
        if getattr(self, "is_configured", False):
            return
        self.is_configured = True
        if self.trainer.training and self.trainer.ckpt_path is None:
            for start in self.init:
                start(getattr(self, start.of))
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            shard(self, self.model)
        if self.ema:
            self.ema.attach(self)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        self.groups = self.optimizer.groups(self, self.model)
        rank_zero_info("parameters:\n  " + "\n  ".join(map(str, self.groups)))
        return self.optimizer.build(self.groups, dict(self.named_parameters()))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on from weights of another architecture; sharded ones are checked as they are read, and an
        evaluation may be at another picture size."""
        if self.trainer.training and "state_dict" in checkpoint:
            require_fit(self.state_dict(), checkpoint["state_dict"], "the checkpoint")

    def on_train_start(self) -> None:
        self.total_steps = self.optimizer.require_length(self.trainer.estimated_stepping_batches)

    def forward(self, method: Callable[..., T], *args: Any) -> T:
        """`method(*args)`, while FSDP2 holds the parameters whole: all that reads one happens inside."""
        return method(*args)

    def active(self, batch: Batch) -> dict[str, Objective]:
        """The objectives a batch is for, in the order in which they corrupt it."""
        names = batch.objectives or tuple(self.objectives)
        if unknown := set(names) - self.weights.keys():
            raise ValueError(f"a source names objectives {sorted(unknown)}; the run has {sorted(self.weights)}")
        if len(names) > 1 and (alone := [name for name in names if self.objectives[name].steps_alone]):
            raise ValueError(f"objective {alone[0]} steps alone; give it a source of its own, not {sorted(names)}")
        return {name: part for name, part in self.objectives.items() if name in names}

    def encode(self, batch: Batch) -> tuple[Output, Batch, dict[str, Any]]:
        """The model's output for the corrupted batch, that batch, and the objectives' targets."""
        targets = {}
        for name, objective in self.active(batch).items():
            batch, targets[name] = objective.corrupt(batch, batch.draw.fold(name))
        return self.model(batch), batch, targets

    def losses(self, batch: Batch, whole_batch: bool) -> tuple[Output | None, dict[str, Loss]]:
        """The model's output and each objective's loss; those of whole batches only if asked for."""
        objectives = self.active(batch)
        for name, objective in objectives.items():
            if objective.steps_alone:
                return None, {name: objective.step(self.model, batch, batch.draw.fold(name))}
        output, corrupted, targets = self.encode(batch)
        scored = {name: part for name, part in objectives.items() if whole_batch or not part.whole_batch}
        return output, {name: part(output, corrupted, targets[name]) for name, part in scored.items()}

    # Training

    def training_step(self, batches: Sequence[Batch], batch_idx: int) -> None:
        """One step of the optimiser, from this rank's micro-batches of it."""
        step: int = self.global_step
        optimizer: Any = self.optimizers()
        factor = self.optimizer.update(optimizer, self.groups, step, self.total_steps)
        tally = Tally(step, self.weights)
        for micro, (batch, sent) in enumerate(zip(batches, self.gradients_to_send(batches, tally), strict=True)):
            self.seed_dropout(step, micro)
            loss = self(self.loss, batch, tally, sent, 1 / len(batches))
            with gradient_sync(self, enabled=micro == len(batches) - 1):
                self.manual_backward(loss)
        norm = self.optimizer.clip(self.parameters())
        tally.require_finite("gradient", norm, None, all_keys(batches))
        optimizer.step()
        optimizer.zero_grad()
        for objective in self.active(batches[0]).values():
            objective.after_step(self.model)
        if self.ema:
            self.ema.update(self, step)
        values: dict[str, Any] = tally.results() | {"gradient_norm": norm, "lr": self.optimizer.lr * factor}
        size = sum(map(len, batches)) * world_size()
        self.log_dict({f"train/{name}": value for name, value in values.items()}, batch_size=size)

    def loss(self, batch: Batch, tally: Tally, sent: Encoded | None, share: float) -> Tensor:
        """What one micro-batch goes backward from: its share of the loss, and the gradient sent to its output."""
        output, losses = self.losses(batch, whole_batch=sent is None)
        loss = share * tally.mean(losses, output, batch.keys)
        return loss if sent is None else loss + send(sent, output)

    def gradients_to_send(self, batches: Sequence[Batch], tally: Tally) -> list[Encoded | None]:
        """The gradient of the whole-batch losses at each micro-batch's output; None where there is nothing to send."""
        objectives = {name: part for name, part in self.active(batches[0]).items() if part.whole_batch}
        if len(batches) == 1 or not objectives:
            return [None] * len(batches)
        needs = frozenset().union(*(part.needs for part in objectives.values()))
        outputs = []
        for micro, batch in enumerate(batches):
            self.seed_dropout(tally.step, micro)
            with torch.no_grad():
                outputs.append(keep(self(self.encode, batch)[0], needs))
        keys = all_keys(batches)

        def score(output: Encoded) -> Tensor:
            losses = {name: part(output, Batch(keys=keys), None) for name, part in objectives.items()}
            return tally.mean(losses, output, keys)

        return gradients(score, outputs)

    def seed_dropout(self, step: int, micro: int) -> None:
        """Make the masks a function of where they are drawn, so that no generator's state needs saving."""
        place = Draw.of(self.seed, step, micro, torch.tensor([rank()]))
        torch.manual_seed(int(place.fold("dropout").bits()))

    # Evaluation

    def on_evaluation_start(self, loaders: Any = None) -> None:
        """Go over to the running mean if asked, and to whole parameters, as ranks may differ in batches."""
        self.evaluation = ExitStack()
        if self.ema and self.ema.validate:
            self.evaluation.enter_context(self.ema.swapped(self))
        self.evaluation.enter_context(unsharded(self))
        self.scores = {name: Scores(dict(self.objectives), self.device) for name in loader_names(loaders)}

    def evaluation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Add every objective's loss and every task's answers to the scores of this loader."""
        scores = list(self.scores.values())[dataloader_idx]
        output, losses = self(self.losses, batch, False)
        for name, loss in losses.items():
            scores.add(name, loss)
        for name, objective in self.active(batch).items():
            if objective.whole_batch:
                scores.keep(name, batch, output)
            if isinstance(objective, Task):
                scores.answer(name, self(answers, objective, self.model, output, batch), batch)

    def on_evaluation_end(self, stage: str) -> None:
        """Log the scores of all ranks, then go back to the sharded weights, before a checkpoint is saved."""
        losses = []
        for loader, scores in self.scores.items():
            results = scores.results()
            results["loss"] = sum(self.weights[name] * results.get(f"{name}/loss", 0.0) for name in self.weights)
            losses.append(results["loss"])
            prefix = f"{stage}/{loader}/" if loader else f"{stage}/"
            self.log_dict({prefix + name: value for name, value in results.items()}, batch_size=1, sync_dist=True)
        if len(losses) > 1:
            self.log(f"{stage}/loss", sum(losses) / len(losses), batch_size=1, sync_dist=True)
        self.evaluation.close()

    def on_validation_epoch_start(self) -> None:
        self.on_evaluation_start(self.trainer.val_dataloaders)

    def on_test_epoch_start(self) -> None:
        self.on_evaluation_start(self.trainer.test_dataloaders)

    def on_predict_epoch_start(self) -> None:
        self.on_evaluation_start()

    validation_step = test_step = evaluation_step

    def on_validation_epoch_end(self) -> None:
        self.on_evaluation_end("val")

    def on_test_epoch_end(self) -> None:
        self.on_evaluation_end("test")

    def on_predict_epoch_end(self) -> None:
        self.evaluation.close()

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> list[dict[str, Any]]:
        """Every task's answers to the batch, each with the task's name."""
        tasks = {name: part for name, part in self.active(batch).items() if isinstance(part, Task)}
        return [
            {"task": name, **answer} for name, task in tasks.items() for answer in self(task.predict, self.model, batch)
        ]


def check(model: VLModel, objectives: Mapping[str, Objective], weights: Mapping[str, float]) -> None:
    """Refuse objectives that cannot be trained with this model, and weights of none.

    Raises:
        ValueError: there is no objective, a model lacks what one needs, or a weight names none.
    """
    if not objectives:
        raise ValueError("there is nothing to train by: name at least one objective in model.objectives")
    for name, objective in objectives.items():
        if missing := objective.needs - model.provides:
            raise ValueError(
                f"objective {name} ({type(objective).__name__}) needs {sorted(missing)}, which {type(model).__name__} "
                f"does not provide; it provides {sorted(model.provides)}"
            )
    if unknown := weights.keys() - objectives.keys():
        raise ValueError(f"weights name {sorted(unknown)}; the objectives are {sorted(objectives)}")


def all_keys(batches: Sequence[Batch]) -> tuple[str, ...]:
    return tuple(key for batch in batches for key in batch.keys)
