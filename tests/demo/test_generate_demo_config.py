from pathlib import Path

from vl.demo.generate import FAMILIES, GenerateDemo

ROOT = Path(__file__).parents[2]


def test_every_run_reads_what_another_makes(tmp_path):
    demo = GenerateDemo(ROOT, tmp_path / "out", tmp_path / "scenes", seed=3)
    for tokenizer, *models in FAMILIES.values():
        assert demo.configuration(tokenizer, "")["trainer"]["default_root_dir"] == f"{tmp_path}/out/{tokenizer}"
        for model in models:
            run = demo.configuration(model, "abc")
            source = run["data"]["train"][0]["init_args"]
            assert source["shards"].startswith(f"{tmp_path}/scenes/{tokenizer}/train-scenes-")
            assert source["view"]["init_args"]["codes_of"] == "abc"
            assert run["data"]["val"]["scenes"]["init_args"]["view"]["init_args"]["codes_of"] == "abc"
            assert run["model"]["model"]["init_args"]["sequence"]["init_args"]["codes_of"] == "abc"
            assert run["seed_everything"] == run["model"]["seed"] == 3
            for start in run["model"].get("init", ()):
                assert start["init_args"]["path"] == f"{tmp_path}/out/{models[0]}/model"


def test_judge_and_generators_share_no_scenes(tmp_path):
    demo = GenerateDemo(ROOT, tmp_path / "out", tmp_path / "scenes")
    shards = {
        name: demo.configuration(name, "")["data"]["train"][0]["init_args"]["shards"]
        for name in ("judge", "dvae", "vqvae", "clip")
    }
    assert shards.pop("judge").endswith("judge-scenes-*.tar")
    assert all(own.endswith("/train-scenes-*.tar") for own in shards.values())
