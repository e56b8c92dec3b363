"""Scores of pairs in packed batches against the model's own padded ones."""

from dataclasses import replace

import pytest
import torch
from streams import MODELS, build, ragged, shake

from vl.batch import Batch
from vl.evaluation.cross_encoder import CrossEncoder
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


@pytest.mark.parametrize(("name", "head"), [*((name, ITM) for name in MODELS), ("uniter", TripletRetrieval)])
def test_packed_scores_are_the_padded_ones(name, head):
    model, head, batches = world(name, head())
    expected = plainly(model, head, batches)
    assert expected.std() > 0.05
    for tokens in (1, 40, 4096):
        encoder = CrossEncoder(model, head.scores, tokens=tokens)
        gallery = encoder.gallery(batches)
        assert gallery.keys == ("a", "b", "c", "d")
        assert gallery.owners.tolist() == [0, 1, 2, 3, 1, 0, 3, 2]
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


def test_a_model_that_pools_nothing_is_refused():
    model = build("uniter")
    with pytest.raises(ValueError, match="SingleStream scores no pairs"):
        CrossEncoder(SingleStream(model.text, model.visual, model.encoder), ITM().scores)
