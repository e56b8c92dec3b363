"""`TwoTower` against open_clip with the same random weights, through the converter in both directions."""

import open_clip
import pytest
import torch
from open_clip.model import CLIP, CustomTextCLIP
from torch.nn.functional import cross_entropy, pad

from vl.batch import Batch, Text, Visual
from vl.checkpoints.clip import from_open_clip, infer_config, to_open_clip
from vl.checkpoints.state import load_strict
from vl.models.open_clip_image import OpenClipImage
from vl.models.open_clip_text import OpenClipText
from vl.models.towers import normalize_pixels
from vl.models.two_tower import TwoTower

TEXT = {"context_length": 77, "vocab_size": 120, "width": 64, "heads": 2, "layers": 3}
VIT = {"image_size": 48, "layers": 3, "width": 64, "head_width": 32, "patch_size": 16}
RESNET = {"image_size": 64, "layers": [1, 2, 1, 1], "width": 8, "patch_size": None}
MODELS = {
    "vit": {"embed_dim": 32, "vision_cfg": VIT, "text_cfg": TEXT},
    "vit quick_gelu": {"embed_dim": 32, "quick_gelu": True, "vision_cfg": VIT, "text_cfg": TEXT},
    "resnet": {"embed_dim": 32, "vision_cfg": RESNET, "text_cfg": TEXT},
    "average pooling": {"embed_dim": 32, "vision_cfg": VIT | {"pool_type": "avg"}, "text_cfg": TEXT},
    "end token by id": {"embed_dim": 32, "vision_cfg": VIT, "text_cfg": TEXT | {"pool_type": "eos", "eos_id": 119}},
    "custom blocks": {"embed_dim": 32, "vision_cfg": VIT | {"qk_norm": True}, "text_cfg": TEXT | {"scale_fc": True}},
    "siglip text": {
        "embed_dim": 32,
        "custom_text": True,
        "init_logit_bias": -10.0,
        "vision_cfg": VIT,
        "text_cfg": TEXT | {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
    },
    "timm": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear"},
        "text_cfg": TEXT,
    },
}


def captions(lengths=(5, 9, 3, 77, 2)):
    """Ragged captions of random ids; the last real one is the highest id."""
    longest = max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    ids = torch.randint(1, 119, mask.shape) * mask
    ids[torch.arange(len(lengths)), torch.tensor(lengths) - 1] = 119
    return Text(ids, mask)


def build_pair(config):
    """Ours and open_clip's model with the same random weights, loaded through the converter."""
    torch.manual_seed(0)
    custom = config.get("custom_text", False)
    arguments = {name: value for name, value in config.items() if name != "custom_text"}
    theirs = (CustomTextCLIP if custom else CLIP)(**arguments)
    with torch.no_grad():
        for parameter in theirs.parameters():  # some start at zero, which would hide errors
            parameter.add_(torch.randn_like(parameter) * 0.05)
    ours = TwoTower(OpenClipImage(config), OpenClipText(config), logit_bias=config.get("init_logit_bias"))
    load_strict(ours, from_open_clip(theirs.state_dict()), "open_clip")
    return ours, theirs, {"image.tower.": "visual.", "text.tower.": "text." if custom else ""}


def losses(ours, theirs, text, pixels):
    """Logits of both, ours from the ragged captions, theirs from captions padded to the context."""
    ids = pad(text.ids, (0, 77 - text.ids.shape[1]))
    output = ours(Batch(text=text, visual=Visual(pixels=pixels)))
    image, words, scale = theirs(normalize_pixels(pixels, ours.image.mean, ours.image.std), ids)[:3]
    own = output.logit_scale * output.image_emb @ output.text_emb.T
    other = scale * image @ words.T
    return own, other


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("lengths", [(5, 9, 3, 77, 2), (6, 4, 11, 3, 8)])
def test_logits_and_gradients(name, lengths):
    ours, theirs, prefixes = build_pair(MODELS[name])
    size = MODELS[name]["vision_cfg"]["image_size"]
    own, other = losses(ours, theirs, captions(lengths), torch.rand(5, 3, size, size))
    torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-5)
    for logits in (own, other):
        cross_entropy(logits, torch.arange(5)).backward()
    gradients = {n: p.grad for n, p in ours.named_parameters() if p.grad is not None}
    gradients = to_open_clip(gradients, prefixes)
    expected = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    assert gradients.keys() == expected.keys()
    scale = max(gradient.abs().max() for gradient in expected.values())
    for parameter, gradient in expected.items():
        torch.testing.assert_close(gradients[parameter], gradient, rtol=1e-4, atol=1e-5 * float(scale))


@pytest.mark.parametrize("name", MODELS)
def test_weights_go_and_come_back(name):
    ours, theirs, prefixes = build_pair(MODELS[name])
    exported = to_open_clip(ours.state_dict(), prefixes)
    theirs.load_state_dict(exported, strict=True)
    returned = from_open_clip(exported)
    assert returned.keys() == ours.state_dict().keys()
    assert all(torch.equal(value, returned[parameter]) for parameter, value in ours.state_dict().items())


@pytest.mark.parametrize(("name", "size"), [("vit", 96), ("vit", 32), ("resnet", 96)])
def test_another_image_size_interpolates_the_position_embeddings(name, size):
    config = MODELS[name]
    _, theirs, _ = build_pair(config)
    ours = TwoTower(OpenClipImage(config, image_size=size), OpenClipText(config))
    load_strict(ours, from_open_clip(theirs.state_dict()), "open_clip")
    larger = CLIP(**config | {"vision_cfg": config["vision_cfg"] | {"image_size": size}})
    state = theirs.state_dict()
    if name == "vit":
        open_clip.model.resize_pos_embed(state, larger)
    else:  # open_clip itself does not resize the attention pooling's
        state["visual.attnpool.positional_embedding"] = ours.image.tower.attnpool.positional_embedding.detach()
    larger.load_state_dict(state)
    own, other = losses(ours, larger, captions(), torch.rand(5, 3, size, size))
    torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["vit quick_gelu", "resnet"])
def test_openai_shapes_give_the_configuration(name):
    config = MODELS[name] | {"quick_gelu": True}
    config |= {"text_cfg": TEXT | {"width": 128}, "vision_cfg": config["vision_cfg"] | {"head_width": 64}}
    inferred = infer_config(CLIP(**config).state_dict())
    assert inferred["vision_cfg"].items() <= config["vision_cfg"].items()
    assert (inferred["text_cfg"], inferred["embed_dim"]) == (config["text_cfg"], 32)


OPENAI = {
    "RN50": (102_007_137, 38_316_896),
    "RN101": (119_688_033, 56_259_936),
    "RN50x4": (178_300_601, 87_137_080),
    "RN50x16": (290_979_217, 167_328_912),
    "RN50x64": (623_258_305, 420_380_352),
    "ViT-B-32": (151_277_313, 87_849_216),
    "ViT-B-16": (149_620_737, 86_192_640),
    "ViT-L-14": (427_616_513, 303_966_208),
    "ViT-L-14-336": (427_944_193, 304_293_888),
}


@pytest.mark.parametrize("name", OPENAI)
def test_parameters_of_openais_models(name):
    with torch.device("meta"):
        model = TwoTower(OpenClipImage(name), OpenClipText(name))
    assert (_size(model), _size(model.image)) == OPENAI[name]


def _size(module):
    return sum(parameter.numel() for parameter in module.parameters())
