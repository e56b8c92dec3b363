"""What others make of our exports: open_clip, Hugging Face, and clip_benchmark as a process of its own."""

import io
import json
import subprocess
import sys

import open_clip
import pytest
import torch
import torch.distributed.checkpoint as dcp
from PIL import Image
from torch.nn.functional import interpolate
from torch.testing import assert_close
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

from vl.batch import Batch, Visual
from vl.checkpoints.bundle import Bundle, load
from vl.checkpoints.consolidate import consolidate
from vl.checkpoints.export import write_hugging_face, write_open_clip
from vl.checkpoints.foreign import clip_trees
from vl.data.shards import ShardWriter
from vl.data.tokenizers import SPECIAL_TOKENS

VISION = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
CONFIG = {"embed_dim": 16, "quick_gelu": True, "vision_cfg": VISION, "text_cfg": TEXT}
TEXTS = ["a Cat", "Two  dogs, and a very long caption that has to be cut short!", "it's"]


def picture(seed, size=(40, 56)):
    """Smooth colours: what a resize does at an edge is not what is tested here."""
    colours = torch.rand(1, 3, 3, 3, generator=torch.Generator().manual_seed(seed)) * 255
    pixels = interpolate(colours, size, mode="bilinear")[0].byte().permute(1, 2, 0)
    data = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(data, "PNG")
    return data.getvalue()


@pytest.fixture(scope="module")
def bundle():
    torch.manual_seed(0)
    built = Bundle.build(clip_trees(CONFIG, {"mean": [0.5] * 3, "std": [0.25] * 3}))
    built.model.eval()
    return built


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A timm backbone and a text transformer on a vocabulary of its own."""
    torch.manual_seed(0)
    vocabulary = "\n".join([*SPECIAL_TOKENS, "a", "cat", "two", "dogs", ",", "!", "##s"]).encode()
    (tmp_path_factory.mktemp("vocabulary") / "vocab.txt").write_bytes(vocabulary)
    image = {"class_path": "vl.models.timm_image.TimmImage", "init_args": {"backbone": "test_vit"}}
    text = {"class_path": "vl.models.text_transformer.TextTransformer"}
    text["init_args"] = {"vocab_size": 12, "context_length": 12, "width": 32, "layers": 1, "heads": 2, "embed_dim": 16}
    head = {"class_path": "vl.models.heads.LinearHead", "init_args": {"in_features": 64, "out_features": 16}}
    towers = {"image": image, "text": text, "image_head": head}
    tokenizer = {"vocab_file": "vocab.txt", "context_length": 12}
    built = Bundle.build(
        {
            "model": {"class_path": "vl.models.two_tower.TwoTower", "init_args": towers},
            "tokenizer": {"class_path": "vl.data.tokenizers.WordPieceTokenizer", "init_args": tokenizer},
            "image": {"class_path": "vl.data.stages.ImageStage", "init_args": {"size": 160}},
        },
        {"vocab.txt": vocabulary},
    )
    built.model.eval()
    return built


def ours(bundle):
    pixels = torch.stack([bundle.image(picture(seed)) for seed in range(3)])
    with torch.no_grad():
        return bundle.model(Batch(text=bundle.tokenizer.encode(TEXTS), visual=Visual(pixels=pixels)))


def pillow(seed):
    return Image.open(io.BytesIO(picture(seed)))


@pytest.mark.parametrize("name", ["bundle", "mixed"])
def test_open_clip_embeds_alike(name, request, tmp_path):
    exported = request.getfixturevalue(name)
    folder = f"local-dir:{write_open_clip(exported, tmp_path / 'export')}"
    model, _, transform = open_clip.create_model_and_transforms(folder)
    expected = ours(exported)
    with torch.no_grad():
        text = model.eval().encode_text(open_clip.get_tokenizer(folder)(TEXTS), normalize=True)
        image = model.encode_image(torch.stack([transform(pillow(seed)) for seed in range(3)]), normalize=True)
    assert_close(text, expected.text_emb, rtol=1e-5, atol=1e-5)
    assert_close(image, expected.image_emb, rtol=0, atol=0.01)  # Pillow's resize rounds differently


def test_open_clips_folder_comes_back(bundle, tmp_path):
    returned = load(write_open_clip(bundle, tmp_path / "export"))
    assert_close(ours(returned), ours(bundle), rtol=0, atol=0)


def test_hugging_face_embeds_alike_and_comes_back(bundle, tmp_path):
    folder = write_hugging_face(bundle, tmp_path / "export")
    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    texts = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    pixels = CLIPImageProcessor.from_pretrained(folder)([pillow(seed) for seed in range(3)], return_tensors="pt")
    expected = ours(bundle)
    with torch.no_grad():
        result = model(**texts, **pixels)
    assert_close(result.text_embeds, expected.text_emb, rtol=1e-5, atol=1e-5)
    assert_close(result.image_embeds, expected.image_emb, rtol=0, atol=0.01)
    assert_close(ours(load(folder)), expected, rtol=1e-6, atol=1e-6)


def test_what_open_clip_cannot_be_is_refused(mixed, tmp_path):
    trees = json.loads(json.dumps(mixed.config))
    head = {"class_path": "vl.models.heads.MLPHead", "init_args": {"in_features": 64, "out_features": 16, "hidden": 8}}
    trees["model"]["init_args"]["image_head"] = head
    with pytest.raises(ValueError, match="no TimmImage with MLPHead as image_head"):
        write_open_clip(Bundle.build(trees, mixed.files), tmp_path)
    with pytest.raises(ValueError, match="knows plain ViT CLIP only"):
        write_hugging_face(mixed, tmp_path)


def test_clip_benchmark_runs_the_export_with_our_figures(bundle, tmp_path):
    """Zero-shot retrieval of a webdataset, by the command a user types."""
    (tmp_path / "data/test").mkdir(parents=True)
    with ShardWriter(tmp_path / "data/test", "shard") as writer:
        for seed in range(12):
            writer.write(f"{seed:04d}", {"png": picture(seed, (32, 32)), "txt": f"a picture with number {seed}"})
    [shard] = (tmp_path / "data/test").glob("*.tar")
    shard.rename(shard.with_name("0.tar"))
    (tmp_path / "data/test/nshards.txt").write_text("1")
    (tmp_path / "data/dataset_type.txt").write_text("retrieval")
    folder = write_open_clip(bundle, tmp_path / "export")
    command = [sys.executable, "-m", "clip_benchmark.cli", "eval", "--model", f"local-dir:{folder}"]
    command += ["--pretrained", "own"]
    command += ["--dataset", "wds/ours", "--dataset_root", str(tmp_path / "data"), "--task", "zeroshot_retrieval"]
    command += ["--batch_size", "4", "--num_workers", "0", "--no_amp", "--output", str(tmp_path / "out.json")]
    command += ["--recall_k", "1", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=tmp_path)
    assert (tmp_path / "out.json").is_file(), done.stderr[-2000:]
    theirs = json.loads((tmp_path / "out.json").read_text())["metrics"]
    pixels = torch.stack([bundle.image(picture(seed, (32, 32))) for seed in range(12)])
    text = bundle.tokenizer.encode([f"a picture with number {seed}" for seed in range(12)])
    with torch.no_grad():
        output = bundle.model(Batch(text=text, visual=Visual(pixels=pixels)))
    scores = output.text_emb @ output.image_emb.T
    for k in (1, 5):
        for direction, table in (("image_retrieval", scores), ("text_retrieval", scores.T)):
            hits = (table.topk(k).indices == torch.arange(12)[:, None]).any(1).float().mean()
            assert theirs[f"{direction}_recall@{k}"] == pytest.approx(float(hits), abs=1e-3)


def test_sharded_folders_become_one_file(tmp_path):
    weights = {"model.a": torch.rand(3), "model.b": torch.rand(2, 2)}
    moments = {"model.b": {"step": torch.tensor(2.0), "exp_avg": torch.rand(2, 2)}}
    moments["model.a"] = {"step": torch.tensor(2.0), "exp_avg": torch.rand(3)}
    groups = [{"lr": 0.1, "params": ["model.b"]}, {"lr": 0.2, "params": ["model.a"]}]
    folder = tmp_path / "step-2.ckpt"
    state = {"state_dict": weights, "optimizer_0": {"state": moments, "param_groups": groups}}
    dcp.save(state, checkpoint_id=folder, no_dist=True)
    torch.save({"global_step": 2, "vl": {"schema": 1}}, folder / "meta.pt")
    found = torch.load(consolidate(folder, tmp_path / "one.ckpt"), weights_only=True)
    assert found["global_step"] == 2
    assert found["vl"] == {"schema": 1}
    assert_close(found["state_dict"], weights)
    [optimizer] = found["optimizer_states"]
    assert optimizer["param_groups"] == [{"lr": 0.1, "params": [0]}, {"lr": 0.2, "params": [1]}]
    assert_close(optimizer["state"][0], moments["model.b"])
    assert_close(optimizer["state"][1], moments["model.a"])
    with pytest.raises(ValueError, match=r"has no \.metadata"):
        consolidate(tmp_path, tmp_path / "two.ckpt")
