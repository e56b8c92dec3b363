"""What the command line says to what cannot be meant: a few lines with the key, the file and the nearest name."""

import json

import pytest
import torch
import yaml
from ranks import run_ranks
from runs import write_run, write_shards

from vl.train.cli import main
from vl.train.command import Command
from vl.train.logging import CsvLog

IMAGE = "model__model__init_args__image"


@pytest.fixture
def say(capsys):
    """The code and the message a command line ends with."""

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        return ended.value.code, capsys.readouterr().err

    return run


TYPOS = {
    "a key of a class": ({f"{IMAGE}__init_args__imagesize": 3}, "did you mean 'image_size'?"),
    "a class": ({f"{IMAGE}__class_path": "vl.models.open_clip_image.OpenClipImag"}, "did you mean 'OpenClipImage'?"),
    "a module": ({f"{IMAGE}__class_path": "vl.models.open_clip_imag.OpenClipImage"}, "did you mean 'open_clip_image'?"),
    "a class of another kind": ({f"{IMAGE}__class_path": "vl.objectives.itc.ITC"}, "not correspond to a subclass"),
    "a function": ({f"{IMAGE}__class_path": "os.system"}, "not correspond to a subclass"),
    "a function for a callback": (
        {"trainer__callbacks": [{"class_path": "os.system"}]},
        "to a subclass of Callback",
    ),
    "a key of an objective": ({"model__objectives__itc__init_args__chnk": 3}, "did you mean 'chunk'?"),
    "a key of a source": ({"data__train__0__init_args__weigth": 3}, "did you mean 'weight'?"),
    "a key of the trainer": ({"trainer__max_stpes": 3}, "did you mean 'max_steps'?"),
    "a key of the model": ({"model__objektives": {}}, "did you mean 'objectives'?"),
    "an empty section": ({"modle": {}}, "did you mean 'model'?"),
    "a section": ({"sead_everything": 1}, "did you mean 'seed_everything'?"),
    "a section without keys": ({"trainer": None}, "the section 'trainer' is empty"),
    "a list for a section": ({"checkpoint": [1]}, "the section 'checkpoint' is a list"),
    "a seed below 0": ({"seed_everything": -1}, "seed_everything must be from 0 to 4294967295, not -1"),
    "a key with keys of its own": (
        {"model__model__init_args__imag": {"init_args": {"config": {"embed_dim": 3}}}},
        "did you mean 'image'?",
    ),
    "one of two types": ({"seed_everything": "abc"}, "seed_everything: Expected one of bool, int. Got value: abc"),
    "one of several values": ({"trainer__precision": "bf17"}, "'bf16', null. Got value: bf17"),
    "an empty key": ({f"{IMAGE}__init_args__imagesize": {}}, "did you mean 'image_size'?"),
    "a type": ({"data__batch_size": "many"}, "data.batch_size: Expected a <class 'int'>. Got value: many"),
}


@pytest.mark.parametrize("name", TYPOS)
def test_typos_in_a_file(tmp_path, say, name):
    changes, answer = TYPOS[name]
    code, message = say("fit", "--config", write_run(tmp_path, **changes))
    assert code == 2
    assert answer in message
    assert len(message.splitlines()) <= 4
    assert "Traceback" not in message


def test_an_error_names_the_line(tmp_path, say):
    file = write_run(tmp_path, trainer__max_stpes=3)
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "max_stpes" in text)
    assert f"{file}:{line}:" in say("fit", "--config", file)[1]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["fit", "--trainer.max_stps=3"], "did you mean 'max_steps'?"),
        (["fit", "--trainr.max_steps=3"], "did you mean 'trainer'?"),
        (["fti"], "did you mean 'fit'?"),
        (["fit", "--config", "nowhere.yaml"], "'nowhere.yaml' does not exist"),
    ],
)
def test_typos_on_the_command_line(tmp_path, say, words, answer):
    code, message = say(words[0], "--config", write_run(tmp_path), *words[1:])
    assert (code, answer in message) == (2, True), message


def test_broken_yaml(tmp_path, say):
    (tmp_path / "run.yaml").write_text("trainer: {max_steps: 3\n")
    code, message = say("fit", "--config", tmp_path / "run.yaml")
    assert (code, "is no YAML" in message) == (2, True)


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"data__train__0__init_args__shards": "nowhere-*.tar"}, "nowhere"),
        ({"trainer__accumulate_grad_batches": 2}, "data.accumulate"),
        ({"trainer__use_distributed_sampler": True}, "must stay false"),
        ({"model__weights": {"itcc": 2.0}}, "itc"),
        ({"data__batch_size": 7, "data__accumulate": 2}, "6 or 8"),
        ({"data__batch_size": 0}, "batch_size (0)"),
        ({"data__accumulate": 0}, "accumulate (0)"),
        ({"data__tokenizer": None}, "error: the view reads texts"),
        ({"data__image": None}, "error: the view reads pictures"),
        ({"data__image__init_args__size": 64}, "data.image makes pictures of 64 pixels"),
        ({"model__objectives": {}}, "model.objectives"),
        ({"trainer__devices": 0}, "devices=0"),
        ({"trainer__devices": "x"}, "trainer: `devices`"),
        ({"trainer__max_steps": -5}, "`max_steps` must be"),
        ({"trainer__val_check_interval": 0}, "limit_val_batches"),
        ({"trainer__val_check_interval": 2.5}, "`val_check_interval` should be an integer"),
    ],
    ids=["shards", "accumulation", "sampler", "weights", "batch size", "no batch", "no micro-batch", "tokenizer",
         "image stage", "picture size", "objectives", "no device", "devices", "steps", "never validated",
         "validated between steps"],
)  # fmt: skip
def test_runs_that_cannot_be(tmp_path, say, changes, answer):
    code, message = say("fit", "--config", write_run(tmp_path, **changes))
    assert (code, answer in message) == (1, True), message
    assert "Traceback" not in message


def test_fresh_weights_are_said_to_be_so_and_tests_need_sources(tmp_path, say, capsys):
    words = ["--config", str(write_run(tmp_path))]
    main(["validate", *words])
    assert "no --ckpt_path is given: the weights are fresh" in capsys.readouterr().err
    code, message = say("test", *words)
    assert (code, "name sources in data.test" in message) == (1, True), message


def test_a_folder_that_holds_a_run_is_not_mixed_with_another(tmp_path, say):
    main(["fit", "--config", str(write_run(tmp_path)), "--trainer.max_steps=2"])
    code, message = say("fit", "--config", write_run(tmp_path))
    assert (code, "--ckpt_path last" in message) == (1, True)


def test_settings_that_differ_from_the_checkpoint_are_printed_and_win(tmp_path, capsys):
    file = write_run(tmp_path)
    main(["fit", "--config", str(file), "--trainer.max_steps=2"])
    words = ["--ckpt_path=last", "--trainer.max_steps=4", "--model.optimizer.init_args.lr=0.5"]
    main(["fit", "--config", str(file), *words])
    said = capsys.readouterr().err
    assert "model.optimizer.init_args.lr: 0.001 -> 0.5" in said
    assert "trainer.max_steps: 2 -> 4" in said
    assert "data.batch_size" not in said
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["model"]["optimizer"]["init_args"]["lr"] == 0.5


@pytest.mark.parametrize(
    ("changes", "name"),
    [({"data__seed": 1}, "seed"), ({"data__batch_size": 16}, "batch_size"), ({}, "shards of source0")],
)
def test_a_resume_with_other_data_is_refused_by_name(tmp_path, say, changes, name):
    main(["fit", "--config", str(write_run(tmp_path)), "--trainer.max_steps=2"])
    if not changes:
        changes = {"data__train__0__init_args__shards": write_shards(tmp_path / "others", "train", count=40)}
    code, message = say("fit", "--config", write_run(tmp_path, **changes), "--ckpt_path=last")
    assert code == 1
    assert f"{name}: the checkpoint has" in message


@pytest.mark.parametrize("changes", [{"seed_everything": 5}, {"model__seed": 5}])
def test_a_resume_with_another_seed_is_refused_by_name(tmp_path, say, changes):
    main(["fit", "--config", str(write_run(tmp_path)), "--trainer.max_steps=2"])
    code, message = say("fit", "--config", write_run(tmp_path, **changes), "--ckpt_path=last")
    assert code == 1
    assert f"{next(iter(changes)).replace('__', '.')}: 0 -> 5" in message


def test_a_resume_with_another_architecture_is_refused_by_name(tmp_path, say):
    main(["fit", "--config", str(write_run(tmp_path)), "--trainer.max_steps=2"])
    changes = {"model__model__init_args__image__init_args__config__vision_cfg__layers": 3}
    code, message = say("fit", "--config", write_run(tmp_path, **changes), "--ckpt_path=last")
    assert code == 1
    assert "does not fit this run's model: it lacks model.image." in message


class Payload:
    def __reduce__(self):
        return open, ("executed", "w")


def test_a_checkpoint_with_a_payload_is_refused_unread(tmp_path, say, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "loops": {}, "vl": Payload()}, tmp_path / "evil.ckpt")
    for subcommand in ("fit", "validate"):
        code, message = say(subcommand, "--config", write_run(tmp_path), "--ckpt_path=evil.ckpt")
        assert (code, "is refused" in message) == (1, True), message
    assert not (tmp_path / "executed").exists()


def test_half_a_checkpoint_is_refused(tmp_path, say):
    main(["fit", "--config", str(write_run(tmp_path)), "--trainer.max_steps=2"])
    whole = tmp_path / "run/checkpoints/step_00000002.ckpt"
    (tmp_path / "half.ckpt").write_bytes(whole.read_bytes()[:-1000])
    code, message = say("validate", "--config", write_run(tmp_path), f"--ckpt_path={tmp_path}/half.ckpt")
    assert (code, "is not whole" in message, str(whole) in message) == (1, True, True), message


def test_figures_can_go_to_weights_and_biases_if_it_is_installed(tmp_path, say, monkeypatch):
    def missing(**_):
        raise ModuleNotFoundError("wandb")

    monkeypatch.setattr("pytorch_lightning.loggers.WandbLogger", missing)
    changes = {"trainer__logger": None}
    code, message = say("fit", "--config", write_run(tmp_path, **changes), "--wandb=emoji")
    assert (code, "--wandb emoji needs the package wandb" in message) == (1, True), message
    used = []
    monkeypatch.setattr("pytorch_lightning.loggers.WandbLogger", lambda **given: used.append(given) or CsvLog(tmp_path))
    main(["fit", "--config", str(write_run(tmp_path, **changes)), "--wandb=emoji", "--trainer.max_steps=1"])
    assert used == [{"project": "emoji", "save_dir": str(tmp_path / "run")}]


def command(words):
    main(words)


def test_answers_are_a_line_an_example_at_any_number_of_ranks(tmp_path):
    """37 examples: the first rank has one more."""
    changes = {"model__objectives__colour": {"class_path": "runs.IsRed"}}
    main(["fit", "--config", str(write_run(tmp_path, **changes)), "--trainer.max_steps=2"])
    words = ["predict", "--config", str(write_run(tmp_path, **changes)), "--ckpt_path=last"]
    main(words)
    answers = (tmp_path / "run/answers.jsonl").read_text()
    lines = [json.loads(line) for line in answers.splitlines()]
    assert [line["key"] for line in lines] == [f"val{i:04d}" for i in range(37)]
    assert {line["task"] for line in lines} == {"colour"}
    run_ranks(command, [*words, "--trainer.strategy=ddp", "--trainer.devices=2"])
    again = [json.loads(line) for line in (tmp_path / "run/answers.jsonl").read_text().splitlines()]
    assert [line.pop("prob") for line in again] == pytest.approx([line.pop("prob") for line in lines], abs=1e-6)
    assert again == lines
    assert not list((tmp_path / "run").glob("answers.*.jsonl"))


def test_only_tasks_can_predict(tmp_path, say):
    code, message = say("predict", "--config", write_run(tmp_path))
    assert (code, "(itc)" in message) == (1, True), message


def test_an_overlay_wins_over_the_run_and_the_command_line_over_both(tmp_path, monkeypatch):
    monkeypatch.setattr(Command, "instantiate_classes", lambda self: settled.append(self.config.fit))
    monkeypatch.setattr(Command, "_run_subcommand", lambda self, name: None)
    settled: list = []
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump({"data": {"batch_size": 16}, "trainer": {"max_steps": 7}}))
    main(["fit", "--config", str(write_run(tmp_path)), "--config", str(overlay), "--trainer.max_steps=3"])
    assert (settled[0].data.batch_size, settled[0].trainer.max_steps) == (16, 3)
