"""`DualStream` against Hugging Face's `LxmertModel` and `LxmertForPreTraining`, through the converter both ways."""

import pytest
import torch
from streams import FEATURES, POSITIONS, VOCABULARY, WIDTH, build, ragged, score, shake, size
from torch.testing import assert_close
from transformers import LxmertConfig, LxmertForPreTraining, LxmertModel

from vl.batch import Encoded
from vl.checkpoints.lxmert import from_lxmert, to_lxmert
from vl.checkpoints.names import heads, trunk
from vl.checkpoints.state import load_strict
from vl.models.bert import BertEncoder
from vl.models.cross_modality import CrossModality
from vl.models.dual_stream import DualStream
from vl.models.embed import TextEmbedder
from vl.models.heads_masked import ClassHead, SharedHead, TokenHead
from vl.models.lxmert_regions import LxmertRegions
from vl.models.poolers import FirstWordPooler

SIZES = [(3, 2, 2), (1, 3, 1), (2, 2, 3)]
OUTPUTS = {"obj": 16, "attr": 7, "feat": FEATURES}


def build_theirs(language, relations, cross, kind=LxmertModel):
    config = LxmertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=POSITIONS,
        l_layers=language,
        r_layers=relations,
        x_layers=cross,
        visual_feat_dim=FEATURES,
        num_object_labels=16,
        num_attr_labels=7,
        num_qa_labels=9,
    )
    torch.manual_seed(1)
    return shake(kind(config)).eval()


def build_heads(model):
    return torch.nn.ModuleDict(
        {
            "mlm": TokenHead(model.word_embedding),
            "itm": torch.nn.Linear(WIDTH, 2),
            "regions": SharedHead(WIDTH, OUTPUTS),
            "answers": ClassHead(WIDTH, 9, 2 * WIDTH),
        }
    )


def inputs(batch):
    text, visual = batch.text, batch.visual
    return {
        "input_ids": text.ids,
        "attention_mask": text.mask.float(),
        "token_type_ids": text.segment,
        "visual_feats": visual.features,
        "visual_pos": visual.boxes,
        "visual_attention_mask": visual.mask.float(),
    }


def assert_same(gradients, expected):
    """Every gradient of theirs has its equal in ours."""
    scale = float(max(gradient.abs().max() for gradient in expected.values()))
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        assert_close(
            gradients[name], gradient, rtol=1e-5, atol=1e-5 * scale, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("sizes", SIZES)
def test_outputs_and_gradients(sizes):
    theirs, batch = build_theirs(*sizes), ragged()
    ours = build("lxmert", **dict(zip(("language", "relations", "cross"), sizes, strict=True)))
    load_strict(ours, from_lxmert(theirs.state_dict()), "LxmertModel")
    own, other = ours(batch), theirs(**inputs(batch))
    assert_close(own.text[batch.text.mask], other.language_output[batch.text.mask], rtol=1e-5, atol=1e-5)
    assert_close(own.visual[batch.visual.mask], other.vision_output[batch.visual.mask], rtol=1e-5, atol=1e-5)
    assert_close(own.pooled, other.pooled_output, rtol=1e-5, atol=1e-5)
    score(own, batch).backward()
    score(Encoded(other.language_output, other.vision_output, other.pooled_output), batch).backward()
    expected = {f"lxmert.{name}": p.grad for name, p in theirs.named_parameters()}
    assert_same(to_lxmert({name: p.grad for name, p in ours.named_parameters()}), expected)


def test_pretraining_heads():
    theirs, batch, ours = build_theirs(3, 2, 2, LxmertForPreTraining), ragged(), build("lxmert")
    own_heads, state = build_heads(ours), from_lxmert(theirs.state_dict())
    load_strict(ours, trunk(state), "LxmertForPreTraining")
    load_strict(own_heads, heads(state), "LxmertForPreTraining")
    own, other = ours(batch), theirs(**inputs(batch))
    words, regions = own.text[batch.text.mask], own.visual[batch.visual.mask]
    assert_close(own_heads["mlm"](words), other.prediction_logits[batch.text.mask], rtol=1e-5, atol=2e-5)
    assert_close(own_heads["itm"](own.pooled), other.cross_relationship_score, rtol=1e-5, atol=1e-5)
    assert_close(own_heads["answers"](own.pooled), other.question_answering_score, rtol=1e-5, atol=1e-5)
    expected = theirs.obj_predict_head(theirs.lxmert(**inputs(batch)).vision_output[batch.visual.mask])
    found = own_heads["regions"](regions)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert_close(found[name], values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", ["original", "hugging_face"])
def test_weights_go_and_come_back(layout):
    theirs, ours = build_theirs(3, 2, 2, LxmertForPreTraining), build("lxmert")
    own_heads = build_heads(ours)
    state = ours.state_dict() | {f"heads.{name}": value for name, value in own_heads.state_dict().items()}
    exported = to_lxmert(state, layout)
    if layout == "original":
        assert "bert.encoder.x_layers.0.visual_attention.att.query.weight" in exported
        assert not any(name.startswith("lxmert.") for name in exported)
    else:
        theirs.load_state_dict(exported, strict=True)
    returned = from_lxmert({f"module.{name}": value for name, value in exported.items()})
    assert returned.keys() == state.keys()
    assert all(torch.equal(value, returned[name]) for name, value in state.items())


def test_a_fine_tuned_file():
    ours = build("lxmert")
    head = ClassHead(WIDTH, 5, 2 * WIDTH)
    state = ours.state_dict() | {f"heads.vqa.{name}": value for name, value in head.state_dict().items()}
    stored = {name.replace("lxmert.", "lxrt_encoder.model.bert.", 1): value for name, value in to_lxmert(state).items()}
    assert "logit_fc.3.weight" in stored
    assert from_lxmert(stored).keys() == state.keys()


def test_what_does_not_fit_is_named():
    ours, state = build("lxmert"), from_lxmert(build_theirs(3, 2, 2).state_dict())
    state["lxmert.encoder.odd.weight"] = state.pop("visual.projection.bias")
    with pytest.raises(ValueError, match=r"lacks visual\.projection\.bias; nothing takes lxmert\.encoder\.odd\.weight"):
        load_strict(ours, state, "LxmertModel")
    with pytest.raises(ValueError, match=r"LXMERT has no place for visual\.position\.weight"):
        to_lxmert({"visual.position.weight": torch.zeros(1)})


def test_published_size():
    with torch.device("meta"):
        text, regions = TextEmbedder(padding_idx=0), LxmertRegions()
        model = DualStream(text, regions, CrossModality(BertEncoder(9), BertEncoder(5), 5), FirstWordPooler())
        outputs = {"obj": 1600, "attr": 400, "feat": 2048}
        parts = {"mlm": TokenHead(model.word_embedding), "itm": torch.nn.Linear(768, 2)}
        parts |= {"regions": SharedHead(768, outputs), "answers": ClassHead(768, 9500, 1536)}
        pretraining = torch.nn.ModuleDict({"model": model, **parts})
    assert size(model) == 207_936_768
    assert size(pretraining) == 228_051_752
    # UNITER's table counts neither word embeddings nor the projection of the features.
    assert size(model) - size(model.word_embedding) - size(model.visual_projection) == 182_922_240
