"""Controls show what they say they show, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pretraining import full
from streams import FEATURES, MODELS, build

from vl.draw import Draw
from vl.models.controls import MeanFeature, ShuffledBoxes, TextOnly
from vl.tasks.nlvr2_triplet import join_pairs


def changed(batch, *names):
    """The batch with other values in some fields of its regions."""
    values = {name: getattr(batch.visual, name) for name in names}
    return replace(batch, visual=replace(batch.visual, **{name: value.flip(0, 1) for name, value in values.items()}))


def same(a, b):
    return torch.allclose(a.pooled, b.pooled, atol=1e-6) and torch.allclose(a.text, b.text, atol=1e-6)


@pytest.fixture
def mean(tmp_path):
    file = tmp_path / "mean.npy"
    np.save(file, np.linspace(-1, 1, FEATURES, dtype=np.float32))
    return str(file)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_what_is_not_shown_changes_nothing(name, mean):
    model, batch = build(name), full()
    everything, blind, alike = model, TextOnly(model).eval(), MeanFeature(model, mean).eval()
    boxless = name == "visual_bert"
    assert not same(everything(batch), everything(changed(batch, "features")))
    assert same(blind(batch), blind(changed(batch, "features", "boxes", "mask")))
    assert blind(batch).pooled.isfinite().all()
    assert same(alike(batch), alike(changed(batch, "features")))
    assert same(alike(batch), alike(changed(batch, "boxes"))) == boxless
    assert not same(alike(batch), alike(changed(batch, "mask")))


def test_boxes_are_exchanged_within_a_picture():
    batch, control = full(regions=(4, 1, 8, 3, 5, 6)), ShuffledBoxes(build("uniter"))
    boxes, moved = batch.visual.boxes, 0
    for epoch in range(3):
        drawn = replace(batch, draw=Draw.of(0, epoch, 0, torch.arange(6)))
        seen = control.see(drawn).visual
        assert torch.equal(control.see(drawn).visual.boxes, seen.boxes)
        assert torch.equal(seen.features, batch.visual.features)
        for own, other, mask in zip(boxes, seen.boxes, batch.visual.mask, strict=True):
            assert torch.equal(own[~mask], other[~mask])
            assert sorted(own[mask].tolist()) == sorted(other[mask].tolist())
        moved += int((seen.boxes != boxes).any(2).sum())
    assert moved > 30  # of three times 27


def test_pairs_of_pictures_and_gaps_between_regions():
    batch = full()
    joined = replace(
        batch, visual=join_pairs(batch.visual), keys=batch.keys[:3], draw=Draw.of(0, 0, 0, torch.arange(3))
    )
    mask = joined.visual.mask
    assert (mask[:, 1:] & ~mask[:, :-1]).any()  # a gap
    seen = ShuffledBoxes(build("uniter")).see(joined).visual.boxes
    assert sorted(seen[mask].tolist()) == sorted(joined.visual.boxes[mask].tolist())
    halves = replace(batch, keys=batch.keys[:3], draw=joined.draw)  # two pictures an example
    seen = ShuffledBoxes(build("uniter")).see(halves).visual.boxes
    assert seen.shape == batch.visual.boxes.shape


def test_a_control_stands_for_its_model(mean):
    model = build("uniter")
    control = MeanFeature(model, mean)
    assert control.word_embedding is model.word_embedding
    assert control.visual_projection is model.visual_projection
    assert (control.provides, control.pooled_width) == (model.provides, model.pooled_width)
    assert list(control.blocks()) == list(model.blocks())
    assert [control.depth_of(f"model.{name}") for name, _ in model.named_parameters()] == [
        model.depth_of(name) for name, _ in model.named_parameters()
    ]
    with pytest.raises(ValueError, match=r"no mean feature nothing\.npy"):
        MeanFeature(model, "nothing.npy")(full())
