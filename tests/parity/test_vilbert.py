"""`DualStream` as ViLBERT against a plain reference and, layer by layer, Hugging Face's `BertModel`."""

import pytest
import torch
from streams import WIDTH, alone, arguments, build, ragged, shake, size, weigh
from torch.testing import assert_close
from transformers import BertConfig, BertModel

from vl.checkpoints.names import heads, trunk
from vl.checkpoints.state import load_strict
from vl.checkpoints.vilbert import from_vilbert, to_vilbert
from vl.models.bert import BertEncoder
from vl.models.co_attention import CoAttention
from vl.models.dual_stream import DualStream
from vl.models.embed import TextEmbedder
from vl.models.heads_masked import ClassHead, TokenHead
from vl.models.packing import Packing
from vl.models.poolers import FusedPooler
from vl.models.vilbert_regions import VilbertRegions

#: Of 4 text layers and 2 visual ones with ends (2, 3) and (0, 1).
ORDER = ["t0", "t1", "c0", "t2", "v0", "c1", "t3", "v1"]
PUBLISHED = [f"t{i}" for i in range(6)]
PUBLISHED += [step for i in range(5) for step in (f"c{i}", f"t{i + 6}", f"v{i}")] + ["c5", "t11", "v5"]
HEADS = {"t": 3, "v": 4, "c": 2}


def build_heads(model, classes=13):
    parts = {"mlm": TokenHead(model.word_embedding), "mrc": ClassHead(model.visual_width, classes)}
    return torch.nn.ModuleDict({**parts, "itm": torch.nn.Linear(model.pooled_width, 2)})


def build_all():
    model = build("vilbert")
    own_heads = build_heads(model)
    shake(own_heads["mrc"])
    shake(own_heads["mlm"].transform)
    own_heads["mlm"].bias.data.normal_()
    return model, own_heads


def stored(model, own_heads):
    """What a checkpoint of ViLBERT would hold."""
    return to_vilbert(model.state_dict() | {f"heads.{name}": value for name, value in own_heads.state_dict().items()})


def outputs(model, own_heads, batch):
    """Everything the reference computes, for row 0."""
    own = model(batch)
    found = {"text": own.text[0], "visual": own.visual[0], "pooled": own.pooled[0]}
    found |= {"mlm": own_heads["mlm"](own.text[0]), "mrc": own_heads["mrc"](own.visual[0])}
    # Class 0 of ViLBERT is "they match", class 1 of VL.
    return found | {"alignment": own_heads["itm"](own.pooled)[0].flip(0)}


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("row", [0, 2])
def test_plain_reference(plain, row, hidden):
    model, own_heads = build_all()
    batch = alone(ragged(hidden=hidden), row)
    weights = {name: value.clone().requires_grad_() for name, value in stored(model, own_heads).items()}
    expected = plain.vilbert(weights, *arguments(batch), heads=HEADS, order=ORDER)
    found = outputs(model, own_heads, batch)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert_close(found[name], values, rtol=1e-5, atol=2e-5)
    for results in (found, expected):
        weigh(results).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    gradients = to_vilbert(gradients | {f"heads.{name}": p.grad for name, p in own_heads.named_parameters()})
    scale = float(max(gradient.abs().max() for gradient in gradients.values()))
    for name, gradient in gradients.items():
        if name != "cls.predictions.decoder.weight":  # tied: the reference reads the embeddings
            theirs = torch.zeros_like(gradient) if weights[name].grad is None else weights[name].grad
            assert_close(gradient, theirs, rtol=1e-5, atol=1e-5 * scale)


def test_the_reference_tells_orders_apart(plain):
    model, own_heads = build_all()
    batch, weights = alone(ragged(), 0), stored(model, own_heads)
    found = outputs(model, own_heads, batch)["pooled"]
    for order in (["c0", "t0", "t1", *ORDER[3:]], ["t0", "t1", "t2", "c0", "v0", "c1", "t3", "v1"], sorted(ORDER)):
        other = plain.vilbert(weights, *arguments(batch), heads=HEADS, order=order)["pooled"]
        assert not torch.allclose(found, other, atol=1e-3)


def test_order_of_the_published_layers():
    streams = BertEncoder(12, 8, 1), BertEncoder(6, 8, 1)
    encoder = CoAttention(*streams, width=8, heads=1)
    names = {id(layer): f"t{i}" for i, layer in enumerate(encoder.text.layers)}
    names |= {id(layer): f"v{i}" for i, layer in enumerate(encoder.visual.layers)}
    names |= {id(layer): f"c{i}" for i, layer in enumerate(encoder.co_layers)}
    ran = []
    for module in encoder.modules():
        if id(module) in names:
            module.register_forward_hook(lambda layer, *_: ran.append(names[id(layer)]))
    x, packing = torch.randn(6, 8), Packing(2, 3)
    encoder(encoder.run_text(x, packing), packing, encoder.run_visual(x, packing), packing)
    assert ran == PUBLISHED
    assert [names[id(block)] for step in encoder.steps() for block in step] == PUBLISHED


def test_ends_that_cannot_be():
    streams = BertEncoder(2, 8, 1), BertEncoder(2, 8, 1)
    with pytest.raises(ValueError, match=r"text_ends has 1 ends, visual_ends 2"):
        CoAttention(*streams, text_ends=[1], visual_ends=[0, 1], width=8, heads=1)
    with pytest.raises(ValueError, match=r"visual_ends is \[1, 3\]; it must increase, up to the 2 layers"):
        CoAttention(*streams, text_ends=[1, 2], visual_ends=[1, 3], width=8, heads=1)


def test_weights_go_and_come_back():
    model, own_heads = build_all()
    exported = stored(model, own_heads)
    assert exported["bert.encoder.c_layer.1.biOutput.q_dense2.weight"].shape == (WIDTH, 16)
    row = own_heads["itm"].weight[1]
    assert torch.equal(exported["cls.bi_seq_relationship.weight"][0], row)
    returned = from_vilbert({f"module.{name}": value for name, value in exported.items()})
    load_strict(model, trunk(returned), "ViLBERT")
    load_strict(own_heads, heads(returned), "ViLBERT")
    again = stored(model, own_heads)
    assert again.keys() == exported.keys()
    assert all(torch.equal(value, again[name]) for name, value in exported.items())


@pytest.mark.parametrize(
    ("stream", "theirs", "sizes"), [("text", "layer", (4, 3, WIDTH, 40)), ("visual", "v_layer", (2, 4, 32, 28))]
)
def test_the_streams_are_bert_layer_by_layer(stream, theirs, sizes):
    depth, num_heads, width, mlp_width = sizes
    config = BertConfig(
        hidden_size=width, num_attention_heads=num_heads, num_hidden_layers=depth, intermediate_size=mlp_width
    )
    torch.manual_seed(0)
    other = shake(BertModel(config, add_pooling_layer=False)).eval()
    layers = getattr(build("vilbert").encoder, stream).layers
    state = {f"bert.{n}": v for n, v in other.state_dict().items() if n.startswith("encoder.")}
    state = from_vilbert({name.replace(".layer.", f".{theirs}."): value for name, value in state.items()})
    load_strict(layers, {n.removeprefix(f"encoder.{stream}.layers."): v for n, v in state.items()}, "BertModel")
    mask = ragged().text.mask
    x, packing = torch.randn(*mask.shape, width), Packing.of(mask)
    other.embeddings = torch.nn.Identity()
    other.embeddings.forward = lambda inputs_embeds, **_: inputs_embeds
    expected = other(inputs_embeds=x, attention_mask=mask.long(), output_hidden_states=True).hidden_states[1:]
    assert len(expected) == depth
    packed = packing.pack(x)
    for layer, states in zip(layers, expected, strict=True):
        packed = layer(packed, packing)
        assert_close(packed, states[mask], rtol=1e-5, atol=1e-5)


def test_published_size():
    with torch.device("meta"):
        encoder = CoAttention(BertEncoder(), BertEncoder(6, 1024, 8, 1024))
        model = DualStream(TextEmbedder(), VilbertRegions(), encoder, FusedPooler())
        pretraining = torch.nn.ModuleDict({"model": model, "heads": build_heads(model, 1601)})
    # The released model also holds maps that nothing uses, which VL leaves out.
    unused = 6 * (1024 * 1024 + 1024 + 1024 * 768 + 768)
    assert unused == 11_020_800
    assert (size(model) + unused, size(pretraining) + unused) == (246_726_656, 250_044_029)
    # UNITER's table counts neither word embeddings nor the projection of the features.
    assert size(model) + unused - size(model.word_embedding) - size(model.visual_projection) == 221_187_584
