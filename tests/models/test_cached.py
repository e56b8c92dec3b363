"""A tower that remembers gives what the tower gives, and computes each picture once."""

import pytest
import torch
from torch import nn

from vl.models.cached import CachedImage
from vl.models.timm_image import TimmImage


def watch(tower: nn.Module) -> list[int]:
    """The sizes of the batches a tower is given."""
    sizes: list[int] = []
    tower.register_forward_hook(lambda _, inputs, output: sizes.append(len(output)))
    return sizes


def test_pictures_are_computed_once():
    tower = TimmImage("test_vit", frozen=True)
    pixels = torch.randint(0, 256, (4, 3, tower.image_size, tower.image_size), dtype=torch.uint8)
    wanted, sizes = tower(pixels), watch(tower)
    cached = CachedImage(tower)
    torch.testing.assert_close(cached(pixels[[0, 1, 1]]), wanted[[0, 1, 1]])
    torch.testing.assert_close(cached(pixels[[3, 1, 2, 0]]), wanted[[3, 1, 2, 0]])
    assert sizes == [2, 2]


def test_a_full_memory_computes_again():
    tower = TimmImage("test_vit", frozen=True)
    pixels = torch.randint(0, 256, (2, 3, tower.image_size, tower.image_size), dtype=torch.uint8)
    wanted, sizes = tower(pixels), watch(tower)
    cached = CachedImage(tower, max_bytes=1)
    for _ in range(2):
        torch.testing.assert_close(cached(pixels), wanted)
    assert sizes == [2, 1]


def test_a_tower_that_learns_cannot_remember():
    with pytest.raises(ValueError, match="frozen"):
        CachedImage(TimmImage("test_vit"))
