import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from vl.batch import Visual
from vl.models.embed import TextEmbedder
from vl.models.geometry import box_geometry, sine_geometry, spread_boxes
from vl.models.visual_bert_regions import VisualBertRegions

BOX = torch.tensor([[0.1, 0.2, 0.5, 0.8]])


@pytest.mark.parametrize(("size", "rest"), [(4, []), (5, [0.24]), (6, [0.4, 0.6]), (7, [0.4, 0.6, 0.24])])
def test_a_box_by_hand(size, rest):
    assert_close(box_geometry(BOX, size), torch.tensor([[0.1, 0.2, 0.5, 0.8, *rest]]))


def test_an_unknown_description():
    with pytest.raises(ValueError, match="geometry is 8; a box is described by 4, 5, 6, 7 numbers"):
        box_geometry(BOX, 8)


def test_sines_of_centre_and_size():
    found = sine_geometry(BOX, frequencies=2)
    rates = (1, math.sqrt(1000))
    expected = [f(100 * v / r) for v in (0.3, 0.5, 0.4, 0.6) for f in (math.sin, math.cos) for r in rates]
    assert_close(found, torch.tensor([expected]), rtol=1e-4, atol=1e-4)
    assert sine_geometry(BOX).shape == (1, 2048)


@pytest.mark.parametrize("size", [4, 5, 7])
def test_spread_boxes_differ_about_as_much_as_normalised_features(size):
    torch.manual_seed(0)
    projection = nn.Linear(size, 256)
    spread_boxes(projection)
    middle = torch.tensor([0.35, 0.35, 0.65, 0.65])
    corner = torch.rand(200, 2) * 0.7
    boxes = torch.cat([corner, corner + 0.3], dim=1)
    assert_close(projection(box_geometry(middle, size)), torch.zeros(256), atol=1e-5, rtol=0)
    assert 0.5 < float(projection(box_geometry(boxes, size)).std()) < 2
    half = torch.rand(200, 1) * 0.25 + 0.05
    boxes = torch.cat([0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half], dim=1)
    assert 0.5 < float(projection(box_geometry(boxes, size)).std(0).mean()) < 2


def test_sizes_outlive_a_normalisation_of_what_boxes_share():
    """A linear map of the normalised vectors finds a box's width; without a shared part it finds less of it."""
    torch.manual_seed(0)
    sides, boxes = random_boxes(800)
    left = []
    for shared in (0.0, 1.0):
        projection = nn.Linear(7, 128)
        spread_boxes(projection, shared)
        seen = F.layer_norm(projection(box_geometry(boxes, 7)), (128,)).detach()
        seen = torch.cat([seen, torch.ones(len(seen), 1)], dim=1)
        weights = torch.linalg.lstsq(seen[:600], sides[:600]).solution
        left.append(float((seen[600:] @ weights - sides[600:]).var() / sides[600:].var()))
    assert left[1] < 0.05 < 0.1 < left[0]


def random_boxes(number):
    """Widths, and boxes that have them, anywhere in the picture."""
    centres, sides = torch.rand(number, 2) * 0.7 + 0.15, torch.rand(number, 2) * 0.15 + 0.15
    return sides[:, :1], torch.cat([centres - sides / 2, centres + sides / 2], dim=1)


def test_visualbert_reads_boxes_when_asked():
    """As released it does not. Where it does, the mapped box is added before the words' norm."""
    torch.manual_seed(0)
    text = TextEmbedder(vocab_size=20, width=16, context_length=8, dropout=0.0).eval()
    visual = Visual(features=torch.randn(2, 3, 6), boxes=torch.rand(2, 3, 4), mask=torch.ones(2, 3, dtype=torch.bool))
    moved = replace(visual, boxes=visual.boxes + 0.1)
    blind, seeing = (VisualBertRegions(16, 6, 2, 8, geometry=geometry) for geometry in (0, 4))
    assert_close(blind(visual, text)[0], blind(moved, text)[0])
    seeing.load_state_dict(blind.state_dict() | prefixed(seeing.geometry_projection))
    extra = seeing.geometry_projection(visual.boxes.flatten(0, 1))
    start = blind.projection(visual.features.flatten(0, 1)) + blind.segment.weight[0] + blind.position.weight[0]
    assert_close(seeing(visual, text)[0], text.finish(start + extra))
    assert not torch.allclose(seeing(visual, text)[0], seeing(moved, text)[0], atol=1e-3)


def prefixed(projection):
    return {f"geometry_projection.{name}": value for name, value in projection.state_dict().items()}
