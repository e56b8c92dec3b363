"""The training module on one process: checks, start weights, accumulation, evaluation, answers."""

import pytest
import pytorch_lightning as pl
import torch
from tiny import Data, Evaluation, Losses, Tiny, batch_of, trainer, training
from torch import nn
from torchmetrics import MeanMetric

from vl.batch import Batch, Loss
from vl.checkpoints.start import StartWeights
from vl.objectives.base import Objective
from vl.objectives.itc import ITC
from vl.objectives.sigmoid_itc import SigmoidITC
from vl.tasks.base import Task
from vl.train.module import Training
from vl.train.optim import AdamW
from vl.train.tally import NonFinite


class Brightness(Task):
    """Is the picture bright?"""

    needs = frozenset({"image_emb"})

    def setup(self, model):
        self.head, self.metric = nn.Linear(model.width, 1), Share()

    def forward(self, output, batch, target):
        bright = (batch.visual.pixels.flatten(1).mean(1) > 128).float()
        logits = self.head(output.image_emb)[:, 0]
        losses = nn.functional.binary_cross_entropy_with_logits(logits, bright, reduction="none")
        return Loss(losses.sum(), torch.tensor(len(losses)))

    def answer(self, output, batch):
        yes = (self.head(output.image_emb)[:, 0] > 0).tolist()
        return [{"key": key, "bright": value} for key, value in zip(batch.keys, yes, strict=True)]


class Share(MeanMetric):
    def update(self, answers, batch):
        super().update(torch.tensor([float(answer["bright"]) for answer in answers]))


class Hidden(Objective):
    """Sees a batch without its words; remembers that it ran."""

    def corrupt(self, batch, draw):
        return batch, draw.uniform(1)

    def forward(self, output, batch, target):
        return Loss(target.sum() * output.logit_scale.sum() * 0 + target.sum(), torch.tensor(len(target)))


class Shift(StartWeights):
    """Every weight plus one."""

    def __call__(self, model):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1)


def test_a_model_without_what_an_objective_needs_is_refused():
    with pytest.raises(ValueError, match=r"siglip \(SigmoidITC\) needs \['logit_bias'\].*provides \['image_emb'"):
        Training(Tiny(), {"siglip": SigmoidITC()}, AdamW(lr=1.0))


def test_a_weight_of_no_objective_is_refused():
    with pytest.raises(ValueError, match=r"weights name \['itm'\]; the objectives are \['itc'\]"):
        training(weights={"itm": 2.0})


def test_a_batch_for_an_unknown_objective_is_refused():
    with pytest.raises(ValueError, match=r"objectives \['mlm'\]; the run has \['itc'\]"):
        training().active(Batch(objectives=("mlm",)))


def test_a_batch_names_what_it_trains():
    module = training(objectives={"itc": ITC(), "hidden": Hidden()})
    assert list(module.active(Batch())) == ["itc", "hidden"]
    assert list(module.active(Batch(objectives=("hidden",)))) == ["hidden"]


def test_start_weights_are_loaded_when_fit_starts_and_never_again(tmp_path):
    def first_weights(**options):
        module = training(init=[Shift("", "")], optimizer=AdamW(lr=1e-9))
        before = module.model.logit_scale.item()
        run = trainer(max_steps=1)
        run.fit(module, datamodule=Data(), **options)
        run.save_checkpoint(tmp_path / "one.ckpt")
        run.validate(module, datamodule=Data(val=3), verbose=False)
        return module.model.logit_scale.item() - before

    assert first_weights() == pytest.approx(1, abs=1e-4)
    assert first_weights(ckpt_path=tmp_path / "one.ckpt") == pytest.approx(1, abs=1e-4)


def run_losses(accumulate, **options):
    losses = Losses()
    trainer(callbacks=[losses]).fit(training(**options), datamodule=Data(accumulate=accumulate))
    return losses.values


def test_four_micro_batches_train_like_one_batch():
    assert run_losses(4) == pytest.approx(run_losses(1), rel=1e-5)


def test_four_micro_batches_with_another_objective():
    both = {"itc": ITC(), "bright": Brightness()}
    assert run_losses(4, objectives=both) == pytest.approx(run_losses(1, objectives=both), rel=1e-5)


def test_accumulated_gradients_are_exact_with_dropout():
    """Against one graph through all micro-batches, each run under its own masks."""
    batches = [batch_of(list(range(i, i + 3))) for i in (0, 3, 6, 9)]
    module = training(dropout=0.3)
    kept = {}

    class Keep(pl.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            kept.update({name: p.grad.clone() for name, p in module.named_parameters()})

    trainer(max_steps=1, callbacks=[Keep()]).fit(module, train_dataloaders=Evaluation([batches], 1))

    module = training(dropout=0.3).train()
    outputs = []
    for micro, batch in enumerate(batches):
        module.seed_dropout(0, micro)
        outputs.append(module.model(batch))
    image, text = (torch.cat([getattr(o, name) for o in outputs]) for name in ("image_emb", "text_emb"))
    whole = type(outputs[0])(image_emb=image, text_emb=text, logit_scale=outputs[0].logit_scale)
    (ITC()(whole, Batch()).total / 12).backward()
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(kept[name], parameter.grad, rtol=1e-5, atol=1e-7, msg=name)


def test_a_nan_names_its_sample():
    with pytest.raises(NonFinite, match="step 4: the loss of itc is nan; samples sample50 on rank 0"):
        trainer().fit(training(), datamodule=Data(broken=50, accumulate=4))


def test_validation_and_answers_of_a_task():
    module = training(objectives={"itc": ITC(), "bright": Brightness()}, weights={"bright": 0.5})
    run = trainer()
    run.validate(module, datamodule=Data(val=21), verbose=False)
    logged = {name: value.item() for name, value in run.callback_metrics.items()}
    found = run.predict(module, dataloaders=Data(val=21).evaluation(0, 1))
    answers = [answer for batch in found for answer in batch]
    assert [answer["key"] for answer in answers] == [f"sample{i}" for i in range(21)]
    assert {answer["task"] for answer in answers} == {"bright"}
    assert logged["val/bright/metric"] == pytest.approx(sum(answer["bright"] for answer in answers) / 21)
    assert logged["val/loss"] == pytest.approx(logged["val/itc/loss"] + 0.5 * logged["val/bright/loss"])


def test_the_validation_loss_does_not_depend_on_batches():
    def loss(val_batch):
        run = trainer()
        run.validate(training(), datamodule=Data(val=21, val_batch=val_batch), verbose=False)
        return run.callback_metrics["val/itc/loss"].item()

    assert loss(4) == pytest.approx(loss(21), rel=1e-6)
    module = training().eval()
    whole = ITC().eval()(module.model(batch_of(list(range(21)))), Batch())
    assert loss(4) == pytest.approx((whole.total / 21).item(), rel=1e-6)
