"""A trained run judged on its test data: the answers of its tasks, and their metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser

from vl.data.collate import Collator
from vl.data.loader import EvalLoader
from vl.data.mixture import Source
from vl.data.module import ShardData
from vl.tasks.base import Task
from vl.train.module import Training


@dataclass(frozen=True)
class Judged:
    """The answers of one task to one source, in the order of its examples, and what its metric makes of them."""

    answers: list[Mapping[str, Any]]
    metrics: dict[str, float]


def read_data(run: str | Path) -> ShardData:
    """The data of a run, from the section `data` of its YAML."""
    parser = ArgumentParser()
    parser.add_class_arguments(ShardData, "data")
    tree = {"data": yaml.safe_load(Path(run).read_text())["data"]}
    return parser.instantiate_classes(parser.parse_object(tree)).data


def judge(training: Training, data: ShardData, source: Source) -> dict[str, Judged]:
    """Every task of the run on every example of a source, by the task's name.

    Raises:
        ValueError: the run has no task.
    """
    tasks = {name: part for name, part in training.objectives.items() if isinstance(part, Task)}
    if not tasks:
        raise ValueError(f"the run has no task, only objectives: {', '.join(training.objectives)}")
    loader = EvalLoader(source, Collator(data.tokenizer, data.eval_image), data.batch_size, 0, 0, 1)
    answers: dict[str, list[Mapping[str, Any]]] = {name: [] for name in tasks}
    with torch.inference_mode():
        for batch in loader:
            for name, task in tasks.items():
                found = task.predict(training.model, batch)
                answers[name] += found
                if task.metric is not None:
                    task.metric.update(found, batch)
    return {
        name: Judged(answers[name], dict(task.metric.compute()) if task.metric else {}) for name, task in tasks.items()
    }
