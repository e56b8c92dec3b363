"""torchvision's Faster R-CNN on photos, at a small size, with weights that were never trained."""

import pytest
import torch
from photos import photos, shard_of

from vl.data.regions_member import read_regions
from vl.regions.extract import extract
from vl.regions.pictures import read_shard
from vl.regions.torchvision_regions import TorchvisionRegions, build_detector


@pytest.fixture(scope="module")
def extractor():
    torch.manual_seed(0)
    small = {"min_size": 160, "max_size": 240, "rpn_post_nms_top_n_test": 30, "rpn_score_thresh": 0.0}
    detector = build_detector("fasterrcnn_mobilenet_v3_large_fpn", num_classes=5, **small)
    return TorchvisionRegions(detector, names=("background", "a", "b", "c", "d"))


def test_finds_regions_of_photos(extractor):
    for regions in extractor(photos()):
        assert 1 <= len(regions) <= 30
        assert regions.features.shape[1:] == (1024,)
        torch.testing.assert_close(regions.class_probs.sum(dim=1), torch.ones(len(regions)))
        assert (regions.confidence.diff() <= 0).all()
        assert (regions.boxes[:, 2:] > regions.boxes[:, :2]).all()
        assert regions.boxes.max() <= 1


def test_torchvision_has_the_background_first(extractor):
    predictor = extractor.detector.roi_heads.box_predictor.cls_score
    before = predictor.bias.clone()
    predictor.bias[0] += 50
    try:
        regions = extractor(photos()[:1])[0]
    finally:
        predictor.bias.copy_(before)
    assert (regions.class_probs[:, 0] > 0.99).all()
    assert (regions.confidence < 0.01).all()


def test_no_proposals_make_no_rows(extractor):
    extractor.detector.rpn.score_thresh = 1.0
    try:
        regions = extractor(photos()[:1])[0]
    finally:
        extractor.detector.rpn.score_thresh = 0.0
    assert len(regions) == 0


def test_a_shard_of_photos_end_to_end(extractor, tmp_path):
    with pytest.warns(UserWarning, match="RANDOM WEIGHTS"):
        card = extract([shard_of(photos(), tmp_path / "in")], tmp_path / "out", extractor, workers=1)
    samples = dict(read_shard(tmp_path / "out" / card.shards[0].file))
    assert [len(read_regions(members["regions.safetensors"])) > 0 for members in samples.values()] == [True] * 4
    assert card.settings["regions"]["weights"] == "NONE: random numbers"
    assert card.shards[0].counts["pictures"] == 4


def test_an_unknown_detector_is_named():
    with pytest.raises(ValueError, match=r"'yolo'; there are fasterrcnn_resnet50_fpn"):
        build_detector("yolo")
