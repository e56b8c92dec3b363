"""From shards of questions to a report: answers are listed, a tiny run is trained, and what it answers is judged."""

import importlib.util
import json
from pathlib import Path

import pytest
import yaml
from pictures import picture

from vl.data.sample import Question, Record
from vl.data.shards import ShardWriter
from vl.data.vocabulary import questions, train_tokenizer
from vl.train.cli import main as vl
from vl.train.judge import Judged

ROOT = Path(__file__).resolve().parents[2]
ANSWERS = ("yes", "no", "red")


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The shipped easy-VQA run on twelve pictures, made narrow and short."""
    folder = tmp_path_factory.mktemp("run")
    with ShardWriter(folder, "train", max_count=100) as writer:
        for number in range(12):
            asked = [
                Question(f"{number}{k}", f"is it {k} ?", (ANSWERS[(number + k) % 3],), f"type{k}") for k in range(2)
            ]
            writer.write(f"{number:02d}", {"jpg": picture(str(number)), "json": Record(qa=tuple(asked))})
    shards = f"{folder}/train-*.tar"
    tool("list_answers")(["--data", shards, "--out", str(folder / "answers.json")])
    (folder / "tokenizer.json").write_text(train_tokenizer(questions(shards), 60).to_str())
    config = yaml.safe_load((ROOT / "configs/finetune/uniter_easy_vqa.yaml").read_text())
    config["trainer"] |= {"max_steps": 2, "val_check_interval": 2, "default_root_dir": str(folder / "run")}
    config["trainer"] |= {"devices": 1, "strategy": "auto"}  # a second process would run pytest again
    config["checkpoint"]["every_steps"] = 2
    config["model"]["objectives"]["vqa"]["init_args"]["file"] = str(folder / "answers.json")
    config["data"]["tokenizer"]["init_args"]["file"] = str(folder / "tokenizer.json")
    for source in [*config["data"]["train"], *config["data"]["val"].values(), *config["data"]["test"].values()]:
        source["init_args"]["shards"] = shards
    config["data"]["batch_size"] = 8
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(config))
    vl(["fit", "--config", str(file)])
    return folder, file


def test_answers_are_listed_by_how_often_they_were_given(run):
    folder, _ = run
    assert json.loads((folder / "answers.json").read_text()) == ["no", "red", "yes"]
    tool("list_answers")(["--data", f"{folder}/train-*.tar", "--min-count", "9", "--out", str(folder / "few.json")])
    assert json.loads((folder / "few.json").read_text()) == []


def test_a_run_is_judged_on_every_question_once(run, tmp_path):
    folder, file = run
    out, answers = tmp_path / "report.json", tmp_path / "answers.json"
    tool("evaluate_task")(
        ["--run", str(file), "--folder", str(folder / "run"), "--json", str(out), "--answers", str(answers)]
    )
    (result,) = json.loads(out.read_text())["results"]
    assert (result["model"], result["task"], result["split"], result["n"]) == ("tiny", "vqa", "test", 24)
    assert set(result["metrics"]) == {"accuracy", "accuracy/of_types", "accuracy/type0", "accuracy/type1"}
    rows = json.loads(answers.read_text())
    assert [set(row) for row in rows] == [{"question_id", "answer"}] * 24
    assert {row["answer"] for row in rows} <= set(ANSWERS)
    right = [row["answer"] == ANSWERS[(row["question_id"] // 10 + row["question_id"] % 10) % 3] for row in rows]
    assert result["metrics"]["accuracy"] == pytest.approx(100 * sum(right) / 24)
    # the validation of the run itself came to the same
    metrics = (folder / "run/metrics.csv").read_text().splitlines()
    last = dict(zip(metrics[0].split(","), metrics[-1].split(","), strict=True))
    assert float(last["val/easy_vqa/vqa/accuracy"]) == pytest.approx(result["metrics"]["accuracy"])


def test_several_checkpoints_answer_together(run, tmp_path):
    folder, file = run
    words, same = ["--run", str(file), "--folder", str(folder / "run"), "--json"], ["--checkpoint", "last", "last"]
    tool("evaluate_task")([*words, str(tmp_path / "one.json")])
    tool("evaluate_task")([*words, str(tmp_path / "two.json"), *same])
    one, two = (json.loads((tmp_path / f"{name}.json").read_text())["results"][0] for name in ("one", "two"))
    assert one["metrics"] == two["metrics"]
    assert two["protocol"] == f"{one['protocol']}, mean of 2 checkpoints"


def test_the_interval_is_over_pictures(run, tmp_path):
    folder, file = run
    out = tmp_path / "report.json"
    tool("evaluate_task")(["--run", str(file), "--folder", str(folder / "run"), "--json", str(out), "--interval"])
    metrics = json.loads(out.read_text())["results"][0]["metrics"]
    assert metrics["accuracy/low"] <= metrics["accuracy"] <= metrics["accuracy/high"]
    answers = [{"accuracy": float(i < 6)} for i in range(12)]
    alike = Judged(answers, {}, tuple("ab"[i // 6] for i in range(12))).interval()
    assert alike == {"accuracy/low": 0, "accuracy/high": 100}  # two pictures, all right and all wrong
    with pytest.raises(ValueError, match="carry no accuracy"):
        Judged([{}], {}, ("a",)).interval()


def test_what_cannot_be_judged_is_refused(run, tmp_path):
    folder, file = run
    with pytest.raises(SystemExit, match="has no checkpoint yet"):
        tool("evaluate_task")(["--run", str(file), "--folder", str(tmp_path)])
    config = yaml.safe_load(file.read_text())
    del config["data"]["test"]
    (tmp_path / "no_test.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit, match=r"has no data\.test"):
        tool("evaluate_task")(["--run", str(tmp_path / "no_test.yaml"), "--folder", str(folder / "run")])
