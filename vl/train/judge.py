"""A trained run judged on its test data: the answers of its tasks, and their metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jsonargparse import ArgumentParser

from vl.data.collate import Collator
from vl.data.loader import EvalLoader
from vl.data.mixture import Source
from vl.data.module import ShardData
from vl.evaluation.submissions import mean_by_image
from vl.metrics.recall import bootstrap
from vl.tasks.base import Task
from vl.tasks.ensemble import Ensemble
from vl.train.module import Training
from vl.train.restore import read_section


@dataclass(frozen=True)
class Judged:
    """The answers of one task to one source, and what its metric makes of them; `keys` names their examples."""

    answers: list[Mapping[str, Any]]
    metrics: dict[str, float]
    keys: tuple[str, ...]

    def interval(self, samples: int = 2000) -> dict[str, float]:
        """The ends of the 95% bootstrap interval of the mean accuracy, pictures drawn with what is asked of them.

        Raises:
            ValueError: the answers do not say how right they are.
        """
        if not all("accuracy" in answer for answer in self.answers):
            raise ValueError("the answers carry no accuracy of their own: an interval takes a task whose answers do")
        score, pictures = mean_by_image([answer["accuracy"] for answer in self.answers], self.keys)
        found = bootstrap(score, pictures, samples=samples)
        return {"accuracy/low": found.low, "accuracy/high": found.high}


def read_data(run: str | Path) -> ShardData:
    """The data of a run, from the section `data` of its YAML.

    Raises:
        ValueError: the file is no run.
    """
    parser = ArgumentParser()
    parser.add_class_arguments(ShardData, "data")
    tree = {"data": read_section(run, "data")}
    return parser.instantiate_classes(parser.parse_object(tree)).data


def judge(trainings: Sequence[Training], data: ShardData, source: Source) -> dict[str, Judged]:
    """Every task of the run on every example of a source, by the task's name; several checkpoints answer together.

    Raises:
        ValueError: the run has no task, or one in which several cannot answer together.
    """
    training = trainings[0]
    tasks = {name: part for name, part in training.objectives.items() if isinstance(part, Task)}
    if not tasks:
        raise ValueError(f"the run has no task, only objectives: {', '.join(training.objectives)}")
    voices = {name: Ensemble([(one.model, cast(Task, one.objectives[name])) for one in trainings]) for name in tasks}
    loader = EvalLoader(source, Collator(data.tokenizer, data.eval_image), data.batch_size, 0, 0, 1)
    answers: dict[str, list[Mapping[str, Any]]] = {name: [] for name in tasks}
    keys: list[str] = []
    with torch.inference_mode():
        for batch in loader:
            keys += batch.keys
            for name, task in tasks.items():
                found = voices[name].predict(batch)
                answers[name] += found
                if task.metric is not None:
                    task.metric.update(found, batch)
    return {
        name: Judged(answers[name], dict(task.metric.compute()) if task.metric else {}, tuple(keys))
        for name, task in tasks.items()
    }
