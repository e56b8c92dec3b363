"""Objectives of image tokenizers and of token transformers, against slow loops."""

import importlib.util
from dataclasses import replace
from math import log, pi
from pathlib import Path

import pytest
import torch
from ranks import run_ranks
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F

from vl.batch import Batch, Visual
from vl.draw import Draw
from vl.losses.reconstruction import squeeze_pixels
from vl.models.codebook import GumbelCodebook, MovingAverageCodebook
from vl.models.discrete_vae import DiscreteVAE
from vl.models.vqvae import VQVAE
from vl.objectives.ar_tokens import ARTokens
from vl.objectives.dvae import DVAE
from vl.objectives.schedules import Cosine
from vl.objectives.vqvae import VQ
from vl.ranks import rank

file = Path(__file__).parents[1] / "models/small_transformer.py"
spec = importlib.util.spec_from_file_location("small_transformer", file)
small = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small)


def pictures():
    return Batch(visual=Visual(pixels=torch.rand(2, 3, 16, 16)), keys=("a", "b"))


def test_schedules():
    beta = Cosine(0.0, 6.6, 5000)
    assert beta(0) == 0
    assert beta(2500) == pytest.approx(3.3)
    assert beta(5000) == beta(10**6) == 6.6


def test_dvae_loss_is_the_bound_per_colour_value():
    torch.manual_seed(0)
    model, batch = DiscreteVAE(16, 8, 1, 16, 8).eval(), pictures()
    objective = DVAE(Cosine(2.0, 2.0, 1), Cosine(1.0, 0.5, 10))
    objective.setup(model)
    with torch.no_grad():
        loss = objective(model(batch), batch)
        logp = model.logits(batch.visual.pixels).log_softmax(1)
        mu, log_b = model(batch).pixels.chunk(2, 1)
    x = squeeze_pixels(batch.visual.pixels)
    density = torch.distributions.Laplace(mu, log_b.exp()).log_prob(torch.logit(x)) - torch.log(x * (1 - x))
    kl = (logp.exp() * (logp + log(16))).sum()
    assert loss.count == 2 * 3 * 16 * 16
    assert loss.total.item() == pytest.approx(float(-density.sum() + 2.0 * kl), rel=1e-4)


def test_log_scale_has_a_floor():
    objective = DVAE(Cosine(0.0, 0.0, 1), min_log_scale=-1.0)
    objective.setup(model := DiscreteVAE(16, 8, 1, 16, 8).eval())
    batch, output = pictures(), model(pictures())
    x = squeeze_pixels(batch.visual.pixels)
    # Certain of the right pixel: without a floor the density has no bound.
    maps = torch.cat([torch.logit(x), torch.full_like(x, -50.0)], 1)
    loss = objective(replace(output, pixels=maps), batch)
    expected = (log(2) - 1.0 + torch.log(x * (1 - x))).sum()
    assert loss.total.item() == pytest.approx(float(expected), rel=1e-4)


def start(rows, sharded=False, steps=1):
    """Logits of the cells of 16 pictures before and after the start, from two micro-batches of some of them.

    They are of one step, or of one step each.
    """
    torch.manual_seed(0)
    pixels, model = torch.rand(16, 3, 16, 16), DiscreteVAE(16, 8, 1, 16, 8).train()
    objective = DVAE(start_gap=30.0, start_steps=steps).train()
    objective.setup(model)
    before = model.logits(pixels).detach()
    if sharded:
        fully_shard(model)
    rows = list(rows)
    for some in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        batch = Batch(visual=Visual(pixels=pixels[some]), keys=tuple(map(str, some)))
        objective(model(batch), batch)
        if steps == 2 and some[0] == rows[0]:
            objective.after_step(model)
    if sharded:
        model.reshard()
    objective.after_step(model)
    if sharded:
        model.unshard()
    return [logits.movedim(1, 3).flatten(0, 2) for logits in (before, model.logits(pixels).detach())]


def start_of_a_rank(sharded):
    # So that the cells of both ranks, one after the other, are those of the big batch.
    return start(range(8 * rank(), 8 * rank() + 8), sharded)


def test_codes_begin_as_cells():
    before, after = start(range(16))
    # Each code's logits are, but for one factor, how near cells are to one of them, and no two codes are the same cell.
    nearness = before @ before.T - before.square().sum(1) / 2
    alike = torch.corrcoef(torch.cat([after.T, nearness.T]))[:16, 16:].max(1)
    torch.testing.assert_close(alike.values, torch.ones(16), atol=1e-4, rtol=0)
    assert len(alike.indices.unique()) == 16
    assert (after.amax(1) - after.mean(1)).mean().item() == pytest.approx(30.0, rel=1e-3)


def test_the_start_may_be_that_of_several_steps():
    torch.testing.assert_close(start(range(16), steps=2)[1], start(range(16))[1])


def test_more_codes_than_cells_to_begin_as():
    objective = DVAE(start_gap=30.0).train()
    objective.setup(model := DiscreteVAE(16, 8, 1, 16, 8).train())
    batch = pictures()
    objective(model(batch), batch)
    with pytest.raises(ValueError, match="16 codes begin as 8 cells"):
        objective.after_step(model)


@pytest.mark.parametrize("sharded", [False, True])
def test_two_ranks_start_as_the_big_batch(sharded):
    _, whole = start(range(16))
    for _, logits in run_ranks(start_of_a_rank, sharded, ranks=2):
        torch.testing.assert_close(logits, whole, atol=1e-3, rtol=1e-3)


def test_temperature_follows_the_steps_and_is_saved():
    model = DiscreteVAE(16, 8, 1, 16, 8)
    objective = DVAE(temperature=Cosine(1.0, 0.5, 4))
    objective.setup(model)
    for _ in range(2):
        objective.after_step(model)
    assert model.temperature.item() == pytest.approx(0.75)
    again = DVAE(temperature=Cosine(1.0, 0.5, 4))
    again.load_state_dict(objective.state_dict())
    assert again.step_number == 2


@pytest.mark.parametrize("codebook", [MovingAverageCodebook(16, 4), GumbelCodebook(16, 4)])
def test_vq_loss(codebook):
    torch.manual_seed(0)
    model, batch = VQVAE(codebook, 8, 0, 16).eval(), pictures()
    objective = VQ(variance=0.5, temperature=Cosine(1.0, 0.1, 1) if isinstance(codebook, GumbelCodebook) else None)
    objective.setup(model)
    output = model(batch)
    loss = objective(output, batch)
    error = F.mse_loss(output.pixels, batch.visual.pixels)
    expected = error / 0.5 + output.commitment / output.codes.numel()
    assert float(loss.total / loss.count) == pytest.approx(float(expected), rel=1e-5)
    perplexity, _ = loss.metrics["codes/perplexity"]
    assert 1 <= float(perplexity) <= 16
    objective.after_step(model)
    if isinstance(codebook, GumbelCodebook):
        assert codebook.temperature.item() == pytest.approx(0.1)


@pytest.mark.parametrize("sequence", ["dalle", "cogview"])
@pytest.mark.parametrize("weights", [None, (0.125, 0.875)])
def test_token_loss_equals_a_loop(sequence, weights):
    model, batch = small.transformer(sequence), small.batch()
    objective = ARTokens(*(weights or ()))
    objective.setup(model)
    with torch.no_grad():
        loss = objective(model(batch), batch)
        tokens = model.sequence.whole(batch)
        states = model.run(tokens.inputs())
    parts = {"text": [], "image": []}
    for row in range(3):
        found = {"text": [], "image": []}
        for place in range(1, tokens.ids.shape[1]):
            if not tokens.real[row, place]:
                continue
            kind = "text" if place < tokens.start else "image"
            head = model.sequence.text_logits if kind == "text" else model.sequence.image_logits
            found[kind].append(-head(states[row, place - 1]).log_softmax(0)[tokens.ids[row, place]].item())
        for kind, values in found.items():
            parts[kind].append(values)
    if weights is None:
        every = [value for kind in parts.values() for values in kind for value in values]
        expected = sum(every) / len(every)
    else:
        mean = {kind: [sum(v) / max(len(v), 1) for v in rows] for kind, rows in parts.items()}
        expected = sum(weights[0] * t + weights[1] * i for t, i in zip(mean["text"], mean["image"], strict=True)) / 3
    assert float(loss.total / loss.count) == pytest.approx(expected, rel=1e-4)


def test_texts_are_dropped_by_the_draw():
    batch = small.batch()
    objective = ARTokens(drop_text=0.5)
    first, _ = objective.corrupt(batch, batch.draw)
    again, _ = objective.corrupt(batch, batch.draw)
    assert torch.equal(first.text.mask, again.text.mask)
    never, _ = ARTokens(drop_text=1.0).corrupt(batch, batch.draw)
    assert never.text.mask.sum(1).tolist() == [1, 1, 1]
    assert batch.text.mask.sum(1).tolist() == [7, 5, 1]
    same, _ = ARTokens().corrupt(replace(batch), batch.draw)
    assert same.text.mask.sum() == 13


def test_codes_are_hidden_by_noise_and_learnt_as_they_were():
    """How many of an example's codes are others is drawn for each example; what is to be predicted stays."""
    model, many = small.transformer(), 400
    number = model.sequence.num_image
    codes = torch.zeros(many, number, dtype=torch.long)
    batch = replace(small.batch(), codes=codes, draw=Draw.of(0, 0, 0, torch.arange(many)))
    objective = ARTokens(noise=0.8)
    objective.setup(model)
    noisy, right = objective.corrupt(batch, batch.draw)
    assert torch.equal(noisy.codes, objective.corrupt(batch, batch.draw)[0].codes)
    assert torch.equal(right, codes)
    assert torch.equal(batch.codes, torch.zeros_like(codes))
    codes_of_chance = (model.sequence.num_codes - 1) / model.sequence.num_codes
    shares = (noisy.codes != 0).float().mean(1)
    assert float(shares.mean()) == pytest.approx(0.4 * codes_of_chance, abs=0.03)
    assert float(shares.std()) > 0.15
    assert 0 <= int(noisy.codes.min()) < int(noisy.codes.max()) < model.sequence.num_codes
    batch = small.batch()
    noisy, right = objective.corrupt(batch, batch.draw)
    assert not torch.equal(noisy.codes, batch.codes)
    output = model(noisy)
    expected = ARTokens.forward(objective, output, batch)
    torch.testing.assert_close(objective(output, noisy, right).total, expected.total)


@pytest.mark.parametrize("name", ["noise", "drop_text"])
def test_shares_are_shares(name):
    with pytest.raises(ValueError, match=f"{name} is 1.5; it is a share in 0..1"):
        ARTokens(**{name: 1.5})


def test_weights_are_given_together():
    with pytest.raises(ValueError, match="both text_weight and image_weight"):
        ARTokens(text_weight=pi)
