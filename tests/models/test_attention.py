"""Attention in bf16 on the CPU, which has kernels of its own, beside fp32."""

import pytest
import torch
from torch.testing import assert_close

from vl.models import attention
from vl.models.attention import attend


@pytest.mark.parametrize("many", [0, 10**9], ids=["products", "fused"])
@pytest.mark.parametrize("masks", ["none", "causal", "keys", "queries"])
def test_bf16_is_near_fp32_with_its_gradients(monkeypatch, many, masks):
    monkeypatch.setattr(attention, "MANY", many)
    torch.manual_seed(0)
    b, heads, lq, keys = 3, 2, 5, 5 if masks == "causal" else 7
    q, k, v = (torch.randn(b, heads, n, 8).bfloat16().requires_grad_() for n in (lq, keys, keys))
    mask = None
    if masks == "keys":
        mask = (torch.arange(keys) < torch.tensor([7, 3, 0])[:, None])[:, None, None]  # the last row has no key at all
    if masks == "queries":
        mask = torch.rand(b, 1, lq, keys) < 0.6
        mask[0, 0, 1] = False
    whole = [x.detach().float().requires_grad_() for x in (q, k, v)]
    out, expected = (attend(*x, mask, causal=masks == "causal") for x in ((q, k, v), whole))
    assert out.dtype == torch.bfloat16
    assert_close(out.float(), expected, rtol=0.02, atol=0.03)
    gradients = (torch.autograd.grad(y.float().square().sum(), x) for y, x in ((out, (q, k, v)), (expected, whole)))
    for gradient, reference in zip(*gradients, strict=True):
        assert_close(gradient.float(), reference, rtol=0.05, atol=0.05)
    if masks == "keys":
        assert not out[2].any()


def test_dropout_keeps_the_mean(monkeypatch):
    monkeypatch.setattr(attention, "MANY", 0)
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 2, 4, 8).bfloat16()
    out = attend(q, k, torch.ones(1, 2, 4, 4096).bfloat16(), dropout=0.25)
    assert out.float().mean().item() == pytest.approx(1, abs=0.15)
    assert len(out.unique()) > 4
