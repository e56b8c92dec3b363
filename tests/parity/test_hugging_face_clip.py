"""`TwoTower` against Hugging Face's `CLIPModel` with the same random weights, through the converter both ways."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import CLIPConfig, CLIPModel

from vl.batch import Batch, Text, Visual
from vl.checkpoints.hf_clip import from_hugging_face, hugging_face_config, open_clip_config, to_hugging_face
from vl.checkpoints.state import load_strict
from vl.models.open_clip_image import OpenClipImage
from vl.models.open_clip_text import OpenClipText
from vl.models.towers import normalize_pixels
from vl.models.two_tower import TwoTower

CONFIG = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 48, "patch_size": 16, "head_width": 32, "layers": 2, "width": 64, "mlp_ratio": 4.0},
    "text_cfg": {"context_length": 30, "vocab_size": 120, "heads": 2, "layers": 2, "width": 64, "mlp_ratio": 4.0},
}
END_BY_ID = CONFIG | {"text_cfg": CONFIG["text_cfg"] | {"pool_type": "eos", "eos_id": 7}}


def build_pair(config):
    torch.manual_seed(0)
    theirs = CLIPModel(CLIPConfig(**hugging_face_config(config))).eval()
    ours = TwoTower(OpenClipImage(config), OpenClipText(config))
    load_strict(ours, from_hugging_face(theirs.state_dict()), "CLIPModel")
    return ours, theirs


def captions(end):
    lengths = torch.tensor([5, 30, 2, 9])
    mask = torch.arange(30) < lengths[:, None]
    ids = torch.randint(8, 118, mask.shape) * mask
    ids[torch.arange(4), lengths - 1] = end
    return Text(ids, mask)


def logits_of(ours, theirs, text, pixels, **options):
    output = ours(Batch(text=text, visual=Visual(pixels=pixels)))
    normed = normalize_pixels(pixels, ours.image.mean, ours.image.std)
    result = theirs(input_ids=text.ids, attention_mask=text.mask.long(), pixel_values=normed, **options)
    return output.logit_scale * output.image_emb @ output.text_emb.T, result.logits_per_image


@pytest.mark.parametrize(("config", "end"), [(CONFIG, 119), (END_BY_ID, 7)])
def test_logits_and_gradients(config, end):
    ours, theirs = build_pair(config)
    own, other = logits_of(ours, theirs, captions(end), torch.rand(4, 3, 48, 48))
    torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-5)
    for logits in (own, other):
        cross_entropy(logits, torch.arange(4)).backward()
    gradients = to_hugging_face({name: p.grad for name, p in ours.named_parameters()})
    expected = {name: p.grad for name, p in theirs.named_parameters()}
    assert gradients.keys() == expected.keys()
    scale = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-5 * float(scale))


def test_weights_go_and_come_back():
    ours, theirs = build_pair(CONFIG)
    exported = to_hugging_face(ours.state_dict())
    theirs.load_state_dict(exported, strict=True)
    returned = from_hugging_face(exported)
    assert returned.keys() == ours.state_dict().keys()
    assert all(torch.equal(value, returned[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize("config", [CONFIG, END_BY_ID])
def test_configurations_go_and_come_back(config):
    assert open_clip_config(hugging_face_config(config)) == config


def test_another_image_size():
    _, theirs = build_pair(CONFIG)
    larger = TwoTower(OpenClipImage(CONFIG, image_size=80), OpenClipText(CONFIG))
    load_strict(larger, from_hugging_face(theirs.state_dict()), "CLIPModel")
    vision = CONFIG["vision_cfg"] | {"image_size": 80}
    resized = CLIPModel(CLIPConfig(**hugging_face_config(CONFIG | {"vision_cfg": vision}))).eval()
    resized.load_state_dict(to_hugging_face(larger.state_dict()), strict=True)
    text, pixels = captions(119), torch.rand(4, 3, 80, 80)
    own, other = logits_of(larger, resized, text, pixels)
    torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-5)
    # Their own interpolation has another bicubic kernel: near, but not the same.
    _, other = logits_of(larger, theirs, text, pixels, interpolate_pos_encoding=True)
    torch.testing.assert_close(own, other, rtol=0, atol=5e-3)


def test_what_hugging_face_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"plain ViT CLIP only.*timm_model_name"):
        hugging_face_config(CONFIG | {"vision_cfg": {"timm_model_name": "resnet18", "layers": 2}})
    with pytest.raises(ValueError, match=r"no place for image\.tower\.layer1"):
        to_hugging_face({"image.tower.layer1.0.conv1.weight": torch.zeros(1)})
    ours, theirs = build_pair(CONFIG)
    state = theirs.state_dict()
    state["vision_model.extra"] = state.pop("vision_model.post_layernorm.bias")
    with pytest.raises(ValueError, match=r"lacks image\.tower\.ln_post\.bias; nothing takes vision_model\.extra"):
        load_strict(ours, from_hugging_face(state), "CLIPModel")
