"""What all region models promise: padding, companions and repetition change nothing."""

from dataclasses import replace

import pytest
import torch
from streams import MODELS, alone, build, ragged, score
from torch.testing import assert_close

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_padding_and_companions_change_nothing(name, hidden):
    model, batch = build(name), ragged(hidden=hidden)
    output = model(batch)
    score(output, batch).backward()
    together = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    for row in range(4):
        single = alone(batch, row)
        own = model(single)
        score(own, single).backward()
        lt, lv = single.text.ids.shape[1], single.visual.features.shape[1]
        assert_close(output.text[row, :lt], own.text[0], **CLOSE)
        assert_close(output.visual[row, :lv], own.visual[0], **CLOSE)
        assert_close(output.pooled[row], own.pooled[0], **CLOSE)
        assert not output.text[row, lt:].any()
        assert not output.visual[row, lv:].any()
    scale = float(max(gradient.abs().max() for gradient in together.values()))
    for parameter, gradient in together.items():
        assert_close(model.get_parameter(parameter).grad, gradient, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("name", MODELS)
def test_pairs_index_texts_and_pictures(name):
    model, batch = build(name), ragged()
    pairs = torch.tensor([[0, 3], [2, 2], [2, 0], [1, 3], [0, 0]])
    embedded = []
    model.text.register_forward_hook(lambda _, args, result: embedded.append(len(args[0].ids)))
    model.visual.register_forward_hook(lambda _, args, result: embedded.append(len(args[0].features)))
    output = model(replace(batch, pairs=pairs))
    assert embedded == [4, 4]
    text, visual = batch.text, batch.visual
    repeated = replace(
        batch,
        text=replace(text, ids=text.ids[pairs[:, 0]], mask=text.mask[pairs[:, 0]], segment=text.segment[pairs[:, 0]]),
        visual=replace(
            visual,
            features=visual.features[pairs[:, 1]],
            boxes=visual.boxes[pairs[:, 1]],
            mask=visual.mask[pairs[:, 1]],
        ),
    )
    expected = model(repeated)
    for field in ("text", "visual", "pooled"):
        assert_close(getattr(output, field), getattr(expected, field), **CLOSE)


# Not in ViLBERT, where the whole picture in front is the mean of all regions, hidden ones too.
@pytest.mark.parametrize("name", ["uniter", "visual_bert", "lxmert"])
def test_hidden_features_are_not_seen(name):
    model, batch = build(name), ragged(hidden=True)
    noise = torch.randn_like(batch.visual.features) * batch.visual.hidden[..., None]
    other = replace(batch, visual=replace(batch.visual, features=batch.visual.features + noise))
    assert_close(model(batch).text, model(other).text, rtol=0, atol=0)
    seen = replace(other, visual=replace(other.visual, hidden=None))
    assert not torch.allclose(model(batch).text, model(seen).text, atol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_a_picture_without_regions_has_finite_gradients(name):
    model, batch = build(name), ragged(regions=(4, 0, 3, 1))
    output = model(batch)
    score(output, batch).backward()
    assert all(torch.isfinite(value).all() for value in (output.text, output.visual, output.pooled))
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_autocast_stays_near(name):
    model, batch = build(name), ragged()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(batch)
    assert_close(output.text.float(), model(batch).text, rtol=0.05, atol=0.1)


@pytest.mark.parametrize("name", MODELS)
def test_layers_are_ordered_for_sharding_and_for_layer_decay(name):
    model = build(name)
    blocks = list(model.blocks())
    inside = [id(p) for block in blocks for p in block.parameters()]
    assert len(inside) == len(set(inside))
    depths = {n: model.depth_of(n) for n, p in model.named_parameters()}
    assert {0.0, 1.0} <= set(depths.values())
    assert all(depths[n] == 0 for n in depths if n.startswith(("text.", "visual.")))
    assert {id(model.get_parameter(n)) for n, depth in depths.items() if 0 < depth < 1} == set(inside)
    assert model.word_embedding is model.text.word
    assert model.visual_projection.in_features == 10


@pytest.mark.parametrize("name", MODELS)
def test_models_build_on_the_meta_device(name):
    with torch.device("meta"):
        assert all(p.is_meta for p in MODELS[name]().parameters())
