"""Boxes of the truth as a detector would give them: extracted, resumed after a kill, described by a card."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import simplejpeg
import timm
import torch
from torchvision.ops import box_iou

from vl.data.card import read_card
from vl.data.regions_member import read_regions
from vl.data.sample import Object
from vl.data.shards import ShardWriter
from vl.models.timm_image import TimmImage
from vl.regions.extract import extract
from vl.regions.ground_truth_regions import GroundTruthRegions, learn
from vl.regions.known_boxes import KnownBoxes
from vl.regions.pictures import groups, read_shard
from vl.regions.region_backbone import RegionBackbone
from vl.regions.region_classifier import BACKGROUND, fit, load, save

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 230)}
SIDE = 64


def drawing(seed):
    """Up to three coloured squares and stripes apart from each other, and where they are."""
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(120, 136, (SIDE, SIDE, 3), generator=rng, dtype=torch.uint8)
    things = []
    for corner in torch.randperm(4, generator=rng)[: int(torch.randint(1, 4, (1,), generator=rng))].tolist():
        top, left = corner // 2 * 32 + 4, corner % 2 * 32 + 4
        name, colour = ("square", "stripes")[corner % 2], list(COLOURS)[int(torch.randint(3, (1,), generator=rng))]
        pixels[top : top + 24 : 1 if name == "square" else 4, left : left + 24] = torch.tensor(COLOURS[colour]).byte()
        box = [edge / SIDE for edge in (left, top, left + 24, top + 24)]
        things.append({"box": box, "name": name, "attributes": [colour]})
    return pixels.numpy(), things


def write_shards(folder, split, counts, first=0):
    with ShardWriter(folder, split, max_count=max(counts)) as writer:
        for number in range(first, first + sum(counts)):
            pixels, things = drawing(number)
            picture = simplejpeg.encode_jpeg(pixels, colorsubsampling="444")
            writer.write(f"{split}-{number:04d}", {"jpg": picture, "json": {"objects": things}})
    return [str(folder / shard.file) for shard in writer.shards]


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return RegionBackbone(TimmImage("test_efficientnet", SIDE))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawings")
    return write_shards(folder, "train", [20, 20]) + write_shards(folder, "val", [20], first=1000)


@pytest.fixture(scope="module")
def extractor(backbone, shards):
    scaling, classifiers, accuracy = learn(groups(shards[:2], 40), groups(shards[2:], 20), KnownBoxes(), backbone)
    return GroundTruthRegions(backbone, KnownBoxes(), scaling, **classifiers, about={"classifiers": accuracy})


def objects(count):
    return tuple(Object((0.1 + i / 10, 0.1, 0.2 + i / 10, 0.3), "thing") for i in range(count))


def test_the_number_of_rows_tells_nothing_of_the_number_of_objects():
    boxes = KnownBoxes()
    few, many = ([len(boxes(f"key-{i}", objects(count))[0]) for i in range(60)] for count in (1, 8))
    assert few == many
    assert 10 <= min(few) < 14
    assert 32 < max(few) <= 36


def test_every_object_is_there_jittered_and_the_background_keeps_clear():
    known = objects(5)
    boxes, owners = KnownBoxes()("key", known)
    truth = torch.tensor([thing.box for thing in known])
    found = boxes[owners >= 0]
    assert owners[owners >= 0].tolist() == list(range(5))
    overlap = box_iou(found, truth).diagonal()
    assert (overlap > 0.7).all()
    assert (overlap < 1).all()
    assert box_iou(boxes[owners < 0], truth).max() <= 0.3
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    again, _ = KnownBoxes()("key", known)
    torch.testing.assert_close(again, boxes, rtol=0, atol=0)
    assert not torch.equal(KnownBoxes(seed=1)("key", known)[0][:5], boxes[:5])


def test_a_classifier_learns_what_can_be_learned_and_no_more():
    torch.manual_seed(0)
    labels = ["a", "b", BACKGROUND] * 60
    centres = {"a": 3.0, "b": -3.0, BACKGROUND: 0.0}
    features = torch.randn(180, 4) * 0.3 + torch.tensor([[centres[name], 0, 0, 0] for name in labels])
    classifier = fit(features, labels)
    assert classifier.names == (BACKGROUND, "a", "b")
    assert classifier.accuracy(features, labels) == {"all": 100.0, "objects": 100.0}
    assert classifier.accuracy(features, ["never seen"] * 180)["all"] == 0
    noise = fit(torch.randn(180, 4), labels, decay=1e-2)
    assert noise.accuracy(torch.randn(180, 4), labels)["all"] < 60
    torch.testing.assert_close(classifier(features).sum(dim=1), torch.ones(180))


def test_classifiers_are_kept(tmp_path, extractor):
    save(tmp_path / "c.safetensors", extractor.scaling, {"classes": extractor.classes}, {"percent right": 1})
    scaling, found, accuracy = load(tmp_path / "c.safetensors")
    assert found["classes"].names == extractor.classes.names
    torch.testing.assert_close(found["classes"].weight, extractor.classes.weight)
    torch.testing.assert_close(scaling.std, extractor.scaling.std)
    assert accuracy == {"percent right": 1}


def test_shards_keep_their_samples_and_get_regions(tmp_path, shards, extractor):
    card = extract(shards, tmp_path, extractor, workers=1)
    assert [shard.split for shard in card.shards] == ["train", "train", "val"]
    before, after = dict(read_shard(shards[2])), dict(read_shard(tmp_path / card.shards[2].file))
    assert before.keys() == after.keys()
    for key, members in before.items():
        added = read_regions(after[key].pop("regions.safetensors"))
        assert after[key] == members
        assert 10 <= len(added) <= 36
        assert (added.confidence.diff() <= 0).all()
        torch.testing.assert_close(added.confidence, 1 - added.class_probs[:, 0], atol=1e-3, rtol=0)
        sure = added.confidence > 0.5
        names = json.loads(members["json"])["objects"]
        assert abs(int(sure.sum()) - len(names)) <= 3
    told = card.settings["regions"]
    assert told["class vocabulary"] == ["background", "square", "stripes"]
    assert told["attribute vocabulary"] == ["background", "blue", "green", "red"]
    assert told["classifiers"]["percent right"]["classes"]["all"] > 80
    assert read_card(tmp_path) == card


def test_features_have_no_mean_and_unit_deviation_over_training_regions(tmp_path, shards, extractor):
    card = extract(shards[:2], tmp_path, extractor, workers=1)
    rows = [read_regions(m["regions.safetensors"]) for s in card.shards for _, m in read_shard(tmp_path / s.file)]
    features = torch.cat([one.features.float() for one in rows])
    torch.testing.assert_close(features.mean(0), torch.zeros(features.shape[1]), atol=0.05, rtol=0)
    torch.testing.assert_close(features.std(0), torch.ones(features.shape[1]), atol=0.05, rtol=0)


def test_a_killed_run_is_finished_without_doing_anything_twice(tmp_path, shards, extractor, monkeypatch):
    whole = extract(shards, tmp_path / "whole", extractor, workers=1)
    calls = []

    def stop_at_third(self, pictures, find=GroundTruthRegions.__call__):
        calls.append(len(pictures))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return find(self, pictures)

    monkeypatch.setattr(GroundTruthRegions, "__call__", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        extract(shards, tmp_path / "killed", extractor, workers=1)
    assert len(read_card(tmp_path / "killed").shards) == 1
    assert not list((tmp_path / "killed").glob(".*.tmp"))
    done = extract(shards, tmp_path / "killed", extractor, workers=1)
    assert sum(calls[5:]) == 40
    assert done == whole


def test_another_extractor_is_refused_by_the_name_of_what_differs(tmp_path, shards, extractor):
    extract(shards[2:], tmp_path, extractor, workers=1)
    other = replace(extractor, boxes=KnownBoxes(seed=3))
    with pytest.raises(ValueError, match=r"regions of another extractor \(boxes\)"):
        extract(shards[2:], tmp_path, other, workers=1)


def test_a_picture_that_cannot_be_read_is_kept_without_regions(tmp_path, extractor):
    with ShardWriter(tmp_path / "in", "train") as writer:
        writer.write("good", {"jpg": simplejpeg.encode_jpeg(drawing(0)[0])})
        writer.write("pair", {f"{s}.jpg": simplejpeg.encode_jpeg(drawing(1)[0]) for s in ("left", "right")})
        writer.write("bad", {"jpg": b"no jpeg"})
    card = extract([str(tmp_path / "in" / writer.shards[0].file)], tmp_path / "out", extractor, workers=1)
    samples = dict(read_shard(tmp_path / "out" / card.shards[0].file))
    assert {"left.regions.safetensors", "right.regions.safetensors"} <= samples["pair"].keys()
    assert samples["bad"].keys() == {"jpg"}
    assert card.shards[0].counts["unreadable"] == 1


@pytest.mark.slow
def test_processes_write_the_same_shards(tmp_path, shards, extractor):
    assert extract(shards, tmp_path / "two", extractor, workers=2) == extract(shards, tmp_path / "one", extractor, 1)


def test_the_command_learns_extracts_and_finds_everything_done(tmp_path, shards, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "tools")
    from extract_regions import main

    torch.save(timm.create_model("test_efficientnet").state_dict(), tmp_path / "weights.pth")
    backbone = ["--backbone", "test_efficientnet", "--image-size", SIDE, "--weights", tmp_path / "weights.pth"]
    options = ["--data", f"{Path(shards[0]).parent}/*.tar", "--out", tmp_path / "out", "--workers", 1]
    words = [str(word) for word in ["ground_truth", *backbone, *options, "--learn-from", 40]]
    main(words)
    card = read_card(tmp_path / "out")
    assert len(card.shards) == 3
    assert card.settings["regions"]["classifiers"]["training regions"] > 400
    assert len(card.settings["regions"]["weights sha256"]) == 64
    monkeypatch.setattr(GroundTruthRegions, "__call__", None)
    main(words)
    assert read_card(tmp_path / "out") == card
    with pytest.raises(SystemExit, match="no shard of the split train"):
        main([*words, "--data", shards[2], "--out", str(tmp_path / "other")])
