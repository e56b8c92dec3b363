"""Where words look: recomputed weights are those the models use."""

import pytest
import torch
from streams import MODELS, build, ragged

from vl.models.attention_maps import attention_weights, words_to_regions
from vl.models.bert import BertAttention
from vl.models.packing import Packing


@pytest.mark.parametrize("name", MODELS)
def test_shares_of_a_words_attention(name):
    batch = ragged()
    found = words_to_regions(build(name), batch)
    words, regions = batch.text.mask, batch.visual.mask
    assert found.shape == (2, len(words), words.shape[1], regions.shape[1])
    assert (found >= 0).all()
    assert not found.transpose(2, 3)[:, ~regions].any()
    assert not found[:, ~words].any()
    total = found.sum(dim=3)[:, words]
    expected = torch.ones_like(total)
    if name == "lxmert":
        torch.testing.assert_close(total, expected)
    else:
        assert ((total > 0) & (total < 1)).all()


def test_weights_reproduce_what_the_layer_computes():
    torch.manual_seed(0)
    attention = BertAttention(12, 3).eval()
    mask = torch.tensor([[True, True, True, False], [True, True, False, False]])
    packing, x = Packing.of(mask), torch.randn(5, 12)
    one_head = BertAttention(12, 1).eval()
    weights = attention_weights(one_head, x, packing)
    values = packing.pad(one_head.value(x))
    expected = one_head.norm(x + one_head.dense(packing.pack(weights @ values)))
    torch.testing.assert_close(one_head(x, packing), expected)
    torch.testing.assert_close(attention_weights(attention, x, packing).sum(2)[mask], torch.ones(5))


def test_nothing_is_left_behind():
    model, batch = build("uniter"), ragged()
    before = model(batch).text
    words_to_regions(model, batch)
    torch.testing.assert_close(model(batch).text, before)
    assert not any(module._forward_pre_hooks for module in model.modules())
