import pytest
import torch

from vl.metrics.image_quality import blur, feature_distance, frechet_distance, inception_score, psnr, ssim


def pictures(count=2, size=32, seed=0):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_psnr_by_hand():
    a = torch.zeros(1, 3, 4, 4)
    assert psnr(a + 0.1, a).item() == pytest.approx(20)
    assert psnr(a, a).isinf().all()


def test_ssim_and_feature_distance_of_equals():
    a = pictures()
    torch.testing.assert_close(ssim(a, a), torch.ones(2))
    assert (ssim(pictures(seed=1), a) < 0.5).all()
    assert torch.equal(feature_distance([a], [a]), torch.zeros(2))
    # Unit vectors at a right angle in every place are 2 apart.
    x, y = torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3)
    x[:, 0], y[:, 1] = 5, 7
    assert feature_distance([x, x], [y, x]).item() == pytest.approx(2)


def test_frechet_distance_of_normal_distributions():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(200_000, 2, generator=generator)
    b = torch.randn(200_000, 2, generator=generator) * torch.tensor([2.0, 1.0]) + torch.tensor([3.0, 0.0])
    # |mean difference|² + tr(A + B - 2 sqrt(A B)) = 9 + (1 + 4 - 2 * 2) + 0
    assert frechet_distance(a, b) == pytest.approx(10, abs=0.1)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    # Fewer pictures than features take another way to the same number.
    few, others = torch.randn(2, 9, 16, generator=generator)
    spreads = [torch.cov(x.double().T) for x in (few, others)]
    cross = torch.linalg.eigvals(spreads[0] @ spreads[1]).real.clamp(min=0).sqrt().sum()
    shift = (few.double().mean(0) - others.double().mean(0)).square().sum()
    expected = shift + spreads[0].trace() + spreads[1].trace() - 2 * cross
    assert frechet_distance(few, others) == pytest.approx(float(expected), rel=1e-4)
    with pytest.raises(ValueError, match="at least 2 pictures"):
        frechet_distance(a[:1], b)


def test_blur_keeps_flat_pictures_and_the_mean():
    flat = torch.full((1, 3, 16, 16), 0.3)
    torch.testing.assert_close(blur(flat, 2.0), flat)
    dot = torch.zeros(1, 3, 33, 33)
    dot[:, :, 16, 16] = 1
    spread = blur(dot, 1.5)
    assert spread.sum().item() == pytest.approx(3, abs=1e-4)
    ticks = torch.arange(33.0) - 16
    assert (spread[0, 0].sum(0) * ticks**2).sum().item() == pytest.approx(1.5**2, rel=0.02)
    assert blur(dot, 0.0) is dot


def test_inception_score_by_hand():
    certain = torch.eye(4) * 1e3
    assert inception_score(certain) == pytest.approx(4)
    assert inception_score(torch.zeros(4, 4)) == pytest.approx(1)
