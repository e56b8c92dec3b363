"""Bottom-up attention end to end on photos, at a small size: random weights, damped so that nothing overflows."""

import pytest
import torch
from photos import photos, shard_of

pytestmark = pytest.mark.detectron2


@pytest.fixture(scope="module")
def extractor():
    from vl.regions.detectron2_model import build_detector, visual_genome_config
    from vl.regions.detectron2_regions import Detectron2Regions

    config = visual_genome_config(
        "MODEL.RESNETS.DEPTH", 50, "INPUT.MIN_SIZE_TEST", 128, "INPUT.MAX_SIZE_TEST", 192,
        "MODEL.RPN.POST_NMS_TOPK_TEST", 20, "MODEL.ROI_HEADS.NUM_CLASSES", 20,
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 7,
    )  # fmt: skip
    torch.manual_seed(0)
    detector = build_detector(config)
    # The norms of a trained detector keep activations in bounds; these have no statistics.
    for name, parameter in detector.named_buffers():
        if name.endswith("conv3.norm.weight"):
            parameter.fill_(0.2)
        if name == "backbone.stem.conv1.norm.weight":
            parameter.fill_(1 / 64)
    return Detectron2Regions(detector, config)


def test_finds_regions_of_photos(extractor):
    found = extractor(photos())
    for regions in found:
        assert 10 <= len(regions) <= 20
        assert regions.features.shape[1:] == (2048,)
        assert regions.features.std() > 0
        assert regions.class_probs.shape[1:] == (21,)
        assert regions.attribute_probs.shape[1:] == (401,)
        torch.testing.assert_close(regions.class_probs.sum(dim=1), torch.ones(len(regions)))
        assert regions.boxes.min() >= 0
        assert regions.boxes.max() <= 1
        assert (regions.confidence.diff() <= 0).all()
    assert not torch.equal(found[0].features[:10], found[1].features[:10])


def test_the_background_is_moved_to_the_front(extractor):
    """detectron2 has it last: a detector that is sure to see nothing must say so in the first column."""
    predictor = extractor.detector.roi_heads.box_predictor
    before = predictor.cls_score.bias.clone()
    predictor.cls_score.bias[-1] += 50
    try:
        regions = extractor(photos()[:1])[0]
    finally:
        predictor.cls_score.bias.copy_(before)
    assert (regions.class_probs[:, 0] > 0.99).all()
    assert (regions.confidence < 0.01).all()
    assert len(regions) == 10


def test_no_proposals_make_no_rows(extractor, monkeypatch):
    """As when activations overflow: detectron2 drops boxes that are not finite, without a word."""
    stem = extractor.detector.backbone.stem.conv1.norm.weight
    before = stem.clone()
    stem.fill_(float("inf"))
    try:
        regions = extractor(photos()[:1])[0]
    finally:
        stem.copy_(before)
    assert len(regions) == 0
    assert regions.features.shape == (0, 2048)


def test_colours_are_given_in_the_detectors_order(extractor):
    picture = photos()[0]
    torch.testing.assert_close(
        extractor._scaled(picture.pixels).flip(0), extractor._scaled(picture.pixels.flip(0)), rtol=0, atol=0
    )
    assert extractor.settings["colour order"] == "BGR"


def test_regression_moves_boxes_but_not_features(extractor):
    from dataclasses import replace

    moved = replace(extractor, regressed=True)(photos()[:1])[0]
    still = extractor(photos()[:1])[0]
    torch.testing.assert_close(moved.features, still.features)
    assert not torch.equal(moved.boxes, still.boxes)


def test_weights_of_bottom_up_attention_fit_by_name(extractor):
    from vl.regions.detectron2_model import rename

    own = extractor.detector.state_dict()
    theirs = {name.replace("box_predictor.attributes.", "box_predictor."): value for name, value in own.items()}
    assert rename(theirs).keys() == own.keys()
    assert theirs.keys() != own.keys()


def test_a_shard_of_photos_end_to_end(extractor, tmp_path):
    from vl.data.regions_member import read_regions
    from vl.regions.extract import extract
    from vl.regions.pictures import read_shard

    with pytest.warns(UserWarning, match="RANDOM WEIGHTS"):
        card = extract([shard_of(photos()[2:], tmp_path / "in")], tmp_path / "out", extractor, workers=1)
    samples = dict(read_shard(tmp_path / "out" / card.shards[0].file))
    assert samples.keys() == {"china", "flower"}
    for members in samples.values():
        assert read_regions(members["regions.safetensors"]).features.shape[1] == 2048
    assert card.settings["regions"]["colour order"] == "BGR"
