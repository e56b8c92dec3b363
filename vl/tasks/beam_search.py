"""Beam search over whole prefixes, for models that have no cache of what they read before."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

#: Prefixes (rows, length) -> log-probabilities of the next token (rows, vocabulary).
NextToken = Callable[[Int[Tensor, "r t"]], Float[Tensor, "r v"]]


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
        next_token: scores all beams of all examples at once; row `i * beams + j` is beam j of example i.
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
        logp = next_token(ids.flatten(0, 1)).float().view(examples, beams, -1)
        logp = logp.masked_fill(done[..., None], -torch.inf)
        logp[..., end_id] = logp[..., end_id].masked_fill(done, 0.0)  # what has ended stays as it is
        scores, best = (scores[..., None] + logp).flatten(1).topk(beams)
        parent, token = best // logp.shape[2], best % logp.shape[2]
        ids = torch.cat([ids.gather(1, parent[..., None].expand_as(ids)), token[..., None]], dim=2)
        done = done.gather(1, parent) | (token == end_id)
        if done.all():
            break
    lengths = (ids[..., 1:] != end_id).sum(2)
    chosen = (scores / ((5 + lengths) / 6) ** length_penalty).argmax(1).tolist()
    return [[token for token in ids[i, j, 1:].tolist() if token != end_id][:max_length] for i, j in enumerate(chosen)]
