"""A trained module outside of a run: the model and objectives of a configuration, with the weights of a checkpoint."""

from __future__ import annotations

from pathlib import Path

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
        ValueError: the checkpoint is not of such a model.
    """
    parser = ArgumentParser()
    parser.add_class_arguments(Training, "model")
    tree = {"model": yaml.safe_load(Path(run).read_text())["model"]}
    training: Training = parser.instantiate_classes(parser.parse_object(tree)).model
    load_strict(training, load_tensors(checkpoint)["state_dict"], str(checkpoint))
    return training.eval()
