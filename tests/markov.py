"""A language of five tokens in which the next one depends on the last one and the place, shared by tests of search."""

import torch

START, END, VOCABULARY = 0, 1, 5


def markov(seed, examples=3, places=4):
    """What scores the next token, and its log-probabilities by example, place, last and next token."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(examples, places, VOCABULARY, VOCABULARY, generator=generator).mul(2).log_softmax(-1)

    def next_token(ids, owners):
        assert not (ids == END).any()
        return table[owners, ids.shape[1] - 1, ids[:, -1]]

    return next_token, table
