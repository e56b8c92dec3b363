import pytest
import torch
from safetensors.torch import save_file

from vl.checkpoints.start import HeadWeights, HFWeights, OpenClipWeights, TimmWeights, VLWeights
from vl.models.heads import LinearHead
from vl.models.hf_text import HFText
from vl.models.open_clip_image import OpenClipImage
from vl.models.text_transformer import TextTransformer
from vl.models.timm_image import TimmImage
from vl.models.two_tower import TwoTower

BERT = {"model_type": "bert", "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2}
BERT |= {"num_attention_heads": 2, "intermediate_size": 48}


def build():
    image = TimmImage("test_efficientnet")
    return TwoTower(image, HFText(BERT), LinearHead(image.embed_dim, 16), LinearHead(32, 16))


def same(module, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("renamed", [True, False])
def test_timm_weights_match_by_name_or_by_order(tmp_path, renamed):
    import timm

    source = timm.create_model("test_efficientnet", num_classes=7)
    state = source.state_dict()
    torch.save({f"x{i}": v for i, v in enumerate(state.values())} if renamed else state, tmp_path / "w.pth")
    model = build()
    TimmWeights(str(tmp_path / "w.pth"))(model)
    source.reset_classifier(0)
    assert same(model.image.backbone, source)


def test_a_backbone_of_another_shape_is_named(tmp_path):
    state = build().image.backbone.state_dict()
    values = [v.flatten()[:1] if i == 3 else v for i, v in enumerate(state.values())]
    torch.save({f"x{i}": value for i, value in enumerate(values)}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"x3 stands where .* should, but its shape is"):
        TimmWeights(str(tmp_path / "w.pth"))(build())


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_hugging_face_weights_without_heads(tmp_path, prefix):
    source, model = HFText(BERT).encoder, build()
    state = {prefix + name: value for name, value in source.state_dict().items()}
    state |= {"cls.predictions.bias": torch.zeros(40), f"{prefix}pooler.dense.bias": torch.zeros(32)}
    save_file(state, tmp_path / "model.safetensors")
    HFWeights(str(tmp_path))(model)
    assert same(model.text.encoder, source)


def test_a_part_of_another_checkpoint(tmp_path):
    source, model = build(), build()
    torch.save({"state_dict": {f"model.{n}": v for n, v in source.state_dict().items()}, "vl": {}}, tmp_path / "a.ckpt")
    VLWeights(str(tmp_path / "a.ckpt"), "text")(model)
    assert same(model.text, source.text)
    assert not same(model.image_head, source.image_head)
    VLWeights(str(tmp_path / "a.ckpt"), "image_head", part="image_head")(model)
    assert same(model.image_head, source.image_head)


def test_one_tower_of_an_openai_file(tmp_path):
    from open_clip.model import CLIP

    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    text = {"context_length": 12, "vocab_size": 300, "width": 64, "heads": 1, "layers": 1}
    config = {"embed_dim": 16, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    torch.save(CLIP(**config).state_dict(), tmp_path / "clip.pt")
    model = TwoTower(OpenClipImage(config, image_size=64), TextTransformer(99, 20, 32, 1, 1, 16))
    with pytest.raises(ValueError, match="does not fit"):
        OpenClipWeights(str(tmp_path / "clip.pt"))(model)
    OpenClipWeights(str(tmp_path / "clip.pt"), target="image")(model)
    expected = torch.load(tmp_path / "clip.pt", weights_only=True)
    assert torch.equal(model.image.tower.proj, expected["visual.proj"])
    assert model.image.tower.positional_embedding.shape == (17, 64)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no package nowhere; install it"):
        TimmWeights("package:nowhere/weights.pth")(build())
    with pytest.raises(ValueError, match="no part 'imag'; its parts are image, text"):
        TimmWeights(str(tmp_path), target="imag")(build())
    with pytest.raises(ValueError, match="there is no checkpoint at"):
        HFWeights(str(tmp_path / "none"))(build())


def test_a_head_of_another_run_begins_a_head_of_this_one(tmp_path):
    itm, rank = (
        torch.nn.Linear(8, 2),
        torch.nn.ModuleDict({"retrieval": torch.nn.ModuleDict({"head": torch.nn.Linear(8, 1)})}),
    )
    state = {f"objectives.itm.head.{name}": value for name, value in itm.state_dict().items()}
    torch.save({"state_dict": state | {"model.text.weight": torch.zeros(2)}, "vl": {}}, tmp_path / "a.ckpt")
    HeadWeights(str(tmp_path / "a.ckpt"), "retrieval.head", "itm.head", row=1)(rank)
    assert torch.equal(rank["retrieval"]["head"].weight, itm.weight[1:])
    assert torch.equal(rank["retrieval"]["head"].bias, itm.bias[1:])
    with pytest.raises(ValueError, match="does not fit Linear"):
        HeadWeights(str(tmp_path / "a.ckpt"), "retrieval.head", "itm.head")(rank)
    with pytest.raises(ValueError, match="lacks"):
        HeadWeights(str(tmp_path / "a.ckpt"), "retrieval.head", "mlm.head")(rank)
