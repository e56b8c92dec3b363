"""One process, DDP and FSDP2 train alike, and validate alike when examples do not divide among ranks."""

import pytest
import torch
from ranks import run_ranks
from runs import read_steps, write_run, write_shards
from tiny import Data, Losses, SaveAt, trainer, training
from torch import nn
from torch.distributed.tensor import DTensor

from vl.batch import Loss
from vl.objectives.base import Objective
from vl.objectives.itc import ITC
from vl.train import strategies
from vl.train.ema import EMA
from vl.train.optim import AdamW


class Words(Objective):
    """The words of a text again from its embedding, with a head that is tied to the model's own table."""

    needs = frozenset({"text_emb"})

    def setup(self, model):
        self.bias, self.decoder = nn.Parameter(torch.zeros(50)), nn.Linear(16, 50, bias=False)
        self.decoder.weight = model.words.weight

    def forward(self, output, batch, target):
        logits = self.decoder(output.text_emb) + self.bias
        real = batch.text.ids % 3 > 0
        logps = logits.log_softmax(1).gather(1, batch.text.ids)
        return Loss(-logps[real].sum(), real.sum())


def fit(strategy="auto", ranks=1, accumulate=1, save=None, resume=None, val=0):
    """Losses of the steps, metrics, means of the weights; temperature, EMA and clipping are on."""
    strategies.register()
    losses = Losses()
    callbacks = [losses, *([SaveAt(*save)] if save else [])]
    run = trainer(callbacks=callbacks, devices=ranks, strategy=strategy)
    module = training(
        objectives={"itc": ITC(), "words": Words()},
        optimizer=AdamW(lr=1e-2, warmup=3, clip_norm=0.5),
        ema=EMA(0.9),
    )
    run.fit(module, datamodule=Data(accumulate=accumulate, val=val), ckpt_path=resume)
    if strategy == "fsdp2":
        assert all(isinstance(parameter, DTensor) for parameter in module.parameters())
    assert module.objectives["words"].decoder.weight is module.model.words.weight
    assert float(run.callback_metrics["train/gradient_norm"]) > 0.5
    means = {name: whole(mean) for name, mean in module.ema.named_buffers()}
    return losses.values, {name: float(value) for name, value in run.callback_metrics.items()}, means


def whole(tensor):
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).clone()


@pytest.fixture(scope="module")
def alone():
    return fit(val=33)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_ranks_train_and_validate_like_one(alone, strategy, accumulate):
    for losses, metrics, means in run_ranks(fit, strategy, 2, accumulate, None, None, 33):
        if accumulate == 1:  # A mean of means, where counts differ, for the other objective.
            assert losses == pytest.approx(alone[0], rel=1e-5)
            assert metrics == pytest.approx(alone[1], rel=1e-4)
            torch.testing.assert_close(means, alone[2], rtol=1e-4, atol=1e-5)
        assert len(losses) == 20


def test_no_rank_is_needed_for_an_example(alone):
    """One example, so that the second rank has none."""
    one = fit(val=1)[1]
    for strategy in ("ddp", "fsdp2"):
        for _, metrics, _ in run_ranks(fit, strategy, 2, 1, None, None, 1):
            assert {name: metrics[name] for name in one if name.startswith("val")} == pytest.approx(
                {name: value for name, value in one.items() if name.startswith("val")}, rel=1e-5
            )


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_sharded_checkpoint_resumes(alone, tmp_path, ranks):
    run_ranks(fit, "fsdp2", 2, 1, (10, tmp_path / "ten"))
    assert (tmp_path / "ten").is_dir()
    for losses, _, means in run_ranks(fit, "fsdp2", ranks, 1, None, tmp_path / "ten", ranks=ranks):
        assert losses == pytest.approx(alone[0][10:], rel=1e-5)
        torch.testing.assert_close(means, alone[2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_checkpoint_of_one_file_resumes(alone, tmp_path, ranks):
    fit(save=(10, tmp_path / "ten.ckpt"))
    for losses, _, means in run_ranks(fit, "ddp", ranks, 1, None, tmp_path / "ten.ckpt", ranks=ranks):
        assert losses == pytest.approx(alone[0][10:], rel=1e-5)
        torch.testing.assert_close(means, alone[2], rtol=1e-4, atol=1e-5)


def fit_broken(strategy, ranks=2, accumulate=1, broken=50):
    strategies.register()
    run = trainer(devices=ranks, strategy=strategy)
    try:
        run.fit(training(), datamodule=Data(accumulate=accumulate, broken=broken))
    except Exception as error:
        return str(error)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_nan_on_one_rank_ends_both_alike(strategy, accumulate):
    """Example 50 is row 2 of step 4, on rank 0."""
    errors = run_ranks(fit_broken, strategy, 2, accumulate, timeout=60)
    assert errors == ["step 4: the loss of itc is nan; samples sample50 on rank 0"] * 2


def fit_clip(file, strategy, ranks):
    from vl.train.cli import main

    main(["fit", "--config", str(file), f"--trainer.strategy={strategy}", f"--trainer.devices={ranks}"])


def test_clip_trains_alike_on_shards(tmp_path):
    """Random crops, a learnt temperature, EMA and clipping; two pictures are broken, which one rank meets."""
    runs = {"auto": 1, "ddp": 2, "fsdp2": 2}
    for strategy, ranks in runs.items():
        write_shards(tmp_path / strategy / "shards", broken=(5, 70))
        write_shards(tmp_path / strategy / "shards", "val", count=37)
        file = write_run(
            tmp_path / strategy,
            model__model__init_args__image__init_args__config__vision_cfg__patch_dropout=0.0,
            model__optimizer__init_args__clip_norm=0.5,
            model__ema={"class_path": "vl.train.ema.EMA", "init_args": {"decay": 0.9}},
            trainer__max_steps=20,
        )
        run_ranks(fit_clip, file, strategy, ranks, ranks=ranks)
    steps = {strategy: read_steps(tmp_path / strategy) for strategy in runs}
    for strategy in ("ddp", "fsdp2"):
        assert [keys for _, keys in steps[strategy].values()] == [keys for _, keys in steps["auto"].values()]
        losses = [[loss for loss, _ in steps[name].values()] for name in ("auto", strategy)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)
        assert len(losses[0]) == 20
    seen = {key for _, keys in steps["auto"].values() for key in keys}
    assert seen == {f"train{i:04d}" for i in range(96)} - {"train0005", "train0070"}
