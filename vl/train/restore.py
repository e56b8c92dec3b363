"""A trained module outside of a run: the model and objectives of a configuration, with the weights of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from vl.checkpoints.safe import load_tensors
from vl.checkpoints.state import load_strict
from vl.train.module import Training


def restore(run: str | Path, checkpoint: str | Path) -> Training:
    """The training module of a run, in evaluation mode.

    Args:
        run: its YAML, of which the section `model` is read.
        checkpoint: a file, or a folder of shards.

    Raises:
        ValueError: the file is no run, or the checkpoint is not of such a model.
    """
    parser = ArgumentParser()
    parser.add_class_arguments(Training, "model")
    tree = {"model": read_section(run, "model")}
    training: Training = parser.instantiate_classes(parser.parse_object(tree)).model
    load_strict(training, load_tensors(checkpoint)["state_dict"], str(checkpoint))
    return training.eval()


def read_section(run: str | Path, name: str) -> dict[str, Any]:
    """A section of a run's YAML.

    Raises:
        ValueError: the file is no YAML, or has no such section.
    """
    try:
        tree = yaml.safe_load(Path(run).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{run} is no YAML: {' '.join(str(error).split())}") from error
    section = tree.get(name) if isinstance(tree, dict) else None
    if not isinstance(section, dict):
        raise ValueError(f"{run} is no run: it has no section {name!r}; give the YAML that was trained")
    return section
