"""The member of region features goes and comes back, and what is wrong with it is named."""

from dataclasses import replace

import pytest
import safetensors.torch
import torch

from vl.data.regions_member import Regions, pad, read_regions, write_regions


def regions(count, attributes=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values
    return Regions(
        features=torch.randn(count, 6, generator=generator).half().float(),
        boxes=corners.flatten(1),
        class_probs=torch.rand(count, 5, generator=generator).half().float(),
        confidence=torch.rand(count, generator=generator).half().float(),
        attribute_probs=torch.rand(count, 3, generator=generator).half().float() if attributes else None,
    )


@pytest.mark.parametrize("count", [0, 1, 7])
@pytest.mark.parametrize("attributes", [True, False])
def test_goes_and_comes_back(count, attributes):
    before = regions(count, attributes)
    after = read_regions(write_regions(before))
    assert after.tensors().keys() == before.tensors().keys()
    for name, value in before.tensors().items():
        torch.testing.assert_close(after.tensors()[name], value, rtol=0, atol=0)
    stored = safetensors.torch.load(write_regions(before))
    assert {name: value.dtype for name, value in stored.items()} == dict.fromkeys(stored, torch.float16) | {
        "boxes": torch.float32
    }


def test_padding_is_masked():
    visual = pad([regions(3), regions(0), regions(5, seed=1)])
    assert visual.mask.sum(1).tolist() == [3, 0, 5]
    torch.testing.assert_close(visual.features[2], regions(5, seed=1).features)
    torch.testing.assert_close(visual.attribute_probs[0, :3], regions(3).attribute_probs)
    assert not visual.class_probs[~visual.mask].any()
    assert pad([regions(2, attributes=False), regions(2)]).attribute_probs is None
    assert pad([regions(0)]).features.shape == (1, 1, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": torch.full((3, 6), torch.nan)}, "features holds a number that is not finite"),
        ({"boxes": torch.full((3, 4), 1.5)}, "xyxy in 0..1"),
        ({"boxes": torch.tensor([[0.5, 0.0, 0.2, 1.0]]).expand(3, 4)}, "xyxy in 0..1"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    wrong = replace(regions(3), **change)
    with pytest.raises(ValueError, match=message):
        write_regions(wrong)
    with pytest.raises(ValueError, match=message):
        read_regions(safetensors.torch.save({name: value.contiguous() for name, value in wrong.tensors().items()}))


def test_damaged_and_incomplete_members():
    data = write_regions(regions(3))
    with pytest.raises(ValueError, match="damaged"):
        read_regions(data[:-5])
    with pytest.raises(ValueError, match="lacks boxes, class_probs, confidence"):
        read_regions(safetensors.torch.save({"features": torch.zeros(2, 3)}))
    with pytest.raises(ValueError, match="confidence has 2 rows, boxes 3"):
        read_regions(safetensors.torch.save(regions(3).tensors() | {"confidence": torch.zeros(2)}))
