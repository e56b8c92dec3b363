"""A tiny model with random weights, saved as our folder."""

import torch
from evaluation.small import CONFIG

from vl.checkpoints.bundle import Bundle
from vl.checkpoints.foreign import clip_trees


def save_tiny_model(folder):
    torch.manual_seed(0)
    return Bundle.build(clip_trees(CONFIG, {"mean": [0.5] * 3, "std": [0.25] * 3})).save(folder)
