"""A picture is shown in a few ways, the same in every epoch and process."""

import io

import pytest
import torch
from PIL import Image
from skimage import data

from vl.data.few_views import FewViews
from vl.data.stages import ColorJitter, HorizontalFlip, ImageStage, RandomResizedCrop
from vl.draw import Draw


def png(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def few(num_views: int = 3, **options) -> FewViews:
    return FewViews(ImageStage(32, RandomResizedCrop(), [HorizontalFlip(), ColorJitter()]), num_views, **options)


def shown(stage: FewViews, picture: bytes, epochs: int = 40) -> list[torch.Tensor]:
    return [stage(picture, Draw.of(7, epoch, 0, torch.tensor([5]))) for epoch in range(epochs)]


def distinct(views: list[torch.Tensor]) -> int:
    return len({view.numpy().tobytes() for view in views})


def test_there_are_no_more_views_than_asked_for_and_other_pictures_have_others():
    cat, astronaut = png(data.chelsea()), png(data.astronaut())
    stage = few()
    assert distinct(shown(stage, cat)) == 3
    assert distinct(shown(stage, cat) + shown(stage, astronaut)) == 6


def test_views_do_not_depend_on_what_was_kept():
    cat = png(data.chelsea())
    for kept, made_anew in zip(shown(few(), cat), shown(few(max_bytes=0), cat), strict=True):
        assert torch.equal(kept, made_anew)


def test_a_view_is_made_once():
    stage, calls = few(), []
    make = stage.stage.apply
    stage.stage.apply = lambda *args: calls.append(1) or make(*args)
    shown(stage, png(data.chelsea()))
    assert len(calls) == 3


def test_evaluation_has_no_chance_in_it():
    cat = png(data.chelsea())
    assert torch.equal(few().without_chance()(cat), few().stage.without_chance()(cat))


def test_no_view_at_all_is_refused():
    with pytest.raises(ValueError, match="num_views=0"):
        few(0)
