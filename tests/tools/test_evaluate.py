"""The command, as a user types it."""

import importlib.util
import json
import tarfile
from pathlib import Path

import pytest
from evaluation.small import tiny_clip, write_emoji, write_photos

TOOL = Path(__file__).resolve().parents[2] / "tools" / "evaluate.py"


@pytest.fixture(scope="module")
def evaluate():
    spec = importlib.util.spec_from_file_location("evaluate", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*words):
        module.main([str(word) for word in words])

    return run


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return folder, tiny_clip(folder)[1], tiny_clip(folder, seed=1)[1], write_emoji(folder, "val", 40)


def read(path):
    return json.loads(Path(path).read_text())


def test_retrieval_of_two_models_and_their_ratio(evaluate, world, tmp_path, capsys):
    _, first, second, shards = world
    out = tmp_path / "out.json"
    evaluate("retrieval", "--checkpoint", f"one={first}", "--against", f"two={second}", "--data", shards,
             "--language", "zh", "--split-name", "val", "--json", out)  # fmt: skip
    report = read(out)
    assert set(report) == {"schema", "quick", "results", "seconds", "settings"}
    assert [result["model"] for result in report["results"]] == ["one", "two"]
    result = report["results"][0]
    assert (result["task"], result["split"], result["language"], result["n"]) == ("retrieval", "val", "zh", 40)
    assert {f"{way}/{what}" for way in ("text_to_image", "image_to_text")
            for what in ("R@1", "R@5", "R@10", "median_rank")} <= set(result["metrics"])  # fmt: skip
    assert len(report["settings"]["shards"]) == 2
    assert all(len(digest) == 64 for digest in report["settings"]["shards"].values())
    assert "ratio_to_two" in result["metrics"]
    assert "ratio_to_two/low" in capsys.readouterr().out


@pytest.mark.parametrize("task", ["retrieval", "classification", "linear_probe"])
def test_quick_runs_the_same_code_on_less(evaluate, world, tmp_path, task):
    _, first, _, shards = world
    evaluate(task, "--checkpoint", first, "--data", shards, "--train-data", shards, "--quick", "--json", tmp_path / "q")
    report = read(tmp_path / "q")
    assert report["quick"] is True
    assert report["results"][0]["n"] == 32
    assert report["seconds"] < 30


def test_the_ridge_control_by_name(evaluate, world, tmp_path):
    folder, first, _, shards = world
    train = write_emoji(folder, "train", 16, first=40)
    evaluate("retrieval", "--quick", "--data", shards, "--json", tmp_path / "r.json",
             "--checkpoint", f"vl={first}", f"ridge=ridge:{train}::{shards}")  # fmt: skip
    vl, ridge = read(tmp_path / "r.json")["results"]
    assert (vl["model"], ridge["model"]) == ("vl", "ridge")
    assert vl["protocol"] == ridge["protocol"]
    assert ridge["metrics"]["mean_recall"] > vl["metrics"]["mean_recall"]


def test_shards_of_img2dataset_with_one_sample_and_of_one_language(evaluate, world, tmp_path):
    _, first, _, _ = world
    photos = write_photos(tmp_path, "photos", ["a cat", "a <script>dog</script>", "a cat"])
    evaluate("retrieval", "--checkpoint", first, "--data", photos, "--json", tmp_path / "p.json")
    result = read(tmp_path / "p.json")["results"][0]
    assert "3 texts <-> 3 pictures, 1 texts repeat another" in result["protocol"]
    single = write_photos(tmp_path, "single", ["alone"])
    evaluate("retrieval", "--checkpoint", first, "--data", single, "--json", tmp_path / "s.json")
    assert read(tmp_path / "s.json")["results"][0]["metrics"]["text_to_image/R@1"] == 100
    with pytest.raises(SystemExit, match=r"no sample has a caption in 'zh'; languages there: en"):
        evaluate("retrieval", "--checkpoint", first, "--data", photos, "--language", "zh")


def test_a_broken_picture_is_counted_and_a_pickle_never_read(evaluate, world, tmp_path):
    _, first, _, _ = world
    shards = write_emoji(tmp_path, "odd", 8, broken=(3,))
    shard = next(tmp_path.glob("odd-*.tar"))
    pickle = tmp_path / "evil.pyd"
    pickle.write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    with tarfile.open(shard, "a") as tar:
        tar.add(pickle, arcname="zzz.pyd")
    unread = pytest.warns(UserWarning, match="1 of 8 pictures could not be read")
    with pytest.warns(UserWarning, match="never read"), unread:
        evaluate("retrieval", "--checkpoint", first, "--data", shards, "--json", tmp_path / "o.json")
    result = read(tmp_path / "o.json")["results"][0]
    assert (result["n"], result["metrics"]["unreadable"]) == (7, 1)
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "absent-*.tar"], "absent"),
        (["--limit", "0"], "limit=0"),
        (["--batch-size", "0"], "batch_size=0"),
        (["--checkpoint", "no/such/file.ckpt"], "no/such/file.ckpt"),
        (["--against", "ridge:train"], "TRAIN_SHARDS::VAL_SHARDS"),
        (["--device", "warp"], "warp"),
        (["--classes", "WEIGHTS"], r"tiny-0\.pt is not UTF-8"),
        (["--json", "."], "is a folder"),
        (["--checkpoint", "CLIP", "CLIP"], "two models are named"),
    ],
)
def test_mistakes_end_in_one_clear_line(evaluate, world, words, message):
    folder, first, _, shards = world
    places = {"CLIP": first, "WEIGHTS": folder / "tiny-0.pt"}
    words = [places.get(word, word) for word in words]
    with pytest.raises(SystemExit, match=message) as caught:
        evaluate("retrieval", "--checkpoint", first, "--data", shards, *words)
    assert str(caught.value.code).startswith("evaluate: ")
    assert len(str(caught.value.code).splitlines()) == 1
