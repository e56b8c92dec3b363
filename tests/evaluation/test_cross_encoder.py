"""Scores of pairs in packed batches against the model's own padded ones, and what two towers let through."""

from dataclasses import replace

import pytest
import torch
from streams import MODELS, build, ragged, shake

from vl.batch import Batch
from vl.evaluation.cross_encoder import CrossEncoder, candidates, pair_retrieval
from vl.models.single_stream import SingleStream
from vl.objectives.itm import ITM
from vl.tasks.retrieval import TripletRetrieval

#: Two texts a picture; the pictures come back in another order.
KEYS = ("a", "b", "c", "d", "b", "a", "d", "c")


def world(name, head):
    """A model with a head, and the two batches of four pictures' texts."""
    model = build(name)
    head.setup(model)
    shake(head, 0.5)
    first = replace(ragged(regions=(4, 1, 8, 3)), keys=KEYS[:4])
    again = first.visual.rows(torch.tensor([1, 0, 3, 2]))
    second = replace(ragged(words=(3, 10, 6, 5), regions=(4, 1, 8, 3), seed=2), visual=again, keys=KEYS[4:])
    return model, head.eval(), [first, second]


def plainly(model, head, batches):
    """One pair after the other, as the model runs it."""
    pictures, found = batches[0].visual, []
    with torch.no_grad():
        for picture in range(4):
            one = pictures.rows(torch.tensor([picture]))
            for batch in batches:
                for text in range(4):
                    pair = Batch(text=batch.text.rows(torch.tensor([text])), visual=one, keys=("",))
                    found.append(head.scores(model(pair)))
    return torch.stack(found).view(4, 8)


@pytest.mark.parametrize("head", [ITM, TripletRetrieval])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("tokens", [1, 40, 4096])
def test_packed_scores_are_the_padded_ones(name, head, tokens):
    model, head, batches = world(name, head())
    encoder = CrossEncoder(model, head.scores, tokens=tokens)
    gallery = encoder.gallery(batches)
    assert gallery.keys == ("a", "b", "c", "d")
    assert gallery.owners.tolist() == [0, 1, 2, 3, 1, 0, 3, 2]
    expected = plainly(model, head, batches)
    assert expected.std() > 0.05
    torch.testing.assert_close(encoder.matrix(gallery), expected, rtol=1e-5, atol=1e-5)
    kept = torch.rand(4, 8, generator=torch.Generator().manual_seed(0)) < 0.5
    some = encoder.matrix(gallery, kept)
    torch.testing.assert_close(some[kept], expected[kept], rtol=1e-5, atol=1e-5)
    assert (some[~kept] == -torch.inf).all()


def test_pictures_are_embedded_once(monkeypatch):
    model, head, batches = world("uniter", ITM())
    pictures = []
    embed = SingleStream.embed_visual
    monkeypatch.setattr(
        SingleStream, "embed_visual", lambda self, visual: pictures.append(visual) or embed(self, visual)
    )
    encoder = CrossEncoder(model, head.scores, tokens=30)
    encoder.matrix(encoder.gallery([*batches, *batches]))
    assert sum(len(visual.features) for visual in pictures) == 4


def test_ranks_are_those_of_a_slow_loop():
    generator = torch.Generator().manual_seed(0)
    scores, owners = torch.randn(7, 20, generator=generator), torch.randint(7, (20,), generator=generator)
    owners[:7] = torch.arange(7)
    scores[:, 3] = scores[:, 4]  # ties
    found = pair_retrieval(scores, owners, "every pair").metrics
    text = [
        1 + sum(bool(s >= row[o] - 1e-6) for j, s in enumerate(row) if j != o)
        for row, o in zip(scores.T, owners, strict=True)
    ]
    image = []
    for number, row in enumerate(scores):
        best = max(row[owners == number])
        image.append(1 + sum(bool(s >= best - 1e-6) for s, owner in zip(row, owners, strict=True) if owner != number))
    for way, ranks in (("text_to_image", text), ("image_to_text", image)):
        for k in (1, 5, 10):
            assert found[f"{way}/R@{k}"] == pytest.approx(100 * sum(rank <= k for rank in ranks) / len(ranks))


def test_what_two_towers_drop_comes_last():
    text, image = torch.eye(4), torch.eye(4)[[1, 0, 2, 3]] + 0.01 * torch.arange(4)[:, None]
    kept = candidates(text, image, 1)
    assert kept.diagonal().tolist() == [False, False, True, True]
    assert kept.any(0).all()
    assert kept.any(1).all()
    assert candidates(text, image, 99).all()
    perfect = torch.eye(4).masked_fill(~kept, -torch.inf)
    found = pair_retrieval(perfect, torch.arange(4), "candidates").metrics
    assert found["text_to_image/R@1"] == found["image_to_text/R@1"] == 50


def test_folds_are_searched_among_themselves():
    scores = torch.full((4, 4), 2.0).fill_diagonal_(1.0)
    scores[:2, :2] = scores[2:, 2:] = torch.eye(2)
    found = pair_retrieval(scores, torch.arange(4), "every pair", fold=2).metrics
    assert found["text_to_image/R@1"] == 0
    assert found["folds of 2/text_to_image/R@1"] == 100
    with pytest.raises(ValueError, match="no multiple"):
        pair_retrieval(scores, torch.arange(4), "every pair", fold=3)


def test_a_model_that_pools_nothing_is_refused():
    model = build("uniter")
    with pytest.raises(ValueError, match="SingleStream scores no pairs"):
        CrossEncoder(SingleStream(model.text, model.visual, model.encoder), ITM().scores)
