"""The commands of generation on a model of a few weights: codes into shards, pictures from prompts, figures."""

import io
import json
from pathlib import Path
from runpy import run_path

import pytest
import torch
from PIL import Image

from vl.checkpoints.bundle import Bundle
from vl.data.index import ShardSet
from vl.data.shards import ShardWriter
from vl.data.views.codes import CodesView, read_codes
from vl.data.vocabulary import train_tokenizer

TOOLS = Path(__file__).parents[2] / "tools"
COLOURS = {"red": 0, "blue": 1}
IMAGE = {"class_path": "vl.data.stages.ImageStage", "init_args": {"size": 32}}


def tool(name):
    return run_path(str(TOOLS / f"{name}.py"))["main"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Squares of two colours at two places, with what they show."""
    folder = tmp_path_factory.mktemp("shards")
    for name, count in (("train", 12), ("test", 6)):
        with ShardWriter(folder, name, max_count=6) as writer:
            for i in range(count):
                colour, left = ("red", "blue")[i % 2], bool(i // 2 % 2)
                picture = Image.new("RGB", (48, 48), "white")
                picture.paste(colour, (2, 16, 18, 32) if left else (30, 16, 46, 32))
                buffer = io.BytesIO()
                picture.save(buffer, "png")
                box = (0.04, 0.33, 0.38, 0.67) if left else (0.62, 0.33, 0.96, 0.67)
                text = f"a {colour} square on the {'left' if left else 'right'}"
                record = {
                    "captions": [{"text": text}],
                    "objects": [{"box": box, "name": "square", "attributes": [colour]}],
                }
                writer.write(f"{name}{i:03d}", {"png": buffer.getvalue(), "json": record})
    return folder


def save(folder, model, arguments, tokenizer=None, image=None, files=()):
    config = {"model": {"class_path": f"vl.models.{model}", "init_args": arguments}, "image": image}
    torch.manual_seed(0)
    return str(Bundle.build(config | {"tokenizer": tokenizer}, dict(files)).save(folder))


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A tokenizer, a generator, a captioner, a CLIP and a judge, all untrained."""
    folder = tmp_path_factory.mktemp("parts")
    words = train_tokenizer(["a red square on the left", "a blue square on the right"], 80).to_str().encode()
    text = {"class_path": "vl.data.tokenizers.CorpusTokenizer", "init_args": {"file": "w.json", "context_length": 12}}
    book = {"class_path": "vl.models.codebook.MovingAverageCodebook", "init_args": {"num_codes": 16, "width": 4}}
    made = {
        "tokenizer": save(folder / "vq", "vqvae.VQVAE", {"codebook": book, "width": 8, "image_size": 32}, image=IMAGE)
    }
    sizes = {"width": 32, "text_vocab": 80, "text_length": 12, "num_codes": 16, "side": 4}
    for name, kind in (("model", "token_sequence.CogViewTokens"), ("captioner", "reversed_sequence.CogViewCaption")):
        sequence = {"class_path": f"vl.models.{kind}", "init_args": sizes}
        arguments = {"sequence": sequence, "layers": 1, "heads": 2}
        made[name] = save(
            folder / name, "autoregressive.Autoregressive", arguments, text, None, {"w.json": words}.items()
        )
    tower = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 16, "head_width": 8, "layers": 1},
    }
    tower["text_cfg"] = {"context_length": 12, "vocab_size": 80, "width": 16, "heads": 2, "layers": 1}
    sizes = {"vocab_size": 80, "context_length": 12, "width": 16, "layers": 1, "heads": 2, "embed_dim": 8}
    clip = {
        "image": {"class_path": "vl.models.open_clip_image.OpenClipImage", "init_args": {"config": tower}},
        "text": {"class_path": "vl.models.text_transformer.TextTransformer", "init_args": sizes},
    }
    made["clip"] = save(folder / "clip", "two_tower.TwoTower", clip, text, IMAGE, {"w.json": words})
    judge = {"names": ["square"], "attributes": ["red", "blue"], "width": 16, "image_size": 32}
    made["judge"] = save(folder / "judge", "object_grid.ObjectGrid", judge, image=IMAGE)
    return made


def test_codes_are_written_once_and_name_their_tokenizer(shards, parts, tmp_path):
    encode, out = tool("encode_images"), tmp_path / "codes"
    words = [
        "--tokenizer",
        parts["tokenizer"],
        "--data",
        f"{shards}/train-*.tar",
        "--out",
        str(out),
        "--processes",
        "1",
    ]
    encode([*words, "--drop-pictures", "--coarse"])
    made = sorted(out.glob("*.tar"))
    assert [path.name for path in made] == ["train-000000-000000.tar", "train-000001-000000.tar"]
    read = ShardSet(str(out / "*.tar"), CodesView()).read(0)
    codes, mark = read_codes(read.members["codes.npy"])
    assert codes.shape == (16,)
    assert "png" not in read.members
    before = [path.stat().st_mtime_ns for path in made]
    made[1].unlink()
    encode([*words, "--drop-pictures", "--coarse"])
    assert made[0].stat().st_mtime_ns == before[0]
    assert made[1].exists()
    other = Bundle.build(json.loads(Path(parts["tokenizer"], "config.json").read_text())).save(tmp_path / "other")
    with pytest.raises(SystemExit, match=f"holds codes of the tokenizer {mark}"):
        encode(["--tokenizer", str(other), *words[2:]])
    with pytest.raises(SystemExit, match="is no image tokenizer"):
        encode(["--tokenizer", parts["model"], *words[2:]])


def test_prompts_become_a_grid_and_scores(shards, parts, tmp_path):
    generate, out = tool("generate"), tmp_path / "painted"
    words = ["--model", parts["model"], "--tokenizer", parts["tokenizer"], "--prompt", "a red square", "a blue square"]
    words += ["--candidates", "3", "--out", str(out), "--seed", "4"]
    generate([*words, "--rerank", "self", "--captioner", parts["captioner"], "--clip", parts["clip"]])
    found = json.loads((out / "generated.json").read_text())
    assert Image.open(out / "grid.png").size == (3 * 32, 2 * 32)
    assert found["seed"] == 4
    first = found["prompts"][0]
    assert set(first["scores"]) == {"clip", "self"}
    assert first["order"] == sorted(range(3), key=lambda i: -first["scores"]["self"][i])
    generate([*words[:-1], "5"])
    assert json.loads((out / "generated.json").read_text())["prompts"][0]["codes"] != first["codes"]
    with pytest.raises(SystemExit, match="--rerank clip needs --clip"):
        generate([*words, "--rerank", "clip"])
    picture = tmp_path / "upper.png"
    Image.new("RGB", (32, 32), "red").save(picture)
    generate([*words, "--complete", str(picture), "--rows", "2"])
    codes = [row["codes"][0][:8] for row in json.loads((out / "generated.json").read_text())["prompts"]]
    assert codes[0] == codes[1]


def test_generation_is_judged(shards, parts, tmp_path):
    report = tmp_path / "report.json"
    words = ["generation", "--checkpoint", parts["model"], "--tokenizer", parts["tokenizer"], "--judge", parts["judge"]]
    words += ["--clip", parts["clip"], "--captioner", parts["captioner"], "--data", f"{shards}/test-*.tar"]
    tool("evaluate")([*words, "--json", str(report), "--quick"])
    rows = {(row["task"], row["rerank"]): row["metrics"] for row in json.loads(report.read_text())["results"]}
    reranks = [("generation", name) for name in ("none", "clip", "self")]
    assert list(rows) == [("judge", None), ("reconstruction", None), *reranks]
    assert {"psnr", "ssim", "feature_distance"} <= set(rows["reconstruction", None])
    wanted = {"object_accuracy", "object_accuracy/low", "object_accuracy_shuffled", "all_present", "caption_loss"}
    assert all(wanted | {"fid_efficientnet", "fid_efficientnet/2"} <= set(rows[name]) for name in reranks)
    accuracy = {name: rows[name]["object_accuracy"] for name in reranks}
    for name in reranks[1:]:
        assert rows[name]["object_accuracy_gain"] == pytest.approx(accuracy[name] - accuracy[reranks[0]])
    with pytest.raises(SystemExit, match="is no image tokenizer"):
        tool("evaluate")([*words[:4], parts["judge"], *words[5:]])


def test_benchmark_beside_gpt2(tmp_path):
    report = tmp_path / "bench.json"
    small = ["--quick", "--layers", "1", "--width", "64", "--batch", "2", "--threads", "1"]
    tool("bench_generate")([*small, "--json", str(report)])
    rows = json.loads(report.read_text())["results"]
    assert [row["case"] for row in rows] == ["batch 2, full causal", "batch 2, DALL-E's pattern"]
    assert rows[0]["check"] < 1e-4
    assert all(row["ratio"] > 0 for row in rows)
