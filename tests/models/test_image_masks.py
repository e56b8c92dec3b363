"""Each mask against its definition, place by place, on a grid of 4 x 4 after 3 text tokens."""

import pytest
import torch

from vl.models.image_masks import KERNEL, KINDS, dalle_pattern, image_mask, pattern, seen

TEXT, SIDE = 3, 4


def allowed(kind, query, key, side=SIDE):
    """The definition, in words of rows and columns."""
    if key > query:
        return False
    if kind == "full" or key < TEXT or query < TEXT:
        return True
    (row, column), (key_row, key_column) = divmod(query - TEXT, side), divmod(key - TEXT, side)
    if kind == "row":  # itself and as many before it as a row has
        return query - key <= side
    if kind == "column":
        return column == key_column
    return row - key_row <= KERNEL // 2 and abs(column - key_column) <= KERNEL // 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [4, 13])
def test_masks_equal_their_definitions(kind, side):
    length = TEXT + side * side
    slow = torch.tensor([[allowed(kind, i, j, side) for j in range(length)] for i in range(length)])
    assert torch.equal(image_mask(kind, TEXT, side), slow)


def test_the_convolution_is_smaller_than_a_wide_grid():
    assert not torch.equal(image_mask("conv", TEXT, 13), image_mask("full", TEXT, 13))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [4, 13])
def test_the_cache_is_read_where_the_mask_looks(kind, side):
    places = torch.arange(side * side)
    for image in range(side * side):
        mask = image_mask(kind, TEXT, side)[TEXT + image, TEXT:]
        assert sorted(places[seen(kind, image, side)].tolist()) == places[mask].tolist()


def test_dalle_layers():
    kinds = dalle_pattern(64)
    assert [i for i in range(1, 64) if kinds[i - 1] == "column"] == list(range(2, 64, 4))
    assert kinds[63] == "conv"
    assert kinds.count("row") == 47
    assert pattern(["full", "row"], 3) == ("full", "row", "full")
