"""Generation: what its noise depends on, completion, guidance, sampling, reranking, captions, super-resolution."""

import importlib.util
from pathlib import Path

import pytest
import torch

from vl.batch import Batch
from vl.data.tokenizers import Tokenizer
from vl.evaluation.caption_pictures import caption_pictures
from vl.evaluation.generate import generate
from vl.evaluation.magnify import magnify
from vl.evaluation.rerank import caption_loss, caption_scores
from vl.evaluation.sampling import Sampling
from vl.models.reversed_sequence import CogViewCaption, CogViewMagnify, DalleCaption
from vl.objectives.ar_tokens import ARTokens

file = Path(__file__).parents[1] / "models/small_transformer.py"
spec = importlib.util.spec_from_file_location("small_transformer", file)
small = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small)


@pytest.mark.parametrize("sequence", ["dalle", "cogview"])
def test_a_candidate_depends_on_the_seed_and_its_number_alone(sequence):
    model, batch = small.transformer(sequence, "dalle"), small.batch()
    codes = generate(model, batch, 4, seed=5)
    assert codes.shape == (3, 4, 16)
    alone = generate(model, batch, [2], seed=5)
    row = Batch(text=batch.text.rows(torch.tensor([1])))
    one = generate(model, row, [3, 2], seed=5)
    differing = (codes[:, 2:3] != alone).sum() + (codes[1:2, [3, 2]] != one).sum()
    assert int(differing) == 0
    assert not torch.equal(codes, generate(model, batch, 4, seed=6))
    assert codes[0].unique(dim=0).shape[0] == 4


def test_completion_keeps_what_is_given():
    model, batch = small.transformer(), small.batch()
    free, upper = generate(model, batch, 2), batch.codes[:, :8]
    done = generate(model, batch, 2, given=upper)
    assert torch.equal(done[:, :, :8], upper[:, None].expand(-1, 2, -1))
    again = generate(model, batch, 2, given=free[:, 0, :8])
    assert torch.equal(again[:, 0], free[:, 0])
    holes = free[:, 0].clone()
    holes[:, 3] = -1
    assert torch.equal(generate(model, batch, 1, given=holes)[:, 0], free[:, 0])


def test_guidance_of_one_is_none_and_more_moves_away_from_the_empty_text():
    model, batch = small.transformer("cogview"), small.batch()
    plain = generate(model, batch, 2)
    assert torch.equal(plain, generate(model, batch, 2, Sampling(guidance=1.0)))
    guided = generate(model, batch, 2, Sampling(guidance=3.0))
    assert not torch.equal(plain[:2], guided[:2])
    # The third prompt is empty: both sides of the guidance are the same.
    assert torch.equal(plain[2], guided[2])


def test_sampling_follows_the_probabilities():
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    uniform = (torch.arange(10_000) + 0.5) / 10_000
    for sampling, expected in (
        (Sampling(), [0.1, 0.2, 0.3, 0.4]),
        (Sampling(top_k=2), [0, 0, 3 / 7, 4 / 7]),
        (Sampling(top_p=0.6), [0, 0, 3 / 7, 4 / 7]),
        (Sampling(temperature=0.5), [1 / 30, 4 / 30, 9 / 30, 16 / 30]),
        (Sampling(temperature=0.0), [0, 0, 0, 1]),
    ):
        drawn = sampling.draw(logits.expand(10_000, -1), uniform)
        assert (torch.bincount(drawn, minlength=4) / 10_000).tolist() == pytest.approx(expected, abs=2e-3)
    with pytest.raises(ValueError, match="top_p is 0"):
        Sampling(top_p=0.0)


@pytest.mark.parametrize("sequence", [CogViewCaption, DalleCaption])
def test_caption_scores_equal_a_loop(sequence):
    model, batch = small.transformer(sequence), small.batch()
    codes = torch.stack([batch.codes, batch.codes.flip(1)], 1)
    scores = caption_scores(model, batch.text, codes)
    for row in range(3):
        for candidate in range(2):
            one = Batch(text=batch.text.rows(torch.tensor([row])), codes=codes[row, candidate][None])
            tokens = model.sequence.whole(one)
            length = int(one.text.mask.sum())
            first = tokens.ids.shape[1] - one.text.ids.shape[1]
            with torch.no_grad():
                states = model.run(tokens.inputs())
            total = 0.0
            for place in range(first + 1, first + length):
                logits = model.sequence.text_logits(states[0, place - 1])[model.sequence.num_codes :]
                total += logits.log_softmax(0)[tokens.ids[0, place] - model.sequence.num_codes].item()
            assert scores[row, candidate].item() == pytest.approx(total, abs=1e-3)
    loss = caption_loss(model, batch.text, batch.codes)
    assert loss[1].item() == pytest.approx(-scores[1, 0].item() / 4, rel=1e-4)


class Words(Tokenizer):
    """A tokenizer of numbers."""

    start_id, end_id, pad_id = 1, 2, 0

    def __init__(self):
        pass

    def decode(self, ids):
        return " ".join(map(str, ids))


@pytest.mark.parametrize("sequence", [CogViewCaption, DalleCaption])
def test_captions_are_learnt_and_read_back(sequence):
    model, batch = small.transformer(sequence, layers=2, spread=None).train(), small.batch()
    text = batch.text.rows(torch.tensor([0, 1]))
    text.ids[:, 0] = 1
    text.ids[0, 6], text.ids[1, 4] = 2, 2
    batch = Batch(text=text, codes=batch.codes[:2], keys=("a", "b"))
    objective = ARTokens(text_weight=1.0, image_weight=0.0)
    objective.setup(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(150):
        loss = objective(model(batch), batch)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    expected = [" ".join(map(str, text.ids[0, 1:6].tolist())), " ".join(map(str, text.ids[1, 1:4].tolist()))]
    assert caption_pictures(model, Words(), batch.codes) == expected


@pytest.mark.parametrize("side", [6, 8])
def test_super_resolution_draws_every_code_once(side):
    torch.manual_seed(0)
    sizes = small.SIZES | {"side": side, "positions": 120}
    model = small.Autoregressive(CogViewMagnify(**sizes), 2, 4).eval()
    text, codes = small.batch().text.rows(torch.tensor([0, 1])), torch.randint(0, 32, (2, side**2))
    fine = magnify(model, text, codes, seed=1)
    assert fine.shape == (2, 4 * side**2)
    assert (fine >= 0).all()
    assert (fine < 32).all()
    assert torch.equal(fine, magnify(model, text, codes, seed=1))
    with pytest.raises(ValueError, match="need a model of that side"):
        magnify(model, text, codes[:, :16])
