"""Regions in the place of pixels, and the views that only pretraining asks for."""

import pytest
import torch
from region_shards import record, regions, write_region_shards

from vl.data.collate import Collator
from vl.data.index import ShardSet
from vl.data.regions_member import REGIONS, Regions, write_regions
from vl.data.sample import Sample
from vl.data.shards import ShardWriter
from vl.data.stages import BadMember
from vl.data.views.base import Example
from vl.data.views.caption import CaptionView
from vl.data.views.caption_pair import CaptionPairView
from vl.data.views.opposite import OppositeView
from vl.data.views.qa import QAView
from vl.data.views.regions import RegionView
from vl.draw import Draw

DRAW = Draw.of(0, 0, 0, torch.tensor([3]))


def test_regions_reach_the_batch(tmp_path):
    view = RegionView(CaptionView(choose="all"))
    shards = ShardSet(write_region_shards(tmp_path), view)
    assert len(shards) == 180
    collator = Collator(None, None)
    read = []
    for number in (0, 10, 14):
        example = collator.read(view, shards.read(3 * number), 0, DRAW)
        assert example.text == record(number)["captions"][0]["text"]
        read.append(Example(example.key, images=example.images))
    visual = collator(read).visual
    assert visual.mask.sum(1).tolist() == [1, 1, 5]
    assert visual.features[2].unique().tolist() == [14.0]
    torch.testing.assert_close(visual.class_probs[2], regions(14).class_probs, rtol=1e-3, atol=1e-3)
    assert visual.attribute_probs.shape == (3, 5, 9)
    assert visual.pixels is None


def test_a_picture_is_not_read_and_not_needed(tmp_path):
    view = RegionView(QAView())
    assert "json" in view.members
    assert view.members.isdisjoint({"jpg", "png"})
    with ShardWriter(tmp_path, "a") as writer:
        writer.write("x", {"json": {"qa": [{"id": "q", "question": "What?", "answers": ["yes"]}]}, "jpg": b"junk",
                           REGIONS: write_regions(regions(2))})  # fmt: skip
    shards = ShardSet(f"{tmp_path}/a-*.tar", view)
    assert set(shards.read(0).members) == {"json", REGIONS}
    example = view.example(shards.read(0), 0, DRAW)
    assert example.targets["answers"] == ("yes",)
    assert len(example.images[0]) == 3


def test_samples_without_regions_are_named(tmp_path):
    shards = ShardSet(write_region_shards(tmp_path, without=5), RegionView(CaptionView()), max_bad=0.1)
    assert len(shards) == 59
    assert shards.bad == [(shards.shards[0], "sample 0005 has no regions (member regions.safetensors); "
                           "tools/extract_regions.py makes them")]  # fmt: skip


def test_damaged_regions_are_a_bad_member():
    sample = Sample("k", {"txt": b"a cat", REGIONS: b"junk"})
    with pytest.raises(BadMember, match="is damaged") as error:
        Collator(None, None).read(RegionView(CaptionView()), sample, 0, DRAW)
    assert error.value.key == "k"


def confident(*values):
    count = len(values)
    return Regions(
        torch.arange(count).float()[:, None], torch.zeros(count, 4), torch.ones(count, 2), torch.tensor(values)
    )


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"max_regions": 3, "min_regions": 1}, [1, 3, 4]),
        ({"min_confidence": 0.45, "min_regions": 1}, [1, 4]),
        ({"min_confidence": 0.45, "min_regions": 4}, [0, 1, 3, 4]),
        ({"min_confidence": 0.1, "min_regions": 1, "max_regions": 2}, [1, 4]),
    ],
)
def test_the_sure_regions_are_kept_in_their_order(options, kept):
    """As UNITER does: above a confidence, but at least and at most so many."""
    sample = Sample("k", {"txt": b"a cat", REGIONS: write_regions(confident(0.3, 0.9, 0.2, 0.4, 0.5))})
    example = RegionView(CaptionView(), **options).example(sample, 0, DRAW)
    assert example.images[0].features[:, 0].tolist() == kept


def test_limits_are_checked():
    with pytest.raises(ValueError, match="min_regions is 10, max_regions 5"):
        RegionView(CaptionView(), max_regions=5)


def test_opposites_come_after_their_captions(tmp_path):
    view = RegionView(OppositeView())
    shards = ShardSet(write_region_shards(tmp_path, count=3), view)
    assert len(shards) == 3 * 2 * 3  # not that of a question
    own = record(1)
    seen = [view.example(shards.read(6 + i), i, DRAW) for i in range(6)]
    assert [one.matched for one in seen] == [True, False] * 3
    assert [one.text for one in seen[:2]] == [own["captions"][0]["text"], own["opposites"][0]["text"]]
    assert [one.text for one in seen[2:4]] == [own["captions"][1]["text"], own["opposites"][1]["text"]]
    assert [one.targets["kind"] for one in seen[::2]] == ["object", "object", "attribute"]
    assert [one.language for one in seen[::2]] == [0, 1, 0]
    some = OppositeView(languages=("en",), kinds=("attribute",))
    assert some.count(shards.read(0).record) == 2
    assert some.texts(shards.read(0).record)[1] == ("There is a red one.",)


def test_captions_may_be_those_that_have_an_opposite(tmp_path):
    shards = ShardSet(write_region_shards(tmp_path, count=3), RegionView(CaptionView(opposites=("attribute",))))
    assert len(shards) == 3
    told = {o["of"] for o in record(1)["opposites"] if o["kind"] == "attribute" and o["of"].startswith("captions")}
    texts = {record(1)["captions"][int(of.partition("/")[2])]["text"] for of in told}
    view = CaptionView(choose="all", opposites=("attribute",))
    assert {text for (text,) in view.texts(shards.read(1).record)} == texts
    assert len(texts) < len(record(1)["captions"])
    assert CaptionView(opposites=("count",)).count(shards.read(1).record) == 0
    assert view.count_from({"samples": 3, "captions": 9}) is None


def test_pairs_of_captions_are_of_one_language():
    sample = Sample("k", {"txt": b"", **{"json": b'{"captions": [{"text": "a"}, {"text": "b"}, {"text": "c"}, '
                    b'{"text": "x", "language": "zh"}, {"text": "y", "language": "zh"}, '
                    b'{"text": "alone", "language": "de"}]}', "jpg": b"p"}})  # fmt: skip
    view = CaptionPairView()
    assert view.count(sample.record) == 2
    drawn = {view.example(sample, 0, Draw.of(0, epoch, 0, torch.tensor([1]))).text for epoch in range(60)}
    assert drawn == {(a, b) for a in "abc" for b in "abc" if a != b}
    assert view.example(sample, 1, DRAW).text in {("x", "y"), ("y", "x")}
    assert CaptionPairView(("zh",)).count(sample.record) == 1
