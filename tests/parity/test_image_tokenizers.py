"""Image tokenizers through their converters, against Hugging Face's encoder and plain references."""

import pickle
import sys
import types
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vl.checkpoints import dall_e
from vl.checkpoints.cogview import from_cogview_vqvae, to_cogview_vqvae
from vl.checkpoints.inert import read_pickled_module
from vl.losses.reconstruction import squeeze_pixels
from vl.models.codebook import MovingAverageCodebook
from vl.models.discrete_vae import DiscreteVAE
from vl.models.vqvae import VQVAE


def small():
    torch.manual_seed(0)
    return DiscreteVAE(32, width=8, blocks=2, image_size=32, decoder_start=8).eval()


def test_encoder_is_bit_equal_to_flava():
    from transformers import FlavaImageCodebook, FlavaImageCodebookConfig

    torch.manual_seed(1)
    peer = FlavaImageCodebook(FlavaImageCodebookConfig(hidden_size=8, vocab_size=32, freeze=False)).eval()
    model = small()
    model.load_state_dict(dall_e.from_flava(peer.state_dict()), strict=False)
    assert dall_e.to_flava(model.state_dict()).keys() == peer.state_dict().keys()
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model.logits(pixels), peer(squeeze_pixels(pixels)))
        assert torch.equal(model.encode(pixels), peer.get_codebook_indices(squeeze_pixels(pixels)).flatten(1))


class _Conv(nn.Module):
    """A convolution whose weights are called w and b, as OpenAI's are."""

    def __init__(self, source):
        super().__init__()
        self.w, self.b = nn.Parameter(source.weight.data), nn.Parameter(source.bias.data)


class _Block(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.id_path = nn.Identity() if isinstance(block.id_path, nn.Identity) else _Conv(block.id_path)
        named = ((name, _Conv(layer)) for name, layer in block.res_path.named_children() if "conv" in name)
        self.res_path = nn.Sequential(OrderedDict(named))


def release(half):
    """The encoder or decoder as OpenAI's package builds it: `blocks` of groups of blocks of convolutions."""
    layers = OrderedDict(input=_Conv(half.blocks.input))
    for i in range(1, 5):
        group = getattr(half.blocks, f"group_{i}")
        layers[f"group_{i}"] = nn.Sequential(
            OrderedDict((n, _Block(b)) for n, b in group.named_children() if n.startswith("block"))
        )
    layers["output"] = nn.Sequential(OrderedDict(conv=_Conv(half.blocks.output.conv)))
    module = nn.Module()
    module.blocks = nn.Sequential(layers)
    return module


@pytest.fixture
def foreign_package(monkeypatch):
    """The pickled classes live in a package that is not there when the file is read."""
    package = types.ModuleType("dall_e_release")
    for kind in (_Conv, _Block):
        monkeypatch.setattr(kind, "__module__", package.__name__)
        setattr(package, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, package.__name__, package)
    return package.__name__


@pytest.mark.parametrize("legacy", [False, True])
def test_openai_files_are_read_without_their_package(tmp_path, foreign_package, monkeypatch, legacy):
    source = small()
    paths = [tmp_path / "encoder.pkl", tmp_path / "decoder.pkl"]
    for path, half in zip(paths, (source.encoder, source.decoder), strict=True):
        torch.save(release(half), path, _use_new_zipfile_serialization=not legacy)
    monkeypatch.delitem(sys.modules, foreign_package)
    state = dall_e.read_openai(*paths)
    torch.manual_seed(5)
    model = DiscreteVAE(32, width=8, blocks=2, image_size=32, decoder_start=8).eval()
    model.load_state_dict(state | {"temperature": torch.ones(1)})
    codes = torch.arange(16)[None]
    assert torch.equal(model.decode(codes), source.decode(codes))
    assert dall_e.to_openai(source.state_dict(), "encoder").keys() == release(source.encoder).state_dict().keys()


class _Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w')",)


def test_nothing_in_a_pickled_module_is_run(tmp_path):
    trap = tmp_path / "trap"
    module = nn.Linear(2, 2)
    module.payload = _Payload(trap)
    torch.save(module, tmp_path / "m.pkl")
    assert read_pickled_module(tmp_path / "m.pkl")["weight"].shape == (2, 2)
    (tmp_path / "n.pkl").write_bytes(pickle.dumps(_Payload(trap)))
    with pytest.raises(ValueError, match=r"n\.pkl is no pickled module|holds no module"):
        read_pickled_module(tmp_path / "n.pkl")
    assert not trap.exists()


def test_cogview_vqvae_equals_a_plain_reference():
    torch.manual_seed(0)
    model = VQVAE(MovingAverageCodebook(16, 4), width=8, image_size=32).eval()
    theirs = to_cogview_vqvae(model.state_dict())
    assert theirs["quantize_t.embed"].shape == (4, 16)
    again = from_cogview_vqvae({f"module.{name}": value for name, value in theirs.items()})
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())
    pixels = torch.rand(2, 3, 32, 32)
    x = (pixels - model.mean) / model.std
    for i in (0, 2, 4):
        x = F.conv2d(
            x, theirs[f"enc_b.blocks.{i}.weight"], theirs[f"enc_b.blocks.{i}.bias"], stride=2, padding=1
        ).relu()
    z = F.conv2d(x, theirs["enc_b.blocks.6.weight"], theirs["enc_b.blocks.6.bias"]).movedim(1, 3)
    codes = (z[..., None] - theirs["quantize_t.embed"]).square().sum(3).argmin(3)
    assert torch.equal(model.encode(pixels), codes.flatten(1))
    y = theirs["quantize_t.embed"].T[codes].movedim(3, 1)
    for i in (0, 2, 4):
        weights = theirs[f"dec.blocks.{i}.weight"], theirs[f"dec.blocks.{i}.bias"]
        y = F.conv_transpose2d(y, *weights, stride=2, padding=1).relu()
    y = F.conv2d(y, theirs["dec.blocks.6.weight"], theirs["dec.blocks.6.bias"]) * model.std + model.mean
    torch.testing.assert_close(model.decode(codes.flatten(1)), y.clamp(0, 1), atol=1e-5, rtol=1e-5)
