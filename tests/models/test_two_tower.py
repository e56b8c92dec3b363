from math import log

import pytest
import torch
from torch.testing import assert_close

from vl.batch import Batch, Text, Visual
from vl.models.heads import LinearHead, MLPHead
from vl.models.hf_text import HFText
from vl.models.open_clip_image import OpenClipImage
from vl.models.open_clip_text import OpenClipText
from vl.models.text_transformer import TextTransformer
from vl.models.timm_image import TimmImage
from vl.models.two_tower import TwoTower

VISION = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}
TEXT = {"context_length": 16, "vocab_size": 50, "width": 64, "heads": 2, "layers": 2}
CLIP = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}
BERT = {"model_type": "bert", "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2}
BERT |= {"num_attention_heads": 2, "intermediate_size": 48}


def texts(lengths=(4, 9, 2), vocabulary=50):
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids = torch.randint(5, vocabulary - 1, mask.shape) * mask
    ids[torch.arange(len(lengths)), torch.tensor(lengths) - 1] = 3
    return Text(ids, mask)


def pictures(count=3, size=32):
    return Visual(pixels=torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8))


def small(**changes):
    parts = {"image": OpenClipImage(CLIP), "text": TextTransformer(50, 16, 64, 2, 2, 24)}
    return TwoTower(**parts | changes)


def test_a_side_may_be_missing():
    model = small()
    only_text, only_image = model(Batch(text=texts())), model(Batch(visual=pictures()))
    assert only_text.image_emb is None
    assert only_image.text_emb is None
    assert_close(only_text.text_emb.norm(dim=1), torch.ones(3))
    assert_close(only_image.image_emb.norm(dim=1), torch.ones(3))


def test_pixels_may_be_bytes_or_floats():
    model, visual = small(), pictures()
    floats = Visual(pixels=visual.pixels / 255)
    assert_close(model.encode_image(visual), model.encode_image(floats))


def test_the_factor_stops_at_100_and_the_bias_comes_along():
    output = small(logit_scale=log(500), logit_bias=-10.0)(Batch(text=texts()))
    assert_close(output.logit_scale, torch.tensor([100.0]))
    assert_close(output.logit_bias, torch.tensor([-10.0]))
    assert small(logit_bias=-10.0).provides - small().provides == {"logit_bias"}


def test_padding_changes_nothing_whatever_the_tokenizer():
    """The last real token is pooled, also where its id is not the highest."""
    model, text = small(), texts((4, 9, 2))
    alone = [Text(text.ids[i : i + 1, :n], text.mask[i : i + 1, :n]) for i, n in enumerate((4, 9, 2))]
    wider = Text(torch.nn.functional.pad(text.ids, (0, 5)), torch.nn.functional.pad(text.mask, (0, 5)))
    expected = torch.cat([model.encode_text(one) for one in alone])
    assert_close(model.encode_text(text), expected)
    assert_close(model.encode_text(wider), expected)


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_hugging_face_text_ignores_padding(pooling):
    model, text = HFText(BERT, pooling).eval(), texts(vocabulary=40)
    alone = torch.cat([model(Text(text.ids[i : i + 1, :n], text.mask[i : i + 1, :n])) for i, n in enumerate((4, 9, 2))])
    assert_close(model(text), alone)


def test_extra_tokens_learn_beside_a_frozen_encoder():
    torch.manual_seed(0)
    text = HFText(BERT, extra_tokens=10, frozen=True)
    model = TwoTower(OpenClipImage(CLIP, frozen=True), text, MLPHead(24, 16, 20), LinearHead(32, 16)).train()
    ids = torch.tensor([[5, 45, 3], [6, 7, 3]])
    output = model(Batch(text=Text(ids, ids > 0), visual=pictures(2)))
    (output.text_emb * output.image_emb).sum().backward()
    learning = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert learning == {"text", "image_head", "text_head"}
    assert [name for name, p in model.text.named_parameters() if p.grad is not None] == ["extra.weight"]
    assert text.extra.weight.grad.abs().sum(1).nonzero().flatten().tolist() == [5]
    assert text.vocab_size == 50


def test_frozen_towers_stay_in_evaluation_mode():
    tower = TimmImage("test_efficientnet", frozen=True)
    model = TwoTower(tower, TextTransformer(50, 16, 32, 1, 2, 24), LinearHead(tower.embed_dim, 24)).train()
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    model.encode_image(pictures(4, tower.image_size))
    assert model.training
    assert model.image_head.training
    assert not any(m.training for m in tower.modules())
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())


def test_widths_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"differ in width: \{'image': 24, 'text': 32\}.*LinearHead"):
        small(text=HFText(BERT))
    with pytest.raises(ValueError, match="text_head: in_features is 99, but text gives 32"):
        small(text=HFText(BERT), text_head=LinearHead(99, 24))


def test_depths_rise_from_the_input_to_the_output():
    model = small(text=HFText(BERT), text_head=LinearHead(32, 24))
    depth = model.depth_of
    assert depth("image.tower.conv1.weight") == depth("text.encoder.embeddings.word_embeddings.weight") == 0
    assert depth("image.tower.transformer.resblocks.0.ln_1.weight") == pytest.approx(1 / 3)
    assert depth("text.encoder.encoder.layer.1.output.dense.weight") == pytest.approx(2 / 3)
    assert depth("image.tower.proj") == depth("text_head.proj.weight") == depth("logit_scale") == 1
    assert len(list(model.blocks())) == 4


def test_bf16_stays_close_to_fp32():
    torch.manual_seed(0)
    model, batch = small(), Batch(text=texts(), visual=pictures())
    exact = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(batch)
    assert rough.image_emb.dtype == torch.float32
    assert_close(rough.image_emb, exact.image_emb, rtol=0, atol=0.02)
    assert_close(rough.text_emb, exact.text_emb, rtol=0, atol=0.02)


FAMILIES = ["ViT-S-16", "RN50-quickgelu", "ViT-B-16-SigLIP", "ViT-B-16-SigLIP2", "EVA02-B-16", "convnext_tiny"]
FAMILIES += ["MobileCLIP-S1", "ViTamin-S", "ViT-H-14-CLIPA", "PE-Core-T-16-384", "coca_base"]


@pytest.mark.parametrize("name", FAMILIES)
def test_open_clips_configurations_build_and_run(name):
    """One of each family; on the meta device shapes are all that is computed."""
    with torch.device("meta"):
        image = OpenClipImage(name).eval()
        pixels = torch.zeros(2, 3, image.image_size, image.image_size)
        assert image(pixels).shape == (2, image.embed_dim)
        text = OpenClipText(name)
        assert text.embed_dim == image.embed_dim
        assert len(image.blocks()) > 1
        assert len(text.blocks()) > 1


@pytest.mark.parametrize("name", ["ViT-S-32-alt", "coca_base"])
def test_a_text_tower_of_each_kind_runs(name):
    tower = OpenClipText(name).eval()
    assert tower(texts()).shape == (3, tower.embed_dim)


def test_unknown_names_suggest_near_ones():
    with pytest.raises(ValueError, match=r"no model 'ViT-B32'; near are .*ViT-B-32"):
        OpenClipImage("ViT-B32")
    with pytest.raises(ValueError, match="timm has no model 'resnet_50'"):
        TimmImage("resnet_50")
    with pytest.raises(ValueError, match=r"minilm-l6, bert-base or a config\.json"):
        HFText("minilm")
    with pytest.raises(ValueError, match=r"vision_cfg has no \['depth'\]"):
        OpenClipImage(CLIP | {"vision_cfg": VISION | {"depth": 3}})


def test_timm_position_embeddings_are_interpolated():
    small_tower, large = TimmImage("test_vit"), TimmImage("test_vit", image_size=224)
    large.load_state_dict(small_tower.state_dict())
    assert large(torch.rand(1, 3, 224, 224)).shape == (1, small_tower.embed_dim)
