"""Constrained beam search against every sequence there is."""

from itertools import product

import pytest
from markov import END, START, VOCABULARY, markov

from vl.tasks.beam_search import beam_search
from vl.tasks.constrained_beam_search import constrained_beam_search

LENGTH = 4
#: One to three constraints of the examples: phrases, forms that overlap, one inside another, and one for two.
CONSTRAINTS = [
    [[[2]], [[3, 4], [4, 4]], [[2, 3], [3]]],
    [[[4, 3, 2]], [[3, 2, 4], [2, 2]]],
    [[[3]], [[3, 3]], [[3, 3, 3]]],
    [[[2, 4]]],
    [],
]


def contains(tokens, form):
    return any(tokens[i : i + len(form)] == form for i in range(len(tokens)))


def met(tokens, constraints):
    return sum(any(contains(tokens, form) for form in forms) for forms in constraints)


def every_sequence(table, constraints, required, power):
    """The best of all sequences that meet most constraints, where more than `required` are as good as that many."""
    best = {}
    for length in range(LENGTH + 2):
        for words in product([w for w in range(VOCABULARY) if w != END], repeat=length):
            tokens = [*words, END] if length <= LENGTH else list(words)
            path = list(zip([START, *tokens], tokens, strict=False))
            total = sum(table[place, last, word].item() for place, (last, word) in enumerate(path))
            number = min(met(list(words[:LENGTH]), constraints), required)
            if tokens[-1] != END or number == min(required, len(constraints)):
                best[words] = number, total / ((5 + length) / 6) ** power
    return list(max(best, key=best.get))[:LENGTH]


@pytest.mark.parametrize(("required", "power"), [(2, 0.0), (1, 0.0), (3, 1.0)])
def test_wide_enough_it_finds_the_best_that_meets_the_constraints(required, power):
    chosen = [constraints[:3] for constraints in CONSTRAINTS]
    next_token, table = markov(required, examples=len(chosen), places=LENGTH + 1)
    found = constrained_beam_search(next_token, chosen, START, END, 300, LENGTH, power, required)
    pairs = zip(table, chosen, strict=True)
    assert found == [every_sequence(part, constraints, required, power) for part, constraints in pairs]
    assert found != beam_search(next_token, len(chosen), START, END, 300, LENGTH, power)


def test_narrow_beams_meet_the_constraints_too():
    for seed in range(5):
        next_token, _ = markov(seed, examples=len(CONSTRAINTS), places=9)
        found = constrained_beam_search(next_token, CONSTRAINTS, START, END, beams=1, max_length=8)
        pairs = zip(found, CONSTRAINTS, strict=True)
        assert all(met(tokens, constraints) >= min(2, len(constraints)) for tokens, constraints in pairs)


def test_without_constraints_it_is_beam_search():
    for seed in range(5):
        next_token, _ = markov(seed)
        found = constrained_beam_search(next_token, [[], [[]], []], START, END, beams=2, max_length=3)
        assert found == beam_search(next_token, 3, START, END, beams=2, max_length=3)


def test_what_cannot_be_met_is_met_as_far_as_can_be():
    next_token, _ = markov(0, places=5)
    constraints = [[[[2, 3, 4]], [[4, 2, 2]]]] * 3
    found = constrained_beam_search(next_token, constraints, START, END, beams=3, max_length=4)
    assert [met(tokens, constraints[0]) for tokens in found] == [1, 1, 1]


def test_only_beams_that_may_still_win_are_scored():
    next_token, _ = markov(0)
    seen = []

    def counted(ids, owners):
        seen.append(len(ids))
        return next_token(ids, owners)

    constrained_beam_search(counted, [[[[2]]], [[[3]]], []], START, END, beams=2, max_length=3)
    assert seen[0] == 3
    assert max(seen) <= 2 * 2 * 2 + 2
