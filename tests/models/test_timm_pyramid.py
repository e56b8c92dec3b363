"""The tower of all stages of a backbone, and the head that reads them."""

import torch
from torch.nn import functional as F

from vl.models.heads import WideDeepHead
from vl.models.timm_pyramid import TimmPyramid


def test_stages_are_pooled_and_weigh_alike():
    tower = TimmPyramid("tf_efficientnet_lite0", 64, frozen=True)
    pixels = torch.randint(0, 256, (18, 3, 64, 64), dtype=torch.uint8)
    found = tower(pixels)
    assert found.shape == (18, tower.embed_dim) == (18, sum(tower.widths))
    for part in found.split(tower.widths, dim=1):
        torch.testing.assert_close(part.mean(1), torch.zeros(18), atol=1e-5, rtol=0)
        torch.testing.assert_close(part.var(1, correction=0), torch.ones(18), atol=0.05, rtol=0)
    whole = F.layer_norm(tower.backbone((pixels / 255 - 0.5) / 0.5), (tower.widths[-1],))
    torch.testing.assert_close(found[:, -tower.widths[-1] :], whole, atol=1e-4, rtol=1e-4)


def test_a_frozen_tower_trains_nothing_and_groups_change_nothing():
    tower = TimmPyramid("tf_efficientnet_lite0", 64, frozen=True).train()
    pixels = torch.randint(0, 256, (20, 3, 64, 64), dtype=torch.uint8)
    assert not tower(pixels).requires_grad
    torch.testing.assert_close(tower(pixels)[16:], tower(pixels[16:]), atol=1e-4, rtol=1e-4)


def test_wide_and_deep_parts_add_up():
    head = WideDeepHead(6, 4, hidden=8, dropout=0.5).eval()
    x = torch.randn(3, 6)
    torch.testing.assert_close(head(x), head.wide(x) + head.deep(x))
    assert (head.in_features, head.out_features) == (6, 4)
