"""`SingleStream` as UNITER against a plain reference and, layer by layer, Hugging Face's `BertModel`."""

from dataclasses import replace

import pytest
import torch
from streams import WIDTH, alone, arguments, build, ragged, shake, size, weigh
from torch.testing import assert_close
from transformers import BertConfig, BertModel

from vl.checkpoints.names import heads, trunk
from vl.checkpoints.state import load_strict
from vl.checkpoints.uniter import from_uniter, to_uniter
from vl.models.bert import BertEncoder
from vl.models.embed import TextEmbedder
from vl.models.heads_masked import ClassHead, FeatureHead, TokenHead
from vl.models.packing import Packing
from vl.models.poolers import FirstWordPooler
from vl.models.single_stream import SingleStream
from vl.models.uniter_regions import UniterRegions


def build_heads(model, classes=13):
    width = model.width
    parts = {"mlm": TokenHead(model.word_embedding), "mrfr": FeatureHead(model.visual_projection)}
    return torch.nn.ModuleDict({**parts, "mrc": ClassHead(width, classes), "itm": torch.nn.Linear(width, 2)})


def build_all(layers=2):
    model = build("uniter", layers=layers)
    # Row 0 of the table of masks stands for "not masked" and is zero in every checkpoint.
    model.visual.hidden.weight.data[0] = 0
    own_heads = build_heads(model)
    for name in ("mrc", "itm"):
        shake(own_heads[name])
    for head in (own_heads["mlm"], own_heads["mrfr"]):
        shake(head.transform)
        head.bias.data.normal_()
    return model, own_heads


def stored(model, own_heads):
    """What a checkpoint of UNITER would hold."""
    return to_uniter(model.state_dict() | {f"heads.{name}": value for name, value in own_heads.state_dict().items()})


def outputs(model, own_heads, batch):
    """Everything the reference computes, for row 0."""
    own = model(batch)
    text, visual = own.text[0], own.visual[0]
    found = {"text": text, "visual": visual, "pooled": own.pooled[0], "mlm": own_heads["mlm"](text)}
    found |= {name: own_heads[name](visual) for name in ("mrfr", "mrc")}
    return found | {"itm": own_heads["itm"](own.pooled)[0]}


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("row", [0, 2])
def test_plain_reference(plain, row, hidden):
    model, own_heads = build_all()
    batch = alone(ragged(hidden=hidden), row)
    weights = {name: value.clone().requires_grad_() for name, value in stored(model, own_heads).items()}
    tied = "cls.predictions.decoder.weight", "feat_regress.weight"
    assert torch.equal(weights[tied[0]], weights["uniter.embeddings.word_embeddings.weight"])
    assert torch.equal(weights[tied[1]], weights["uniter.img_embeddings.img_linear.weight"])
    expected = plain.uniter(weights, *arguments(batch), heads=3)
    found = outputs(model, own_heads, batch)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert_close(found[name], values, rtol=1e-5, atol=2e-5)
    for results in (found, expected):
        weigh(results).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    gradients |= {f"heads.{name}": p.grad for name, p in own_heads.named_parameters()}
    gradients = to_uniter(gradients)
    scale = float(max(gradient.abs().max() for gradient in gradients.values()))
    for name, gradient in gradients.items():
        if name not in tied:  # the reference reads these from the embeddings
            theirs = torch.zeros_like(gradient) if weights[name].grad is None else weights[name].grad
            assert_close(gradient, theirs, rtol=1e-5, atol=1e-5 * scale)


def test_weights_go_and_come_back():
    model, own_heads = build_all()
    exported = stored(model, own_heads)
    assert {"uniter.encoder.layer.1.attention.self.query.weight", "feat_regress.bias"} <= exported.keys()
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): value for name, value in exported.items()}
    returned = from_uniter({f"module.{name}": value for name, value in old.items()})
    other, other_heads = build_all(layers=2)
    load_strict(other, trunk(returned), "UNITER")
    load_strict(other_heads, heads(returned), "UNITER")
    again = stored(other, other_heads)
    assert again.keys() == exported.keys()
    assert all(torch.equal(value, again[name]) for name, value in exported.items())


def test_the_encoder_is_bert_layer_by_layer():
    config = BertConfig(hidden_size=WIDTH, num_attention_heads=3, num_hidden_layers=3, intermediate_size=40)
    torch.manual_seed(0)
    theirs = shake(BertModel(config, add_pooling_layer=False)).eval()
    model = build("uniter", layers=3)
    state = {f"uniter.{n}": v for n, v in theirs.state_dict().items() if n.startswith("encoder.")}
    load_strict(model.encoder, {n.removeprefix("encoder."): v for n, v in from_uniter(state).items()}, "BertModel")
    mask = ragged().text.mask
    x, packing = torch.randn(*mask.shape, WIDTH), Packing.of(mask)
    theirs.embeddings = torch.nn.Identity()
    theirs.embeddings.forward = lambda inputs_embeds, **_: inputs_embeds
    expected = theirs(inputs_embeds=x, attention_mask=mask.long(), output_hidden_states=True).hidden_states[1:]
    packed = packing.pack(x)
    assert len(expected) == 3
    for layer, states in zip(model.encoder.layers, expected, strict=True):
        packed = layer(packed, packing)
        assert_close(packed, states[mask], rtol=1e-5, atol=1e-5)


def test_masked_regions_show_the_learned_vector_alone():
    model, batch = build_all()[0], ragged(hidden=True)
    changed = replace(batch.visual, features=batch.visual.features.masked_fill(batch.visual.hidden[..., None], 7.0))
    assert_close(model(batch).visual, model(replace(batch, visual=changed)).visual, rtol=0, atol=0)
    before = model(batch).visual
    model.visual.hidden.weight.data[1] += 1
    assert not torch.allclose(before, model(batch).visual, atol=1e-3)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((12, 768, 12), (109_898_752, 112_938_887, 86_056_192)),
        ((24, 1024, 16), (335_695_872, 340_524_935, 303_905_792)),
    ],
)
def test_published_sizes(sizes, expected):
    width = sizes[1]
    with torch.device("meta"):
        text, regions = TextEmbedder(28_996, width), UniterRegions(width)
        model = SingleStream(text, regions, BertEncoder(*sizes), FirstWordPooler(width))
        pretraining = torch.nn.ModuleDict({"model": model, "heads": build_heads(model, 1601)})
    # UNITER's own table counts neither word embeddings nor the projection of the features.
    printed = size(model) - size(model.word_embedding) - size(model.visual_projection)
    assert (size(model), size(pretraining), printed) == expected
