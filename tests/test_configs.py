"""Every shipped run can be built at its full size, and every debug run trains; their losses stay what they are."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from runs import write_shards
from torch.utils.data import DataLoader

from vl.batch import Batch, Text, Visual
from vl.data.vocabulary import train_tokenizer
from vl.draw import Draw
from vl.models.base import VLModel
from vl.train import command
from vl.train.cli import main

CONFIGS = Path(__file__).parents[1] / "configs"
SHIPPED = sorted(CONFIGS.rglob("*.yaml"))
#: Parameters, where the head comment of a config promises them.
PARAMETERS = {
    "clip_rn50": 102_007_137,
    "clip_vit_b32": 151_277_313,
    "clip_vit_b16": 149_620_737,
    "clip_vit_l14": 427_616_513,
    "uniter_base": 109_898_752,
    "vilbert_base": 235_705_856,  # without the 11,020,800 of the released model that nothing uses
    "lxmert_base": 207_936_768,
    "visualbert_base": 111_450_624,
    "dalle_dvae": 97_616_006,
    "cogview_vqvae": 19_034_883,
    "cogview": 3_928_796_160,
    "cogview_caption": 3_928_796_160,
    "cogview_magnify": 3_928_796_160,
}
#: Losses of five steps of a debug run. A change of the numerics changes them, and says so in the CHANGELOG.
GOLDEN = {
    "clip": [2.85311, 2.82493, 2.84633, 2.78735, 2.79324],
    "dvae": [-0.04603, -0.04611, -0.04609, -0.04615, -0.04618],
    "vqvae": [1.65973, 1.65224, 1.64996, 1.65025, 1.63751],
    "dalle": [4.79557, 4.77988, 4.75075, 4.61615, 4.69869],
    "cogview": [8.30397, 8.14407, 7.99904, 7.96212, 7.87114],
}
#: The token that ends a text.
END = {"clip": 49407}


class Built(command.Command):
    """The command line up to its trainer; models on the meta device, and no shard opened."""

    def instantiate_classes(self) -> None:
        self.config.fit.data.tokenizer = None  # its file may not have been made yet
        with torch.device("meta"):
            self.config_init = self.parser.instantiate_classes(self.config)
        self.model = self.config_init.fit.model

    def _run_subcommand(self, subcommand: str) -> None:
        pass


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory) -> Path:
    """For tasks that write text, and so have one."""
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    file.write_text(train_tokenizer(["a red cat"], 60).to_str())
    return file


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_builds_at_its_full_size(tmp_path, file, tokenizer):
    run = tmp_path / file.name
    run.write_text(file.read_text().replace("runs/scenes/tokenizer.json", str(tokenizer)))
    built = Built(["fit", "--config", str(run)], [str(run)])
    assert isinstance(built.model.model, VLModel)
    assert all(parameter.is_meta for parameter in built.model.parameters())
    number = sum(parameter.numel() for parameter in built.model.model.parameters())
    assert file.parent.name == "debug" or PARAMETERS.get(file.stem, number) == number


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_says_how_to_run_it_and_what_to_expect(file):
    head = [line for line in file.read_text().splitlines() if line.startswith("#")]
    assert any(f"vl fit --config {file.relative_to(CONFIGS.parent)}" in line for line in head)
    assert any("Paper" in line for line in head)
    assert any("Expect" in line for line in head)


@pytest.mark.parametrize("name", ["clip", "dvae", "vqvae"])
def test_a_debug_run_takes_two_steps(tmp_path, name):
    """The debug run, on shards of its own."""
    shards, file = {split: write_shards(tmp_path, split) for split in ("train", "val")}, tmp_path / "run.yaml"
    text = (CONFIGS / f"debug/{name}.yaml").read_text()
    for split, pattern in shards.items():
        text = text.replace(f"data/emoji/{split}-twemoji-*.tar", pattern)
    file.write_text(text)
    steps = ["--trainer.max_steps=2", "--trainer.val_check_interval=2", f"--trainer.default_root_dir={tmp_path}/run"]
    main(["fit", "--config", str(file), *steps])
    assert (tmp_path / "run/checkpoints/step_00000002.ckpt").exists()


def integers(*shape: int, modulus: int, salt: int) -> torch.Tensor:
    """Numbers that look random and need no generator."""
    count = torch.arange(torch.Size(shape).numel())
    return ((count * 7919 + count // 7 * salt + salt) % modulus).reshape(shape)


def batch_of(step: int, end: int, size: int = 16) -> Batch:
    """Half-random pictures, their codes, and texts of different lengths that end in the token `end`."""
    ids = integers(size, 12, modulus=1000, salt=step + 3) + 1
    ends = torch.arange(size) % 8 + 3
    ids[torch.arange(size), ends] = end
    mask = torch.arange(12) <= ends[:, None]
    pixels = integers(size, 3, 32, 32, modulus=256, salt=step + 11).to(torch.uint8)
    draw = Draw.of(0, 0, 0, torch.arange(size))
    keys = tuple(str(i) for i in range(size))
    codes = integers(size, 16, modulus=64, salt=step)
    return Batch(text=Text(ids * mask, mask), visual=Visual(pixels), codes=codes, keys=keys, draw=draw)


class Losses(pl.Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer, *_) -> None:
        self.seen.append(float(trainer.callback_metrics["train/loss"]))


@pytest.mark.parametrize("name", GOLDEN)
def test_five_steps_have_their_losses(tmp_path, name):
    training = _training(CONFIGS / f"debug/{name}.yaml")
    with torch.no_grad():
        for salt, parameter in enumerate(training.model.parameters()):
            if parameter.ndim > 1:
                values = integers(*parameter.shape, modulus=201, salt=salt + 1) - 100
                parameter.copy_(values / 100 * parameter[0].numel() ** -0.5)
    losses = Losses()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(max_steps=5, accelerator="cpu", callbacks=[losses], default_root_dir=tmp_path, **quiet)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        steps = [[batch_of(step, END.get(name, 2))] for step in range(5)]
        trainer.fit(training, DataLoader(steps, batch_size=None, collate_fn=lambda step: step))
    finally:
        torch.set_num_threads(threads)
    assert losses.seen == pytest.approx(GOLDEN[name], rel=1e-4, abs=1e-4)


def _training(file: Path) -> pl.LightningModule:
    """The training module of a run, without its data."""

    class Parsed(Built):
        def instantiate_classes(self) -> None:
            self.config.fit.data.tokenizer = None
            self.model = self._parser("fit").instantiate_classes(self.config.fit).model

    return Parsed(["fit", "--config", str(file)], [str(file)]).model
