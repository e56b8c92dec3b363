"""Losses of image tokenizers: the logit-Laplace likelihood of pixels and the divergence of codes from their prior.

"Zero-Shot Text-to-Image Generation", arXiv:2102.12092, section 2.1 and appendix A.3.
"""

from __future__ import annotations

from math import log

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

#: Pixels are squeezed into (EPS, 1 - EPS) before the logit, which is infinite at 0 and 1.
EPS = 0.1


def squeeze_pixels(pixels: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """0..1 to EPS..1-EPS."""
    return (1 - 2 * EPS) * pixels + EPS


def unsqueeze_pixels(pixels: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """The inverse, clipped to 0..1."""
    return ((pixels - EPS) / (1 - 2 * EPS)).clamp(0, 1)


def logit_laplace_nll(
    x: Float[Tensor, "*s"], mu: Float[Tensor, "*s"], log_b: Float[Tensor, "*s"]
) -> Float[Tensor, "*s"]:
    """The negative log-density of `x` in (0, 1) whose logit has a Laplace distribution (equation 2 of the appendix)."""
    return (torch.logit(x) - mu).abs() * torch.exp(-log_b) + log_b + torch.log(x * (1 - x)) + log(2)


def kl_to_uniform(logits: Float[Tensor, "*n k"]) -> Float[Tensor, "*n"]:
    """KL(softmax(logits) || uniform) in nats: ln k for a certain code, 0 where all are alike."""
    logp = F.log_softmax(logits, dim=-1)
    return (logp.exp() * logp).sum(-1) + log(logits.shape[-1])


def code_perplexity(counts: Float[Tensor, " k"] | Int[Tensor, " k"]) -> Float[Tensor, ""]:
    """exp(entropy) of how often codes are used: the number of codes that would do if all were used alike."""
    share = counts / counts.sum().clamp(min=1)
    return torch.exp(-torch.xlogy(share, share).sum())
