"""IPOT against linear programming, its marginals, and the cases whose answer is known."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch.testing import assert_close

from vl.losses.transport import cosine_cost, ipot, transport_distance


def exact(cost):
    """The least cost of moving equal weights, by linear programming."""
    m, n = cost.shape
    rows = np.kron(np.eye(m), np.ones((1, n)))
    columns = np.kron(np.ones((1, m)), np.eye(n))
    weights = [1 / m] * m + [1 / n] * n
    return linprog(cost.flatten(), A_eq=np.vstack([rows, columns]), b_eq=weights).fun


def masks(*lengths):
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def test_marginals_and_padding():
    torch.manual_seed(0)
    x_mask, y_mask = masks(5, 2, 7, 1), masks(3, 6, 1, 4)
    cost = torch.rand(4, 7, 6)
    plan = ipot(cost, x_mask, y_mask)
    assert_close(plan.sum(1), y_mask / y_mask.sum(1, keepdim=True), rtol=1e-4, atol=1e-6)
    assert_close(plan.sum(2), x_mask / x_mask.sum(1, keepdim=True), rtol=0, atol=0.02)
    assert not plan[~(x_mask[:, :, None] & y_mask[:, None])].any()
    for row in range(4):
        m, n = int(x_mask[row].sum()), int(y_mask[row].sum())
        alone = ipot(cost[row : row + 1, :m, :n], x_mask[row : row + 1, :m], y_mask[row : row + 1, :n])
        assert_close(plan[row, :m, :n], alone[0], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("size", [(4, 4), (3, 6), (7, 2)])
def test_the_plan_is_the_best_one(size):
    torch.manual_seed(1)
    cost = torch.rand(1, *size)
    plan = ipot(cost, masks(size[0]), masks(size[1]), beta=0.05, iterations=300)
    assert float((plan * cost).sum()) == pytest.approx(exact(cost[0].numpy()), abs=2e-3)


def test_a_free_diagonal_is_taken():
    plan = ipot(1 - torch.eye(5)[None], masks(5), masks(5))
    assert_close(plan[0], torch.eye(5) / 5, rtol=0, atol=1e-3)


def test_alike_is_nearer_than_unlike():
    torch.manual_seed(2)
    x, other, mask = torch.randn(1, 6, 16), torch.randn(1, 6, 16), masks(6)
    same, far = transport_distance(x, x[:, torch.randperm(6)], mask, mask), transport_distance(x, other, mask, mask)
    assert float(same) < 0.01
    assert float(far) > 0.5


def test_by_hand():
    """One word and two regions: half goes to each, so the distance is the mean of the costs."""
    x = torch.tensor([[[1.0, 0.0]]])
    y = torch.tensor([[[2.0, 0.0], [0.0, 3.0]]])
    assert_close(cosine_cost(x, y), torch.tensor([[[0.0, 1.0]]]))
    assert_close(transport_distance(x, y, masks(1), masks(2)), torch.tensor([0.5]))


def test_gradients_go_through_the_cost_alone():
    torch.manual_seed(3)
    x, y = torch.randn(2, 4, 8, requires_grad=True), torch.randn(2, 3, 8)
    x_mask, y_mask = masks(4, 2), masks(3, 3)
    transport_distance(x, y, x_mask, y_mask).sum().backward()
    plan = ipot(cosine_cost(x.detach(), y), x_mask, y_mask)
    again = x.detach().requires_grad_()
    (cosine_cost(again, y) * plan).sum().backward()
    assert_close(x.grad, again.grad)
    assert not x.grad[1, 2:].any()


def test_an_empty_set_moves_nothing():
    mask = masks(3, 0)
    distance = transport_distance(torch.randn(2, 3, 4), torch.randn(2, 3, 4), masks(3, 3), mask)
    assert float(distance[1]) == 0
    assert distance.isfinite().all()
