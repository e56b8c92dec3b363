"""Beam search against every sequence there is."""

from itertools import product

import pytest
from markov import END, START, VOCABULARY, markov

from vl.tasks.beam_search import beam_search


def every_sequence(table, max_length, power):
    """The best of all sequences that end, or that are cut at `max_length` + 1 tokens."""
    best = {}
    for length in range(max_length + 2):
        for words in product([w for w in range(VOCABULARY) if w != END], repeat=length):
            tokens = [*words, END] if length <= max_length else list(words)
            if len(tokens) <= max_length + 1:
                path = zip([START, *tokens], tokens, strict=False)
                total = sum(table[place, last, word].item() for place, (last, word) in enumerate(path))
                best[words] = total / ((5 + length) / 6) ** power
    return list(max(best, key=best.get))[:max_length]


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_wide_enough_it_finds_the_best_of_all(power):
    for seed in range(5):
        next_token, table = markov(seed)
        found = beam_search(next_token, 3, START, END, beams=100, max_length=3, length_penalty=power)
        assert found == [every_sequence(part, 3, power) for part in table]


def test_one_beam_is_greedy_and_examples_do_not_mix():
    next_token, table = markov(0)
    found = beam_search(next_token, 3, START, END, beams=1, max_length=3)
    for sequence, part in zip(found, table, strict=True):
        last, expected = START, []
        for place in range(4):
            last = int(part[place, last].argmax())
            if last == END:
                break
            expected.append(last)
        assert sequence == expected[:3]
