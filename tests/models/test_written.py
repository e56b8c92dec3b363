"""Words that are written one after another, beside a stream of regions."""

from dataclasses import replace

import pytest
import torch
from streams import alone, build, ragged
from torch.testing import assert_close

from vl.models.masks import BIDIRECTIONAL, CAUSAL, SEQ2SEQ

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
DUAL = ("lxmert", "vilbert")


def written(batch, *patterns):
    return replace(batch, attention=torch.tensor(patterns or (SEQ2SEQ,) * 4))


@pytest.mark.parametrize("name", DUAL)
@torch.no_grad()
def test_words_see_regions_and_the_words_before_them(name):
    model, batch = build(name), ragged()
    plain, before = model(batch), model(written(batch, SEQ2SEQ, SEQ2SEQ, BIDIRECTIONAL, SEQ2SEQ))
    ids = batch.text.ids.clone()
    ids[1, 4] += 1
    after = model(written(replace(batch, text=replace(batch.text, ids=ids))))
    assert_close(after.text[1, :4], before.text[1, :4], **CLOSE)
    assert_close(after.visual[1], before.visual[1], **CLOSE)
    moved = (after.text[1, 4:9] - before.text[1, 4:9]).abs().amax(1)
    assert (moved > 1e-3).all()
    assert_close(before.text[2], plain.text[2], **CLOSE)
    assert not torch.allclose(before.text[1], plain.text[1], atol=1e-3)
    regions = replace(batch.visual, features=batch.visual.features + 1)
    assert not torch.allclose(model(written(replace(batch, visual=regions))).text[1], before.text[1], atol=1e-3)


@pytest.mark.parametrize("name", DUAL)
@torch.no_grad()
def test_padding_and_rows_change_nothing(name):
    model, batch = build(name), ragged()
    together = model(written(batch))
    twice = model(replace(written(batch, SEQ2SEQ, SEQ2SEQ), pairs=torch.tensor([[1, 1], [3, 0]])))
    assert_close(twice.text[0], together.text[1], **CLOSE)
    for row in range(4):
        single = alone(batch, row)
        own = model(written(single, SEQ2SEQ))
        assert_close(together.text[row, : own.text.shape[1]], own.text[0], **CLOSE)


def test_causal_regions_need_one_stream():
    with pytest.raises(ValueError, match="two streams know no causal regions"):
        build("vilbert")(written(ragged(), CAUSAL, SEQ2SEQ, SEQ2SEQ, SEQ2SEQ))
