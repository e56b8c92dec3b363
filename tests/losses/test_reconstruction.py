from math import log

import pytest
import torch

from vl.losses.reconstruction import (
    code_perplexity,
    kl_to_uniform,
    logit_laplace_nll,
    squeeze_pixels,
    unsqueeze_pixels,
)


@pytest.mark.parametrize(("mu", "b"), [(0.3, 0.8), (-1.0, 0.2), (2.0, 1.5)])
def test_logit_laplace_integrates_to_one(mu, b):
    edges = torch.sigmoid(torch.linspace(-40, 40, 400_001, dtype=torch.float64))
    middle = (edges[1:] + edges[:-1]) / 2
    nll = logit_laplace_nll(middle, torch.full_like(middle, mu), torch.full_like(middle, log(b)))
    inside = (middle > 0) & (middle < 1)
    assert float((torch.exp(-nll) * edges.diff())[inside].sum()) == pytest.approx(1, abs=1e-5)


def test_logit_laplace_by_hand():
    x, mu, log_b = torch.tensor([0.5]), torch.tensor([1.0]), torch.tensor([log(2.0)])
    # 1 / (2 b x (1 - x)) exp(-|0 - 1| / b) with b = 2.
    assert torch.exp(-logit_laplace_nll(x, mu, log_b)).item() == pytest.approx(torch.exp(torch.tensor(-0.5)).item())


def test_pixels_come_back():
    pixels = torch.linspace(0, 1, 11)
    torch.testing.assert_close(squeeze_pixels(pixels)[[0, -1]], torch.tensor([0.1, 0.9]))
    torch.testing.assert_close(unsqueeze_pixels(squeeze_pixels(pixels)), pixels)


def test_divergence_of_a_certain_code_and_of_an_undecided_cell():
    logits = torch.zeros(2, 8192)
    logits[0, 17] = 1e4
    torch.testing.assert_close(kl_to_uniform(logits), torch.tensor([log(8192), 0.0]), atol=1e-4, rtol=0)


def test_perplexity_counts_the_codes_that_are_used_alike():
    assert code_perplexity(torch.tensor([5, 5, 0, 5, 5])).item() == pytest.approx(4)
    assert code_perplexity(torch.tensor([7, 0, 0])).item() == pytest.approx(1)
