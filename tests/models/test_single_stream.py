"""Attention patterns and missing sides."""

from dataclasses import replace

import pytest
import torch
from streams import FEATURES, VOCABULARY, WIDTH, build, ragged
from torch.testing import assert_close

from vl.batch import Batch, Visual
from vl.models.bert import BertEncoder
from vl.models.embed import TextEmbedder
from vl.models.masks import BIDIRECTIONAL, CAUSAL, SEQ2SEQ
from vl.models.packing import Packing
from vl.models.single_stream import SingleStream
from vl.models.timm_grid import TimmGrid, grid_boxes
from vl.models.timm_image import TimmImage
from vl.models.uniter_regions import UniterRegions


def influence(pattern):
    """Which inputs change which outputs of a row of 3 words and 2 regions: (5 outputs, 5 inputs), words first."""
    model, batch = build("uniter", layers=1), ragged(words=(3, 5), regions=(2, 4))
    words = model.text(batch.text)[0].detach().requires_grad_()
    regions = model.visual(batch.visual, model.text)[0].detach().requires_grad_()
    model.text.forward = lambda text: (words, Packing.of(batch.text.mask))
    model.visual.forward = lambda visual, text: (regions, Packing.of(batch.visual.mask))
    output = model(replace(batch, attention=torch.tensor([pattern, BIDIRECTIONAL])))
    rows = []
    for x in (*output.text[0, :3], *output.visual[0, :2]):
        seen = torch.autograd.grad(x.square().sum(), (words, regions), retain_graph=True)
        rows.append(torch.cat([seen[0][:3], seen[1][:2]]).abs().sum(1) > 0)
    return torch.stack(rows).int().tolist()


def test_who_looks_at_whom():
    assert influence(BIDIRECTIONAL) == [[1] * 5] * 5
    assert influence(SEQ2SEQ) == [[1, 0, 0, 1, 1], [1, 1, 0, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]
    assert influence(CAUSAL) == [[1, 0, 0, 1, 1], [1, 1, 0, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1]]


def test_all_bidirectional_is_no_pattern():
    model, batch = build("uniter"), ragged()
    patterned = model(replace(batch, attention=torch.zeros(4, dtype=torch.long)))
    assert_close(patterned.text, model(batch).text, rtol=1e-5, atol=1e-5)


def test_a_side_may_be_missing():
    model, batch = build("uniter"), ragged()
    words = model(Batch(text=batch.text))
    assert words.visual is None
    assert words.text.shape == (4, 9, WIDTH)
    regions = model(Batch(visual=batch.visual))
    assert regions.text is None
    assert regions.visual.shape == (4, 8, WIDTH)


def test_widths_must_agree():
    with pytest.raises(ValueError, match=r"one stream has one width.*'visual': 8"):
        SingleStream(TextEmbedder(VOCABULARY, WIDTH), UniterRegions(8, FEATURES), BertEncoder(1, WIDTH, 3))


@pytest.mark.parametrize(("backbone", "features", "cells"), [("test_vit", 64, 4), ("test_efficientnet", 256, 4)])
def test_pixels_need_no_detector(backbone, features, cells):
    image = TimmImage(backbone, image_size=32 if backbone == "test_vit" else 64)
    size = image.image_size
    text, regions = TextEmbedder(VOCABULARY, WIDTH), UniterRegions(WIDTH, features)
    model = SingleStream(text, TimmGrid(image, regions), BertEncoder(1, WIDTH, 3)).eval()
    batch = replace(ragged(), visual=Visual(pixels=torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8)))
    output = model(batch)
    assert output.visual.shape == (4, cells, WIDTH)
    output.visual.sum().backward()
    assert model.image_size == size
    assert image.backbone.get_parameter(next(n for n, _ in image.backbone.named_parameters())).grad is not None
    with pytest.raises(ValueError, match="reads pixels, but the data hold none"):
        model(ragged())


def test_cells_cover_the_picture_row_by_row():
    boxes = grid_boxes(2, 3)
    assert_close(boxes[1], torch.tensor([1 / 3, 0, 2 / 3, 0.5]))
    assert_close(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum(), torch.tensor(1.0))


def test_regions_are_asked_for():
    model, batch = build("uniter"), ragged()
    with pytest.raises(ValueError, match="reads region features and boxes"):
        model(replace(batch, visual=replace(batch.visual, boxes=None)))
    assert build("visual_bert")(replace(batch, visual=replace(batch.visual, boxes=None))).text is not None
