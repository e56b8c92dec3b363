"""Towers that remember give what the tower gives, and compute each content once."""

import pytest
import torch
from torch import nn

from vl.batch import Text
from vl.models.cached import CachedImage, CachedText
from vl.models.hf_text import HFText
from vl.models.text_transformer import TextTransformer
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


def texts(*rows: list[int]) -> Text:
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    return Text(ids, ids > 0)


def test_texts_are_computed_once_whatever_their_padding():
    tower = TextTransformer(vocab_size=50, context_length=8, width=16, layers=1, heads=2, embed_dim=8, frozen=True)
    text = texts([1, 2, 3], [4, 5])
    wanted, sizes = tower(text), watch(tower)
    cached = CachedText(tower)
    torch.testing.assert_close(cached(text), wanted)
    torch.testing.assert_close(cached(texts([4, 5])), wanted[1:])
    assert sizes == [2]


def test_texts_with_trained_tokens_are_computed_every_time():
    config = {"model_type": "bert", "vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 1}
    tower = HFText(config | {"num_attention_heads": 2, "intermediate_size": 16}, extra_tokens=5, frozen=True)
    text = texts([3, 31], [4, 5, 6], [7, 8, 34], [9])
    cached, wanted, sizes = CachedText(tower), tower(text), watch(tower)
    wanted.sum().backward()
    gradient = tower.extra.weight.grad.clone()
    for _ in range(2):
        tower.extra.weight.grad = None
        features = cached(text)
        torch.testing.assert_close(features, wanted)
        features.sum().backward()
        torch.testing.assert_close(tower.extra.weight.grad, gradient)
    assert sizes == [2, 2, 2]  # the two that stay once, the two that learn twice


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
