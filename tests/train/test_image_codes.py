import importlib.util
from pathlib import Path

import pytest
import torch

from vl.batch import Batch, Visual
from vl.checkpoints.bundle import Bundle
from vl.draw import Draw
from vl.train.image_codes import ARTokensOfPixels
from vl.train.module import Training
from vl.train.optim import AdamW

file = Path(__file__).parents[1] / "models/small_transformer.py"
spec = importlib.util.spec_from_file_location("small_transformer", file)
small = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small)


@pytest.fixture
def checkpoint(tmp_path):
    book = {"class_path": "vl.models.codebook.MovingAverageCodebook", "init_args": {"num_codes": 32, "width": 4}}
    model = {"class_path": "vl.models.vqvae.VQVAE", "init_args": {"codebook": book, "width": 8, "image_size": 32}}
    return Bundle.build({"model": model}).save(tmp_path / "tokenizer")


def test_codes_are_made_in_the_step_by_a_tokenizer_that_is_no_part_of_the_module(checkpoint):
    model, objective = small.transformer(), ARTokensOfPixels(str(checkpoint))
    training = Training(model, {"ar": objective}, AdamW(1e-3))
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    batch = Batch(text=small.batch().text, visual=Visual(pixels=pixels), keys=("a", "b", "c"))
    names = set(training.state_dict())
    corrupted, _ = objective.corrupt(batch, Draw.of(0, 0, 0, torch.arange(3)))
    assert torch.equal(corrupted.codes, objective.tokenizer(pixels.device).encode(pixels))
    assert set(training.state_dict()) == names
    assert not any("codebook" in name for name, _ in training.named_parameters())
    assert float(objective(model(corrupted), corrupted).total) > 0
    model.sequence.codes_of = "another"
    with pytest.raises(ValueError, match="not another"):
        ARTokensOfPixels.tokenizer(_fresh(objective, checkpoint), pixels.device)


def _fresh(objective, checkpoint):
    again = ARTokensOfPixels(str(checkpoint))
    again.sequence = objective.sequence
    return again
