"""Collectives of `vl.ranks`, and the way the tests run several ranks."""

import os
import signal
import time

import pytest
from ranks import RanksFailed, run_ranks
from torch import distributed


def group():
    return distributed.get_rank(), distributed.get_world_size()


def fail_on_rank_one():
    if distributed.get_rank() == 1:
        raise ValueError("out of paper")
    return "fine"


def die_on_rank_one():
    if distributed.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def sleep():
    time.sleep(60)


def test_results_come_in_the_order_of_the_ranks():
    assert run_ranks(group, ranks=3) == [(0, 3), (1, 3), (2, 3)]


def test_an_error_names_its_rank():
    with pytest.raises(RanksFailed, match="out of paper") as caught:
        run_ranks(fail_on_rank_one)
    assert set(caught.value.errors) == {1}


@pytest.mark.parametrize(
    ("function", "timeout", "end"),
    [(die_on_rank_one, 120, "rank 1: ended with exit code -9"), (sleep, 5, "rank 1: no answer in 5 s")],
)
def test_a_dead_or_a_late_rank_is_no_hang(function, timeout, end):
    start = time.monotonic()
    with pytest.raises(RanksFailed, match=end):
        run_ranks(function, timeout=timeout)
    assert time.monotonic() - start < 60
