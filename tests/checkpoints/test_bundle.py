"""Bundles: ours there and back, everybody else's in, and nothing but VL's classes built."""

import copy
import json
import os
import shutil
import sys

import open_clip
import pytest
import torch
from jsonargparse import ArgumentParser
from open_clip.model import CLIP, CustomTextCLIP
from ranks import run_ranks
from safetensors.torch import save_file
from tokenizers import Tokenizer as Core
from tokenizers import models, pre_tokenizers, processors
from torch.testing import assert_close
from transformers import PreTrainedTokenizerFast

from vl.batch import Batch, Visual
from vl.checkpoints.bundle import Bundle, from_pretrained, load, portable
from vl.checkpoints.foreign import clip_trees
from vl.models.hf_text import HFText
from vl.models.open_clip_image import OpenClipImage
from vl.models.timm_image import TimmImage

CONFIG = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}
TEXTS = ["a cat", "Two  dogs, and a very long caption that has to be cut short!", "\u4e00\u53ea\u732b"]


@pytest.fixture(scope="module")
def bundle():
    torch.manual_seed(0)
    built = Bundle.build(clip_trees(CONFIG, {"mean": [0.5] * 3, "std": [0.25] * 3}))
    built.model.eval()
    return built


def embeddings(bundle):
    torch.manual_seed(1)
    visual = Visual(pixels=torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8))
    with torch.no_grad():
        output = bundle.model(Batch(text=bundle.tokenizer.encode(TEXTS), visual=visual))
    return output.text_emb, output.image_emb, output.logit_scale


def training_checkpoint(bundle, files=None):
    """What the trainer saves beside Lightning's own."""
    as_bytes = {n: torch.frombuffer(bytearray(v), dtype=torch.uint8) for n, v in (files or {}).items()}
    own = {"schema": 1, "config": bundle.config, "files": as_bytes, "run": "", "data": {}}
    return {"state_dict": {f"model.{n}": v for n, v in bundle.model.state_dict().items()}, "global_step": 3, "vl": own}


def test_a_folder_gives_the_same_model(bundle, tmp_path):
    loaded = load(bundle.save(tmp_path / "model"))
    assert not loaded.model.training
    assert_close(embeddings(loaded), embeddings(bundle), rtol=0, atol=0)
    assert loaded.image.size == 32
    assert loaded.config == bundle.config


def test_tokenizer_files_travel(tmp_path, bundle):
    (tmp_path / "source").mkdir()
    vocabulary = tmp_path / "source/vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog"]))
    tokenizer = {
        "class_path": "vl.data.tokenizers.WordPieceTokenizer",
        "init_args": {"vocab_file": str(vocabulary), "context_length": 9},
    }
    files = {"vocab.txt": vocabulary.read_bytes()}
    whole = Bundle.build(bundle.config | {"tokenizer": tokenizer}, files)
    torch.save(training_checkpoint(whole, files), tmp_path / "run.ckpt")
    folder = whole.save(tmp_path / "model")
    shutil.rmtree(tmp_path / "source")
    for path in (folder, tmp_path / "run.ckpt"):
        loaded = load(path)
        assert loaded.tokenizer.encode(["dog cat"]).ids.tolist() == [[2, 6, 5, 3]]
        assert load(loaded.save(tmp_path / "again")).tokenizer.fingerprint == loaded.tokenizer.fingerprint


def test_a_training_checkpoint_loads_without_its_augmentation(bundle, tmp_path):
    flip = {"class_path": "vl.data.stages.HorizontalFlip"}
    crop = {"class_path": "vl.data.stages.RandomResizedCrop"}
    stage = {"class_path": "vl.data.stages.ImageStage", "init_args": {"size": 32, "augment": [flip], "crop": crop}}
    whole = Bundle.build(bundle.config | {"image": stage})
    whole.model.load_state_dict(bundle.model.state_dict())
    torch.save(training_checkpoint(whole), tmp_path / "run.ckpt")
    loaded = load(tmp_path / "run.ckpt")
    assert_close(embeddings(loaded), embeddings(bundle), rtol=0, atol=0)
    assert not loaded.image.augment
    assert not loaded.image.crop.num_draws


def test_a_configuration_file_is_taken_along(tmp_path):
    (tmp_path / "tiny.json").write_text(json.dumps(CONFIG))
    tree = {"class_path": "x", "init_args": {"image": {"init_args": {"config": str(tmp_path / "tiny.json")}}}}
    assert portable(tree)["init_args"]["image"]["init_args"]["config"] == CONFIG
    assert portable({"config": "ViT-B-32"}) == {"config": "ViT-B-32"}


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "subprocess.Popen", "torch.nn.Linear", "eval", 5])
@pytest.mark.parametrize("place", ["model", "image tower", "tokenizer", "image"])
def test_classes_outside_of_vl_are_refused(bundle, name, place):
    config = copy.deepcopy(bundle.config)
    tree = {"class_path": name, "init_args": {"command": "touch executed"}}
    if place == "image tower":
        config["model"]["init_args"]["image"] = tree
    else:
        config[place] = tree
    with pytest.raises(ValueError, match="only classes of VL are built"):
        Bundle.build(config)


FOREIGN = {"class_path": "never_imported.Tower"}


@pytest.mark.parametrize(
    "hide",
    [
        lambda c, file: c["model"]["init_args"].update(image="never_imported.Tower"),
        lambda c, file: c["model"]["init_args"].update(image=json.dumps(FOREIGN)),
        lambda c, file: c["model"]["init_args"].update(image=str(file)),
        lambda c, file: c["model"]["init_args"].update({"image.class_path": "never_imported.Tower"}),
        lambda c, file: c["model"].update({"init_args.image.class_path": "never_imported.Tower"}),
        lambda c, file: c.update(model="never_imported.Tower"),
        lambda c, file: c.update(image="never_imported.Tower"),
        lambda c, file: c["model"]["init_args"]["image"]["init_args"].update(config=FOREIGN),
        lambda c, file: c.update(model={"class_path": "vl.models.two_tower.Tensor"}),
    ],
)
def test_no_other_way_to_name_a_class_imports_one(bundle, tmp_path, monkeypatch, hide):
    """jsonargparse reads classes from strings, JSON, files and dotted keys as well: none may run a foreign module."""
    (tmp_path / "never_imported.py").write_text("class Tower:\n    pass\n")
    (tmp_path / "tower.json").write_text(json.dumps(FOREIGN))
    monkeypatch.syspath_prepend(tmp_path)
    config = copy.deepcopy(bundle.config)
    hide(config, tmp_path / "tower.json")
    with pytest.raises(ValueError, match=r"the checkpoint|vision_cfg"):
        Bundle.build(config)
    assert "never_imported" not in sys.modules


def test_a_parser_outside_of_checkpoints_takes_other_classes(bundle):
    Bundle.build(bundle.config, bundle.files)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--layer", type=torch.nn.Module)
    parser.parse_args(["--layer=torch.nn.Identity"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "describes no model"),
        ({"model": {"class_path": "vl.models.two_tower.TwoTower", "init_args": [1]}}, "init_args that are no mapping"),
        ({"tokenizer": "bpe"}, "tokenizer is no tree"),
    ],
)
def test_malformed_descriptions_are_named(bundle, config, message):
    with pytest.raises(ValueError, match=message):
        Bundle.build(config and bundle.config | config)


@pytest.mark.parametrize(
    "settings",
    [
        {"model_type": "bert", "auto_map": {"AutoModel": "repository/code--m.X"}},
        {"model_type": "bert", "attn_implementation": "repository/kernel"},
    ],
)
def test_code_of_a_repository_is_refused(settings):
    with pytest.raises(ValueError, match="must not name code of a repository"):
        HFText(settings)


def test_towers_fetch_nothing():
    with pytest.raises(ValueError, match="start weights in the run's `init`"):
        TimmImage("resnet10t", options={"checkpoint_path": "weights.pt"})
    with pytest.raises(ValueError, match="not a repository"):
        OpenClipImage(CONFIG | {"vision_cfg": {"timm_model_name": "hf-hub:repository/model"}})


@pytest.mark.parametrize("name", ["vl.data.tokenizers.ClipTokenizer", "vl.checkpoints.bundle.load", "vl.nothing.Here"])
def test_classes_of_vl_only_where_they_belong(bundle, name):
    with pytest.raises(ValueError, match="the checkpoint's model cannot be built"):
        Bundle.build(bundle.config | {"model": {"class_path": name}})


def test_damage_is_named(bundle, tmp_path):
    folder = bundle.save(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"schema": 99}))
    with pytest.raises(ValueError, match="schema 99; this version of VL reads 1"):
        load(folder)
    (folder / "config.json").write_text(json.dumps(config)[:50])
    with pytest.raises(ValueError, match="no JSON, or cut short"):
        load(folder)
    config["model"]["init_args"]["image"]["init_args"]["config"]["embed_dim"] = 8
    config["model"]["init_args"]["text"]["init_args"]["config"]["embed_dim"] = 8
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"does not fit TwoTower.*image\.tower\.proj"):
        load(folder)
    with pytest.raises(ValueError, match="there is no checkpoint at"):
        load(tmp_path / "nothing.ckpt")


def test_the_hub_is_reached_through_its_library(bundle, tmp_path, monkeypatch):
    """Up and down again, with a folder in the place of the hub."""
    import huggingface_hub

    class Api:
        def __init__(self, token=None):
            assert token == "secret"

        def create_repo(self, repo, private, exist_ok):
            assert private
            assert exist_ok
            return f"https://huggingface.co/{repo}"

        def upload_folder(self, repo_id, folder_path):
            shutil.copytree(folder_path, tmp_path / "hub" / repo_id)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo, **_: str(tmp_path / "hub" / repo))
    assert bundle.push_to_hub("someone/clip", token="secret") == "https://huggingface.co/someone/clip"
    for loaded in (from_pretrained("someone/clip"), load("someone/clip"), load("hf-hub:someone/clip")):
        assert_close(embeddings(loaded), embeddings(bundle), rtol=0, atol=0)


@pytest.fixture(scope="module")
def open_clip_file(tmp_path_factory):
    torch.manual_seed(2)
    folder, model = tmp_path_factory.mktemp("open_clip"), CLIP(**CONFIG).eval()
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"epoch": 2, "name": "tiny", "state_dict": state}, folder / "epoch_2.pt")
    (folder / "tiny.json").write_text(json.dumps(CONFIG))
    return folder, model


def check_against(model, loaded):
    text, image, scale = embeddings(loaded)
    ids = open_clip.SimpleTokenizer(context_length=12)(TEXTS)
    with torch.no_grad():
        assert_close(text, model.encode_text(ids, normalize=True), rtol=1e-5, atol=1e-5)
        torch.manual_seed(1)
        pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8) / 255
        mean, std = (torch.tensor(c).view(3, 1, 1) for c in (loaded.model.image.mean, loaded.model.image.std))
        assert_close(image, model.encode_image((pixels - mean) / std, normalize=True), rtol=1e-5, atol=1e-5)
    assert_close(scale, model.logit_scale.exp().reshape(1))


def test_open_clips_training_file_loads_with_its_configuration(open_clip_file):
    folder, model = open_clip_file
    check_against(model, load(f"{folder}/tiny.json:{folder}/epoch_2.pt"))
    with pytest.raises(ValueError, match=r"nor such weights of open_clip's ViT-B-32; tags: .*laion2b"):
        load("ViT-B-32:laion9000")
    with pytest.raises(ValueError, match=r"ViT-B-32 is a model of open_clip: name its weights too.*tags: .*laion2b"):
        load("ViT-B-32")


@pytest.mark.parametrize("clean", ["canonicalize", "whitespace"])
def test_a_tower_that_attends_to_padding_loads_with_its_own_tokenizer(tmp_path, clean):
    """SigLIP's kind: bidirectional, pooled at the last position, a tokenizer of Hugging Face's, a bias."""
    core = Core(
        models.WordLevel({word: i for i, word in enumerate(["<unk>", "</s>", "a", "cat", "dogs", "!"])}, "<unk>")
    )
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="</s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(tmp_path)
    text = {"context_length": 7, "vocab_size": 6, "width": 64, "heads": 1, "layers": 1, "no_causal_mask": True}
    text |= {"proj_bias": True, "pool_type": "last", "hf_tokenizer_name": "someone/hub"}
    text["tokenizer_kwargs"] = {"clean": clean}
    config = CONFIG | {"text_cfg": text, "custom_text": True, "init_logit_bias": -10}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    torch.manual_seed(3)
    arguments = {name: value for name, value in config.items() if name != "custom_text"}
    model = CustomTextCLIP(**arguments).eval()
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    texts = ["a Cat!", "dogs", "a a a a a a a a a dogs"]
    loaded = load(load(tmp_path).save(tmp_path / "ours"))
    assert int(loaded.model.logit_bias) == -10
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer(f"local-dir:{tmp_path}")(texts), normalize=True)
        found = loaded.model(Batch(text=loaded.tokenizer.encode(texts))).text_emb
    assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_tokenizer_that_cannot_be_had_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = CONFIG | {"text_cfg": CONFIG["text_cfg"] | {"hf_tokenizer_name": str(tmp_path / "nowhere")}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    save_file(CLIP(**CONFIG).state_dict(), tmp_path / "open_clip_model.safetensors")
    with pytest.raises(ValueError, match=r"the tokenizer .*nowhere cannot be had"):
        load(tmp_path)


@pytest.mark.parametrize("scripted", [True, False])
def test_openais_file_loads_by_its_shapes(open_clip_file, tmp_path, scripted):
    _, model = open_clip_file
    if scripted:
        example = {"forward": (torch.rand(1, 3, 32, 32), torch.zeros(1, 12, dtype=torch.int64))}
        torch.jit.trace_module(model, example).save(tmp_path / "ViT-tiny.pt")
    else:
        torch.save(model.state_dict() | {"input_resolution": torch.tensor(32)}, tmp_path / "ViT-tiny.pt")
    check_against(model, load(tmp_path / "ViT-tiny.pt"))


def load_elsewhere(model, folder):
    os.chdir(folder)
    os.environ |= {"HOME": str(folder), "HF_HUB_OFFLINE": "1"}
    return load(model).model.width


def test_a_checkpoint_needs_nothing_but_itself(bundle, tmp_path):
    """In another process, in an empty folder, without a network or a home."""
    (tmp_path / "empty").mkdir()
    assert run_ranks(load_elsewhere, bundle.save(tmp_path / "model"), tmp_path / "empty", ranks=1) == [16]
