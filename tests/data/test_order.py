"""The order is a pure function that holds every example once and keeps batch boundaries for any number of ranks."""

import time

import numpy as np
import pytest
import torch

from vl.data.order import Epoch, LengthBuckets, Order, Shuffle, TokenBudget, rank_rows, shuffle
from vl.draw import Draw

COUNTS = np.array([7, 0, 30, 12, 1, 55, 20, 8])
ORDERS = [Shuffle(window=3), LengthBuckets(window=3, pool=4), TokenBudget(tokens=90, window=3, pool=4, multiple=2)]


def numbers(seed: int = 0, epoch: int = 0, source: int = 0) -> Draw:
    return Draw.of(seed, epoch, source, torch.zeros(0, dtype=torch.int64))


def lengths() -> np.ndarray:
    return np.random.default_rng(0).integers(3, 30, COUNTS.sum())


def build(order: Order, draw: Draw) -> Epoch:
    return order.epoch(draw, COUNTS, 8, lengths())


@pytest.mark.parametrize("order", ORDERS)
def test_every_example_comes_once_and_only_an_incomplete_batch_is_dropped(order):
    epoch = build(order, numbers())
    assert len(set(epoch.ids.tolist())) == len(epoch.ids)
    assert COUNTS.sum() - len(epoch.ids) < (order.multiple or 8)
    assert set(epoch.ids.tolist()) <= set(range(COUNTS.sum()))


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_depends_on_seed_epoch_and_source_alone(order):
    first = build(order, numbers())
    again = build(order, numbers())
    assert np.array_equal(first.ids, again.ids)
    assert np.array_equal(first.starts, again.starts)
    for other in (numbers(seed=1), numbers(epoch=1), numbers(source=1)):
        assert not np.array_equal(first.ids[:100], build(order, other).ids[:100])


def test_a_window_mixes_that_many_shards_and_no_more():
    counts = np.full(12, 50)
    shards = shuffle(numbers(), counts, window=4) // 50
    groups = [set(shards[start : start + 200].tolist()) for start in range(0, 600, 200)]
    assert [len(group) for group in groups] == [4, 4, 4]
    assert set.union(*groups) == set(range(12))
    assert len(set(shards[:40].tolist())) == 4


def test_length_buckets_pad_less_and_keep_the_batch_size():
    counts, size = np.full(10, 400), 16
    sizes = np.random.default_rng(1).integers(3, 60, counts.sum())
    padded = []
    for order in (Shuffle(), LengthBuckets(pool=32)):
        epoch = order.epoch(numbers(), counts, size, sizes)
        rows = sizes[epoch.ids].reshape(-1, size)
        assert len(epoch) == order.num_batches(4000, size) == 250
        padded.append(rows.max(1).sum() * size)
    assert padded[1] < 1.1 * sizes.sum() < 0.7 * padded[0]


def test_batches_of_a_token_budget_fit_it_and_divide():
    counts = np.full(10, 400)
    sizes = np.random.default_rng(1).integers(3, 60, counts.sum())
    order = TokenBudget(tokens=1000, multiple=4)
    epoch = order.epoch(numbers(), counts, 64, sizes)
    batches = [epoch.batch(number) for number in range(len(epoch))]
    assert all(len(batch) % 4 == 0 and 0 < len(batch) <= 64 for batch in batches)
    assert all(len(batch) * sizes[batch].max() <= 1000 for batch in batches)
    assert len({len(batch) for batch in batches}) > 5
    assert sum(map(len, batches)) == len(epoch.ids) > counts.sum() - 4


def test_one_text_longer_than_the_budget_still_makes_a_batch():
    order = TokenBudget(tokens=10, multiple=2)
    epoch = order.epoch(numbers(), np.array([6]), 4, np.array([3, 3, 50, 3, 3, 3]))
    assert sorted(epoch.ids.tolist()) == list(range(6))
    assert len(epoch) == 3


@pytest.mark.parametrize("world_size", [1, 2, 3, 7, 120])
def test_ranks_share_every_row_exactly_once(world_size):
    rows = [rank_rows(np.arange(100), rank, world_size) for rank in range(world_size)]
    assert sorted(np.concatenate(rows).tolist()) == list(range(100))
    assert rows[0][:2].tolist() == [0, world_size][: len(rows[0])]


def test_ten_million_examples_are_ordered_in_seconds():
    start = time.process_time()
    ids = shuffle(numbers(), np.full(1000, 10_000), 16)
    seconds = time.process_time() - start
    assert len(ids) == 10_000_000
    assert seconds < 8, "about 1 s of one quiet core"


def test_the_order_of_today_is_the_order_of_tomorrow():
    """A change here breaks the resuming of every run: raise ORDER_VERSION with it."""
    assert shuffle(numbers(), np.array([4, 3, 5]), 2).tolist() == GOLDEN


GOLDEN = [3, 0, 5, 4, 1, 6, 2, 11, 7, 8, 9, 10]
