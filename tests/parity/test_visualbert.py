"""`SingleStream` against Hugging Face's `VisualBertModel` and `VisualBertForPreTraining`, through the converter."""

import pytest
import torch
from streams import FEATURES, POSITIONS, VOCABULARY, WIDTH, build, ragged, score, shake, size
from torch.testing import assert_close
from transformers import VisualBertConfig, VisualBertForPreTraining, VisualBertModel

from vl.batch import Encoded
from vl.checkpoints.names import heads, trunk
from vl.checkpoints.state import load_strict
from vl.checkpoints.visualbert import from_visualbert, to_visualbert
from vl.models.bert import BertEncoder
from vl.models.embed import TextEmbedder
from vl.models.heads_masked import TokenHead
from vl.models.poolers import FirstWordPooler
from vl.models.single_stream import SingleStream
from vl.models.visual_bert_regions import VisualBertRegions


def build_theirs(layers, kind=VisualBertModel):
    config = VisualBertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=POSITIONS,
        num_hidden_layers=layers,
        visual_embedding_dim=FEATURES,
    )
    torch.manual_seed(1)
    return shake(kind(config)).eval()


def inputs(batch, segment):
    text, visual = batch.text, batch.visual
    return {
        "input_ids": text.ids,
        "attention_mask": text.mask.long(),
        "token_type_ids": text.segment,
        "visual_embeds": visual.features,
        "visual_attention_mask": visual.mask.long(),
        "visual_token_type_ids": torch.full(visual.mask.shape, segment),
    }


@pytest.mark.parametrize(("layers", "segment"), [(1, 0), (3, 0), (2, 1)])
def test_outputs_and_gradients(layers, segment):
    theirs, batch, ours = build_theirs(layers), ragged(), build("visual_bert", layers=layers, segment=segment)
    load_strict(ours, from_visualbert(theirs.state_dict()), "VisualBertModel")
    own, other = ours(batch), theirs(**inputs(batch, segment))
    text, visual = other.last_hidden_state.split((9, 8), dim=1)
    assert_close(own.text[batch.text.mask], text[batch.text.mask], rtol=1e-5, atol=1e-5)
    assert_close(own.visual[batch.visual.mask], visual[batch.visual.mask], rtol=1e-5, atol=1e-5)
    assert_close(own.pooled, other.pooler_output, rtol=1e-5, atol=1e-5)
    score(own, batch).backward()
    score(Encoded(text, visual, other.pooler_output), batch).backward()
    gradients = to_visualbert({name: p.grad for name, p in ours.named_parameters()})
    expected = {f"visual_bert.{name}": p.grad for name, p in theirs.named_parameters()}
    assert gradients.keys() == expected.keys()
    scale = float(max(gradient.abs().max() for gradient in expected.values()))
    for name, gradient in expected.items():
        assert_close(gradients[name], gradient, rtol=1e-5, atol=1e-5 * scale)


def test_hugging_faces_default_segment_is_another():
    theirs, batch, ours = build_theirs(2), ragged(), build("visual_bert", segment=0)
    load_strict(ours, from_visualbert(theirs.state_dict()), "VisualBertModel")
    default = inputs(batch, 0)
    del default["visual_token_type_ids"]
    assert (ours(batch).pooled - theirs(**default).pooler_output).abs().max() > 1e-3


@pytest.mark.parametrize("layout", ["original", "hugging_face"])
def test_pretraining_weights_go_and_come_back(layout):
    theirs, batch, ours = build_theirs(2, VisualBertForPreTraining), ragged(), build("visual_bert")
    own_heads = torch.nn.ModuleDict({"mlm": TokenHead(ours.word_embedding), "two_captions": torch.nn.Linear(WIDTH, 2)})
    state = from_visualbert(theirs.state_dict())
    load_strict(ours, trunk(state), "VisualBertForPreTraining")
    load_strict(own_heads, heads(state), "VisualBertForPreTraining")
    own, other = ours(batch), theirs(**inputs(batch, 0))
    logits = other.prediction_logits[:, :9][batch.text.mask]
    assert_close(own_heads["mlm"](own.text[batch.text.mask]), logits, rtol=1e-5, atol=2e-5)
    assert_close(own_heads["two_captions"](own.pooled), other.seq_relationship_logits, rtol=1e-5, atol=1e-5)
    exported = to_visualbert(state, layout)
    if layout == "original":
        assert "bert.embeddings.token_type_embeddings_visual.weight" in exported
        exported = {f"bert.{name}": value for name, value in exported.items()}  # as AllenNLP stores it
    else:
        theirs.load_state_dict(exported, strict=True)
    returned = from_visualbert(exported)
    assert returned.keys() == state.keys()
    assert all(torch.equal(value, returned[name]) for name, value in state.items())


def test_published_size():
    with torch.device("meta"):
        model = SingleStream(TextEmbedder(), VisualBertRegions(), BertEncoder(), FirstWordPooler())
        parts = {"mlm": TokenHead(model.word_embedding), "captions": torch.nn.Linear(768, 2)}
        pretraining = torch.nn.ModuleDict({"model": model, **parts})
    assert (size(model), size(pretraining)) == (111_450_624, 112_074_812)
    assert size(model) - size(model.word_embedding) - size(model.visual_projection) == 86_436_096
