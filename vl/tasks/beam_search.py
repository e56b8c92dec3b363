"""Beam search over whole prefixes, for models that have no cache of what they read before."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

#: Prefixes (rows, length) and the example each belongs to -> log-probabilities of the next token (rows, vocabulary).
NextToken = Callable[[Int[Tensor, "r t"], Int[Tensor, " r"]], Float[Tensor, "r v"]]


def beam_search(
    next_token: NextToken,
    examples: int,
    start_id: int,
    end_id: int,
    beams: int = 5,
    max_length: int = 20,
    length_penalty: float = 0.0,
    device: torch.device | str = "cpu",
) -> list[list[int]]:
    """The best sequence of each example, without start and end.

    Args:
        next_token: scores the unfinished beams of all examples at once.
        examples: how many there are.
        start_id, end_id: what every sequence begins with, and what ends it.
        beams: sequences kept for each example; 1 is greedy.
        max_length: tokens at most, without start and end.
        length_penalty: finished sequences are compared by their log-probability over ((5 + length) / 6) to this power
            (arXiv:1609.08144, equation 14); 0 compares sums, as Oscar and VLP do.
    """
    ids = torch.full((examples, beams, 1), start_id, device=device)
    scores = torch.full((examples, beams), -torch.inf, device=device)
    scores[:, 0] = 0.0  # all beams begin alike: only one of them counts
    done = torch.zeros_like(scores, dtype=torch.bool)
    for _ in range(max_length + 1):
        logp = continuations(next_token, ids, scores.isfinite() & ~done, done, end_id)
        scores, best = (scores[..., None] + logp).flatten(1).topk(beams)
        parent, token = best // logp.shape[2], best % logp.shape[2]
        ids = grow(ids, parent, token)
        done = done.gather(1, parent) | (token == end_id)
        if done.all():
            break
    return best_of(ids, scores, end_id, max_length, length_penalty)


def continuations(
    next_token: NextToken, ids: Int[Tensor, "b k t"], alive: Bool[Tensor, "b k"], done: Bool[Tensor, "b k"], end_id: int
) -> Float[Tensor, "b k v"]:
    """Log-probabilities of what may follow each beam: -inf where it is not alive, and what is done stays as it is, that
    is, it ends again at no cost."""
    owners = torch.arange(len(ids), device=ids.device)[:, None].expand_as(alive)
    found = next_token(ids[alive], owners[alive]).float()
    logp = found.new_full((*alive.shape, found.shape[1]), -torch.inf)
    logp[alive] = found
    logp[..., end_id] = logp[..., end_id].masked_fill(done, 0.0)
    return logp


def grow(ids: Int[Tensor, "b k t"], parent: Int[Tensor, "b n"], token: Int[Tensor, "b n"]) -> Int[Tensor, "b n u"]:
    """New beams: each an old one and a token more."""
    kept = ids.gather(1, parent[..., None].expand(-1, -1, ids.shape[2]))
    return torch.cat([kept, token[..., None]], dim=2)


def best_of(
    ids: Int[Tensor, "b k t"], scores: Float[Tensor, "b k"], end_id: int, max_length: int, length_penalty: float
) -> list[list[int]]:
    """The tokens of each example's best beam, without start and end."""
    lengths = (ids[..., 1:] != end_id).sum(2)
    chosen = (scores / ((5 + lengths) / 6) ** length_penalty).argmax(1).tolist()
    return [[token for token in ids[i, j, 1:].tolist() if token != end_id][:max_length] for i, j in enumerate(chosen)]
