"""What an evaluation adds up: the same numbers at any number of ranks, whichever examples each of them saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from vl.batch import Batch, Encoded, Loss, Reconstruction
from vl.models.base import VLModel
from vl.objectives.base import Objective
from vl.ranks import gather_objects, rank, world_size
from vl.tasks.base import Task
from vl.train import whole_batch

#: How many examples a whole-batch loss sees at once in evaluation: all of a smaller set, else this many at a time in
#: the order of the examples' ids.
WHOLE = 8192


@dataclass
class Scores:
    """The sums of one evaluation loader on this rank. Ranks communicate in `results` alone, so they may have had
    different numbers of batches, also none."""

    objectives: Mapping[str, Objective]
    device: torch.device
    sums: dict[str, tuple[float, float]] = field(default_factory=dict)
    kept: dict[str, list[tuple[Tensor, Batch, Encoded]]] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(init=False)

    def __post_init__(self) -> None:
        tasks = {name: part for name, part in self.objectives.items() if isinstance(part, Task)}
        self.metrics = {name: task.metric.clone().to(self.device) for name, task in tasks.items() if task.metric}

    def add(self, name: str, loss: Loss) -> None:
        """Add a loss of the objective `name`, and its metrics."""
        for metric, (total, count) in {"loss": (loss.total, loss.count), **loss.metrics}.items():
            old_total, old_count = self.sums.get(f"{name}/{metric}", (0.0, 0.0))
            self.sums[f"{name}/{metric}"] = (old_total + float(total), old_count + float(count))

    def keep(self, name: str, batch: Batch, output: Encoded) -> None:
        """Keep what a whole-batch objective needs of these examples; it is scored in `results`."""
        kept = whole_batch.keep(output, self.objectives[name].needs).to("cpu")
        self.kept.setdefault(name, []).append((batch.draw.examples.cpu(), Batch(keys=batch.keys), kept))

    def answer(self, name: str, answers: Sequence[Mapping[str, Any]], batch: Batch) -> None:
        """Update the metric of the task `name`."""
        if name in self.metrics:
            self.metrics[name].update(answers, batch)

    def results(self) -> dict[str, float]:
        """Every loss and metric over all ranks, by name."""
        self._score_kept()
        totals: dict[str, list[float]] = {}
        for sums in gather_objects(self.sums):
            for name, (total, count) in sums.items():
                entry = totals.setdefault(name, [0.0, 0.0])
                entry[0], entry[1] = entry[0] + total, entry[1] + count
        means = {name: total / max(count, 1) for name, (total, count) in totals.items()}
        for name, metric in self.metrics.items():
            found = metric.compute()
            values = found if isinstance(found, Mapping) else {"metric": found}
            means |= {f"{name}/{key}": float(value) for key, value in values.items()}
        return means

    def _score_kept(self) -> None:
        """Score what was kept, all ranks' examples together in the order of their ids."""
        gathered: dict[str, list[tuple[Tensor, Batch, Encoded]]] = {}
        for kept in gather_objects(self.kept):
            for name, parts in kept.items():
                gathered.setdefault(name, []).extend(parts)
        for name, parts in gathered.items():
            examples, batches, outputs = zip(*parts, strict=True)
            keys = [key for batch in batches for key in batch.keys]
            pieces = torch.cat(examples).argsort(stable=True).split(WHOLE)
            output = whole_batch.join(outputs)
            for rows in pieces[rank() :: world_size()]:
                batch = Batch(keys=tuple(keys[i] for i in rows.tolist()))
                chosen = whole_batch.select(output, len(keys), rows).to(self.device)
                self.add(name, self.objectives[name](chosen, batch, None))


def loader_names(loaders: Any) -> list[str]:
    """The names of evaluation loaders: their keys, their numbers, or nothing for a single one."""
    if isinstance(loaders, Mapping):
        return list(loaders)
    return [str(i) for i in range(len(loaders))] if isinstance(loaders, list) else [""]


def answers(task: Task, model: VLModel, output: Encoded | Reconstruction, batch: Batch) -> Sequence[Mapping[str, Any]]:
    """A task's answers, from the output that is there already unless it predicts in another way."""
    usual = type(task).predict is Task.predict
    return task.answer(output, batch) if usual else task.predict(model, batch)
