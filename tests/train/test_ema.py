"""The running mean of the weights."""

import pytest
import torch
from tiny import Data, trainer, training
from torch import nn

from vl.train.ema import EMA, averaged


def linear(value):
    module = nn.Linear(1, 1)
    nn.init.constant_(module.weight, value)
    nn.init.zeros_(module.bias)
    return module


def test_by_hand():
    """Decay 0.2 after the first step, then 2/11 of the weights... as min(decay, (1 + step) / (10 + step)) says."""
    module, ema = linear(0.0), EMA(0.15)
    ema.attach(module)
    expected = 0.0
    for step, value in enumerate([1.0, 2.0, 5.0]):
        nn.init.constant_(module.weight, value)
        ema.update(module, step)
        decay = min(0.15, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert ema.get_buffer("weight").item() == pytest.approx(expected)


def test_swapped_is_undone_even_by_an_error():
    module, ema = linear(1.0), EMA(0.5)
    ema.attach(module)
    nn.init.constant_(module.weight, 3.0)

    def fail():
        with ema.swapped(module):
            assert module.weight.item() == 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert module.weight.item() == 3
    assert ema.get_buffer("weight").item() == 1


def test_validation_uses_the_mean_and_training_goes_on_with_the_weights():
    found = []
    for validate in (False, True):
        run = trainer()
        module = training(ema=EMA(0.9, validate=validate))
        run.fit(module, datamodule=Data(val=20))
        found.append((run.callback_metrics["val/loss"].item(), module.state_dict()))
    assert found[0][0] != found[1][0]
    torch.testing.assert_close(found[0][1], found[1][1], rtol=0, atol=0)
    weights = averaged(found[1][1])
    assert weights.keys() == training().state_dict().keys()
    module = training()
    module.load_state_dict(weights)
    run.validate(module, datamodule=Data(val=20), verbose=False)
    assert run.callback_metrics["val/loss"].item() == pytest.approx(found[1][0], rel=1e-6)
