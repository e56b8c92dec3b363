import pytest
import torch

from vl.data.collate import Collator
from vl.data.sample import Record, Sample
from vl.data.views.pictures import PictureView
from vl.draw import Draw

DRAW = Draw.of(0, 0, 0, torch.tensor([0]))


def test_a_picture_needs_no_caption_and_no_tokenizer():
    view = PictureView()
    example = view.example(Sample("k", {"png": b"picture", "json": b"not read"}), 0, DRAW)
    assert example.images == (b"picture",)
    assert example.text is None
    assert view.count(Record()) == view.count_from({"samples": 1}) == 1
    assert view.texts(Record()) == [()]
    batch = Collator(None, None)([example.__class__("k", images=(torch.zeros(3, 4, 4, dtype=torch.uint8),))])
    assert batch.text is None
    assert batch.visual.pixels.shape == (1, 3, 4, 4)


def test_a_sample_without_a_picture_is_an_error():
    with pytest.raises(ValueError, match="sample k has no picture"):
        PictureView().example(Sample("k", {"txt": b"a cat"}), 0, DRAW)
