"""What decays, what learns how fast, and when."""

import pytest
import torch
from tiny import Data, SaveAt, Tiny, trainer, training
from torch import nn

from vl.models.open_clip_image import OpenClipImage
from vl.models.open_clip_text import OpenClipText
from vl.models.two_tower import TwoTower
from vl.train.optim import AdamW


def rates(spec, module):
    """{name: (lr, weight decay)} of all parameters."""
    return {name: (group.lr, group.weight_decay) for group in spec.groups(module, module.model) for name in group.names}


def module_of(model):
    module = nn.Module()
    module.model, module.objectives = model, nn.ModuleDict({"itc": nn.Linear(2, 2)})
    return module


def test_only_matrices_decay():
    model = TwoTower(OpenClipImage("ViT-S-32-alt"), OpenClipText("ViT-S-32-alt"))
    found = rates(AdamW(lr=1e-3, weight_decay=0.2), module_of(model))
    exempt = {name for name, (_, decay) in found.items() if decay == 0}
    assert found.keys() == {name for name, _ in module_of(model).named_parameters()}
    assert {name for name in found if name.endswith(("bias", "logit_scale"))} <= exempt
    assert sum("positional_embedding" in name for name in exempt) == 2
    assert sum("class_embedding" in name for name in exempt) == 1
    shapes = {name: p.shape for name, p in module_of(model).named_parameters()}
    assert {
        name for name, shape in shapes.items() if len(shape) > 1 and "position" not in name
    } == found.keys() - exempt


def test_layers_further_from_the_output_learn_slower():
    class Deep(Tiny):
        def depth_of(self, name):
            tower, _, rest = name.partition(".")
            return (int(rest[0]) + 1) / 3 if tower in ("text", "image") else float(name == "logit_scale")

    found = rates(AdamW(lr=1.0, layer_decay=0.5, lr_scale={"objectives.*": 10}), module_of(Deep()))
    lr = {name: round(rate, 6) for name, (rate, _) in found.items()}
    assert lr["model.logit_scale"] == 1
    assert lr["model.text.1.linear.weight"] == lr["model.image.1.linear.weight"] == 0.5
    assert lr["model.text.0.linear.weight"] == 0.25
    assert lr["model.words.weight"] == 0.125
    assert lr["objectives.itc.weight"] == 10


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosine", [1 / 3, 2 / 3, 1, 0.775, 0.325, 0.1]),
        ("linear", [1 / 3, 2 / 3, 1, 0.7, 0.4, 0.1]),
        ("constant", [1 / 3, 2 / 3, 1, 1, 1, 1]),
    ],
)
def test_schedules(schedule, expected):
    spec = AdamW(lr=1.0, warmup=2, schedule=schedule, min_lr=0.1)
    assert [spec.factor(step, 5) for step in range(6)] == pytest.approx(expected)
    assert AdamW(lr=1.0, warmup=0.4, schedule=schedule, min_lr=0.1).factor(1, 5) == pytest.approx(expected[1])


def test_a_constant_rate_cools_down():
    spec = AdamW(lr=1.0, warmup=1, schedule="constant", cooldown=0.4, min_lr=0.1)
    expected = [0.5, 1, 1, 1, 1, 1, 1, 0.1 + 0.9 * 0.75, 0.1 + 0.9 * 0.5, 0.1 + 0.9 * 0.25, 0.1]
    assert [spec.factor(step, 10) for step in range(11)] == pytest.approx(expected)
    assert AdamW(lr=1.0, schedule="constant", cooldown=4, min_lr=0.1).factor(8, 10) == pytest.approx(0.55)
    with pytest.raises(ValueError, match="cooldown goes with schedule constant; linear falls all the time"):
        AdamW(lr=1.0, schedule="linear", cooldown=0.1)


def test_a_rate_drops_at_milestones():
    spec = AdamW(lr=1.0, warmup=2, schedule="linear", milestones={3: 0.5, 4: 0.1})
    plain = [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0]
    expected = [rate * drop for rate, drop in zip(plain, [1, 1, 1, 0.5, 0.05, 0.05], strict=True)]
    assert [spec.factor(step, 5) for step in range(6)] == pytest.approx(expected)


def test_clipping_returns_the_norm_before():
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert AdamW(lr=1.0, clip_norm=1.0).clip([parameter]).item() == 5
    torch.testing.assert_close(parameter.grad, torch.tensor([0.6, 0.8]))
    assert AdamW(lr=1.0).clip([parameter, nn.Parameter(torch.zeros(1))]).item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr_scale": {"heads.*": 10}}, "'heads.*', which matches no trainable parameter"),
        ({"layer_decay": 0.0}, "layer_decay is 0.0"),
        ({"clip_norm": -1.0}, "clip_norm is -1.0"),
    ],
)
def test_mistakes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AdamW(lr=1.0, **options).groups(module_of(Tiny()), Tiny())


def test_a_run_without_end_is_refused():
    with pytest.raises(ValueError, match="the schedule needs the length of the run"):
        trainer(max_epochs=-1).fit(training(), datamodule=Data())


def test_a_resumed_run_follows_its_own_configuration(tmp_path):
    """Not the rates and decays that the checkpoint's optimiser state holds."""
    first = trainer(max_steps=6, callbacks=[SaveAt(5, tmp_path / "five.ckpt")])
    first.fit(training(optimizer=AdamW(lr=1e-2, weight_decay=0.5)), datamodule=Data())
    module = training(optimizer=AdamW(lr=3e-3, weight_decay=0.1, schedule="constant"))
    trainer(max_steps=8).fit(module, datamodule=Data(), ckpt_path=tmp_path / "five.ckpt")
    groups = module.optimizers().param_groups
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(3e-3, 0.1), (3e-3, 0.0)]
