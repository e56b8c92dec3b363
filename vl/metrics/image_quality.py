"""How good pictures are: PSNR, SSIM, feature distance, Fréchet distance (FID, FID-k) and inception score.

Features come from a network that the caller names: a Fréchet distance is FID only with the network FID was defined
with ("GANs Trained by a Two Time-Scale Update Rule", arXiv:1706.08500). FID-k blurs both sides ("CogView",
arXiv:2105.13290, section 4.1). Inception score: arXiv:1606.03498, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import structural_similarity_index_measure

Pictures = Float[Tensor, "b 3 h w"]


def psnr(pictures: Pictures, originals: Pictures) -> Float[Tensor, " b"]:
    """Peak signal-to-noise ratio of each picture in dB, for values in 0..1; infinite where nothing differs."""
    return -10 * torch.log10((pictures - originals).square().flatten(1).mean(1))


def ssim(pictures: Pictures, originals: Pictures) -> Float[Tensor, " b"]:
    """Structural similarity of each picture, 1 where nothing differs."""
    found = structural_similarity_index_measure(pictures, originals, reduction="none", data_range=1.0)
    assert isinstance(found, Tensor)
    return found


def feature_distance(
    maps: Sequence[Float[Tensor, "b _ _ _"]], originals: Sequence[Float[Tensor, "b _ _ _"]]
) -> Float[Tensor, " b"]:
    """The squared distance of unit-length features, meaned over places and summed over layers.

    As LPIPS (arXiv:1801.03924) without its learned weights, and for any network.
    """
    layers = zip(maps, originals, strict=True)
    return sum((F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1).flatten(1).mean(1) for a, b in layers)  # type: ignore[return-value]


def frechet_distance(features: Float[Tensor, "n d"], others: Float[Tensor, "m d"]) -> float:
    """The distance between normal distributions with the mean and covariance of two sets of features.

    Biased upwards for small sets: compare figures of equal n alone.

    Raises:
        ValueError: a set has fewer than 2 rows.
    """
    if min(len(features), len(others)) < 2:
        raise ValueError(f"a covariance needs at least 2 pictures a side, not {len(features)} and {len(others)}")
    means, roots = [], []
    for rows in (features.double(), others.double()):
        means.append(rows.mean(0))
        roots.append((rows - means[-1]) / (len(rows) - 1) ** 0.5)
    shift = (means[0] - means[1]).square().sum()
    spread = sum(root.square().sum() for root in roots)
    return max(0.0, float(shift + spread - 2 * _cross(*roots)))


def _cross(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """tr sqrt(A B) of the covariances A = x'x and B = y'y: the sum of the singular values of x y'.

    More rows than features: tr sqrt(A B) = tr sqrt(sqrt(A) B sqrt(A)), which is symmetric and no larger.
    """
    if max(len(x), len(y)) <= x.shape[1]:
        return torch.linalg.svdvals(x @ y.T).sum()
    values, vectors = torch.linalg.eigh(x.T @ x)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    return torch.linalg.eigvalsh(root @ (y.T @ y) @ root).clamp(min=0).sqrt().sum()


def blur(pictures: Pictures, radius: float) -> Pictures:
    """Gaussian blur with a standard deviation of `radius` pixels; 0 changes nothing."""
    if radius == 0:
        return pictures
    reach = int(3 * radius + 0.5)
    kernel = torch.exp(-torch.arange(-reach, reach + 1, device=pictures.device).float().square() / (2 * radius**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    padded = F.pad(pictures, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)


def inception_score(logits: Float[Tensor, "n c"]) -> float:
    """exp of the mean divergence of each picture's classes from all pictures' classes; 1 at worst."""
    logp = logits.double().log_softmax(1)
    marginal = logp.exp().mean(0)
    return float((logp.exp() * (logp - marginal.log())).sum(1).mean().exp())
