"""Triplets: who meets whom, and the hinge by hand."""

from dataclasses import replace

import pytest
from pretraining import full, prepared

from vl.tasks.retrieval import TripletRetrieval, partners


def test_partners_are_other_pictures():
    batch = replace(full(), keys=("a", "a", "b", "c", "c", "c"))
    seen = set()
    for epoch in range(30):
        found = partners(batch, replace(batch.draw, key=epoch), 2).tolist()
        for row, others in enumerate(found):
            assert all(batch.keys[other] != batch.keys[row] for other in others)
            seen |= {(row, other) for other in others}
    assert len(seen) == 2 * 4 + 5 + 3 * 3
    alone = replace(batch, keys=("a",) * 6)
    assert partners(alone, batch.draw, 2).tolist() == [[row, row] for row in range(6)]


@pytest.mark.parametrize("hardest", [1, 3])
def test_the_hinge_by_hand(hardest):
    model, task = prepared(TripletRetrieval(margin=0.2, hardest=hardest))
    batch = replace(full(), matched=None)
    corrupted, target = task.corrupt(batch, batch.draw)
    assert len(corrupted.pairs) == 6 * (1 + 2 * hardest)
    scores = task.scores(model(corrupted)).view(6, -1)
    total = 0.0
    for row, others in enumerate(scores.tolist()):
        block = corrupted.pairs.view(6, -1, 2)[row].tolist()
        assert block[0] == [row, row]
        assert all(text != row and picture == row for text, picture in block[1 : 1 + hardest])
        assert all(text == row and picture != row for text, picture in block[1 + hardest :])
        for negatives in (others[1 : 1 + hardest], others[1 + hardest :]):
            total += max(0.0, 0.2 + max(negatives) - others[0]) / 2
    loss = task(model(corrupted), corrupted, target)
    assert loss.total.item() == pytest.approx(total, rel=1e-4)
    assert loss.count == 6


def test_a_batch_of_one_picture_has_no_loss():
    model, task = prepared(TripletRetrieval())
    batch = replace(full(), keys=("a",) * 6, matched=None)
    corrupted, target = task.corrupt(batch, batch.draw)
    loss = task(model(corrupted), corrupted, target)
    assert (loss.total.item(), loss.count.item()) == (0, 0)
