"""VQGAN through its converter, against Hugging Face's encoders and decoder of the same architecture."""

import re
import runpy
import sys
import types

import pytest
import torch
from transformers import ChameleonVQVAE, ChameleonVQVAEConfig, JanusVQVAE, JanusVQVAEConfig

from vl.batch import Batch, Visual
from vl.checkpoints.vqgan import from_taming, infer_sizes, read_vqgan, to_taming
from vl.evaluation.encode_shards import load_tokenizer
from vl.models.vqgan import VQGAN

SMALL = {"num_codes": 40, "code_width": 12, "latent_width": 8, "width": 32, "multipliers": (1, 2, 3), "blocks": 2}


def small(attention=(2,)):
    """A random model whose codes differ from cell to cell."""
    torch.manual_seed(0)
    model = VQGAN(**SMALL, attention=attention, image_size=32).eval()
    for name, value in model.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(value, mean=float(name.endswith("weight")), std=0.3)
    z = model.features(torch.rand(8, 3, 32, 32)).flatten(0, 2)
    model.codebook.vectors.data = z[:: len(z) // 40][:40].clone()
    return model


def peer(kind, configuration, model, **options):
    """Hugging Face's model with our weights."""
    config = configuration(
        embed_dim=12, num_embeddings=40, latent_channels=8, base_channels=32, channel_multiplier=[1, 2, 3],
        num_res_blocks=2, resolution=32, **options,
    )  # fmt: skip
    found = kind(config).eval()
    # Chameleon's has no decoder, Janus's counts the decoder's levels from the lowest.
    named = {from_the_lowest(name): value for name, value in to_taming(model.state_dict()).items()}
    state = {name: value for name, value in named.items() if kind is JanusVQVAE or not name.startswith("decoder.")}
    assert found.state_dict().keys() == state.keys()
    found.load_state_dict(state)
    return found


def from_the_lowest(name):
    return re.sub(r"^decoder\.up\.(\d)", lambda level: f"decoder.up.{2 - int(level[1])}", name)


@pytest.fixture
def pixels():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_codes_and_pictures_are_those_of_januss_tokenizer(pixels):
    model = small()
    theirs = peer(JanusVQVAE, JanusVQVAEConfig, model)
    codes = model.encode(pixels)
    assert codes.shape == (3, 64)
    assert codes.unique().numel() > 20
    torch.testing.assert_close(model.encoder(2 * pixels - 1), theirs.encoder(2 * pixels - 1), atol=2e-5, rtol=1e-4)
    assert torch.equal(codes.flatten(), theirs.encode(2 * pixels - 1).image_tokens)
    vectors = theirs.quantize.embedding(codes).view(3, 8, 8, 12).movedim(3, 1)
    shown = theirs.decoder(theirs.post_quant_conv(vectors))
    assert shown.abs().max() > 0.2
    torch.testing.assert_close(model.decode(codes), ((shown + 1) / 2).clamp(0, 1), atol=2e-5, rtol=1e-4)
    output = model(Batch(visual=Visual(pixels=(pixels * 255).to(torch.uint8)), keys=("a", "b", "c")))
    assert output.pixels.shape == pixels.shape
    assert output.codes.shape == codes.shape
    assert model.decode(codes[:, :9]).shape == (3, 3, 12, 12)


@torch.no_grad()
@pytest.mark.parametrize("attention", [(), (1,), (0, 2)])
def test_codes_are_those_of_chameleons_tokenizer(pixels, attention):
    model = small(attention)
    resolutions = [32 // 2**level for level in attention]
    theirs = peer(ChameleonVQVAE, ChameleonVQVAEConfig, model, attn_resolutions=resolutions)
    torch.testing.assert_close(model.encoder(2 * pixels - 1), theirs.encoder(2 * pixels - 1), atol=2e-5, rtol=1e-4)
    assert torch.equal(model.encode(pixels).flatten(), theirs.encode(2 * pixels - 1).image_tokens)


@pytest.mark.parametrize(("num_codes", "parameters"), [(1024, 72_141_699), (16384, 76_073_859)])
def test_published_sizes(num_codes, parameters):
    with torch.device("meta"):
        model = VQGAN(num_codes)
        theirs = JanusVQVAE(
            JanusVQVAEConfig(
                embed_dim=256, num_embeddings=num_codes, latent_channels=256, channel_multiplier=[1, 1, 2, 2, 4]
            )
        )
    assert sum(value.numel() for value in model.parameters()) == parameters
    assert sum(value.numel() for value in theirs.parameters()) == parameters
    assert (model.codes_per_side, model.stride) == (16, 16)
    shapes = {name: tuple(value.shape) for name, value in to_taming(model.state_dict()).items()}
    assert shapes["quantize.embedding.weight"] == (num_codes, 256)
    assert shapes["encoder.down.4.block.0.nin_shortcut.weight"] == (512, 256, 1, 1)
    assert shapes["encoder.down.4.attn.1.proj_out.weight"] == (512, 512, 1, 1)
    assert shapes["encoder.mid.block_1.norm1.weight"] == (512,)
    assert shapes["decoder.up.4.upsample.conv.weight"] == (512, 512, 3, 3)
    assert shapes["decoder.up.0.block.2.conv2.weight"] == (128, 128, 3, 3)
    assert not any(name.startswith(("encoder.down.4.downsample", "decoder.up.0.upsample")) for name in shapes)


def release(model):
    """What a released file holds beside the weights: a discriminator, a perceptual loss, and a class of Lightning."""
    training = {
        "loss.discriminator.main.0.weight": torch.randn(4, 3, 4, 4),
        "loss.discriminator.main.3.num_batches_tracked": torch.tensor(7),
        "loss.perceptual_loss.net.slice1.0.weight": torch.randn(4, 3, 3, 3),
    }
    return {"epoch": 3, "state_dict": to_taming(model.state_dict()) | training}


@pytest.fixture
def lightning_class(monkeypatch):
    """A class of a package that is not there when the file is read; its objects would leave a trace."""
    package = types.ModuleType("old_lightning")
    package.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": "old_lightning"})
    monkeypatch.setitem(sys.modules, "old_lightning", package)
    return package.ModelCheckpoint


@pytest.mark.parametrize("legacy", [False, True])
def test_a_released_file_is_read_without_its_classes(tmp_path, lightning_class, monkeypatch, pixels, legacy):
    model, path = small(), tmp_path / "last.ckpt"
    content = release(model) | {"callbacks": {lightning_class: {"best": torch.tensor(0.5), "as": lightning_class()}}}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    monkeypatch.delitem(sys.modules, "old_lightning")
    left_out = r"last\.ckpt: left out .* tensors: 2 of loss\.discriminator, 1 of loss\.perceptual_loss"
    with pytest.warns(UserWarning, match=left_out):
        bundle = read_vqgan(path, image_size=32)
    assert bundle.model.fingerprint == model.fingerprint
    assert not any(parameter.requires_grad for parameter in bundle.model.parameters())
    again = load_tokenizer(str(bundle.save(tmp_path / "folder")))
    assert torch.equal(again.model.encode(pixels), model.encode(pixels))
    assert again.image.size == 32


@pytest.mark.filterwarnings("ignore:.*left out what only training needs")
def test_the_tool_writes_a_folder_that_encodes(tmp_path, pixels):
    torch.save(release(small()), tmp_path / "last.ckpt")
    convert = runpy.run_path("tools/convert_checkpoint.py")["main"]
    convert(["vqgan", str(tmp_path / "last.ckpt"), str(tmp_path / "folder")])
    tokenizer = load_tokenizer(str(tmp_path / "folder"))
    assert torch.equal(tokenizer.model.encode(pixels), small().encode(pixels))
    assert tokenizer.image.size == tokenizer.model.image_size == 256


def test_sizes_follow_from_the_weights():
    for attention in ((2,), (), (0, 1)):
        model = VQGAN(**SMALL, attention=attention, image_size=32)
        sizes = infer_sizes(to_taming(model.state_dict()))
        assert sizes == SMALL | {"multipliers": [1, 2, 3], "attention": list(attention)}
    kept = from_taming(to_taming(model.state_dict()))
    assert kept.keys() == model.state_dict().keys()


@pytest.mark.parametrize(
    ("lost", "added", "message"),
    [
        ("quantize.embedding.weight", "quantize.embed.weight", "a Gumbel quantizer, which VL has not"),
        ("encoder.conv_in.weight", "", r"no VQGAN of taming-transformers: it lacks encoder\.conv_in\.weight"),
        ("decoder.conv_in.bias", "", r"last\.ckpt does not fit VQGAN: it lacks decoder\.conv_in\.bias$"),
        ("", "model_ema.decay", r"nothing takes model_ema\.decay$"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, lost, added, message):
    state = to_taming(small().state_dict()) | ({added: torch.zeros(1)} if added else {})
    state.pop(lost, None)
    torch.save(state, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=message):
        read_vqgan(tmp_path / "last.ckpt", image_size=32)


def test_what_is_no_state_dict_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.ckpt")
    with pytest.raises(ValueError, match=r"module\.ckpt has no quantize\.embedding\.weight"):
        read_vqgan(tmp_path / "module.ckpt")
    with pytest.raises(ValueError, match="there is no checkpoint at nowhere"):
        read_vqgan("nowhere.ckpt")
    with pytest.raises(ValueError, match="image_size must be a multiple of 16, not 100"):
        VQGAN(image_size=100)
