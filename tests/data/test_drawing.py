"""Augmentations of drawings: what they change, what they leave alone, and that numbers alone decide."""

import pytest
import torch

from vl.data.drawing import Affine, Outline, Sometimes
from vl.data.stages import Grayscale, HorizontalFlip, ImageStage
from vl.draw import Draw


@pytest.fixture
def square():
    """A red square on white, 40 x 40 in 64 x 64."""
    pixels = torch.full((3, 64, 64), 255, dtype=torch.uint8)
    pixels[1:, 12:52, 12:52] = 0
    return pixels


def test_an_outline_follows_the_edge_and_nothing_else(square):
    drawn = Outline(1.0, width=3).apply(square, [0.0])
    black = (drawn == 0).all(0)
    assert black[30, 10:14].any()
    assert black[10:14, 30].any()
    assert not black[16:48, 16:48].any()
    assert not black[:8].any()
    assert torch.equal(drawn[:, 16:48, 16:48], square[:, 16:48, 16:48])


def test_outlines_are_drawn_at_their_rate(square):
    assert torch.equal(Outline(0.3).apply(square, [0.3]), square)
    assert not torch.equal(Outline(0.3).apply(square, [0.29]), square)


@pytest.mark.parametrize("background", [255, 128])
def test_affine_moves_the_drawing_over_its_background(background):
    pixels = torch.full((3, 64, 64), background, dtype=torch.uint8)
    pixels[:, 24:40, 24:40] = 10
    affine = Affine(degrees=0.0, shift=0.25, scale=(0.5, 2.0), background=background)
    still = affine.apply(pixels, [0.5, 0.5, 0.5, 0.5])
    assert (still.short() - pixels.short()).abs().max() <= 1
    right = affine.apply(pixels, [0.5, 1.0, 0.5, 0.5])
    assert torch.equal(right[:, :, 16:], still[:, :, :-16])
    assert (right[:, :, :16] == background).all()
    sizes = [
        (affine.apply(pixels, [0.5, 0.5, 0.5, scale]) < background // 2).sum().item() for scale in (0.0, 0.5, 0.99)
    ]
    assert sizes[0] < 0.3 * sizes[1] < 0.1 * sizes[2]


def test_a_turned_picture_has_no_seam():
    white = torch.full((3, 64, 64), 255, dtype=torch.uint8)
    assert (Affine(degrees=30.0).apply(white, [0.9, 0.8, 0.1, 0.2]) == 255).all()


def test_sometimes_does_all_or_nothing_and_hands_on_the_numbers(square):
    sometimes = Sometimes([HorizontalFlip(0.5), Grayscale(0.5)], prob=0.4)
    square[:, :, :20] = 255
    assert sometimes.num_draws == 3
    assert torch.equal(sometimes.apply(square, [0.4, 0.0, 0.0]), square)
    assert torch.equal(sometimes.apply(square, [0.0, 0.0, 0.9]), square.flip(-1))
    assert torch.equal(sometimes.apply(square, [0.0, 0.9, 0.0]), Grayscale(1.0).apply(square, [0.0]))


def test_evaluation_leaves_the_picture_as_it_is(square):
    from torchvision.io import encode_png

    data = bytes(encode_png(square).numpy())
    stage = ImageStage(64, augment=[Sometimes([Affine(), Outline(1.0)], prob=1.0)])
    draw = Draw.of(0, 0, 0, torch.tensor([3]))
    assert torch.equal(stage(data, draw), stage(data, draw))
    assert not torch.equal(stage(data, draw), square)
    assert torch.equal(stage.without_chance()(data), square)
