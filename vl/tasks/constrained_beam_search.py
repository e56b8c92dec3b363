"""Constrained beam search: sequences that must contain some of the words they are given.

"Guided Open Vocabulary Image Captioning with Constrained Beam Search", arXiv:1612.00576, figure 2: a finite-state
machine reads along, each of its states has a beam of its own, and only what ends in an accepting state may win. Its use
on nocaps is that of arXiv:1812.08658: at least two of up to three objects. Released code keeps a beam for every set of
objects; here those that are enough share one accepting state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vl.tasks.beam_search import NextToken, best_of, continuations, grow

#: A constraint is met by any one of its forms, a sequence of tokens that follow each other.
Constraint = Sequence[Sequence[int]]
#: The constraints that are met, and the last tokens read as far as they begin a form of another; None accepts.
State = tuple[frozenset[int], tuple[int, ...]] | None
START: State = (frozenset(), ())
#: Stands for every token that is in no constraint.
OTHER = -1


@dataclass(frozen=True)
class Machine:
    """The machines of b examples, with at most s states (the first is the start) that tell m symbols apart.

    `moves` is the state after each symbol (-1 where it may not come), `other` that after any other token; `accept` is
    the one state in which a sequence may end, `met` how many constraints have been met in each.
    """

    symbols: Int[Tensor, "b m"]
    moves: Int[Tensor, "b s m"]
    other: Int[Tensor, "b s"]
    met: Int[Tensor, "b s"]
    accept: Int[Tensor, " b"]

    def stopped(self) -> Machine:
        """The machine for a token that will be cut off: it stays where it is."""
        stay = torch.arange(self.other.shape[1], device=self.other.device).expand_as(self.other)
        return replace(self, moves=self.moves.where(self.moves < 0, stay[..., None]), other=stay)


def constrained_beam_search(
    next_token: NextToken,
    constraints: Sequence[Sequence[Constraint]],
    start_id: int,
    end_id: int,
    beams: int = 5,
    max_length: int = 20,
    length_penalty: float = 0.0,
    required: int = 2,
    device: torch.device | str = "cpu",
) -> list[list[int]]:
    """The best sequence of each example that meets `required` of its constraints, or all if there are fewer.

    Where no sequence of `max_length` tokens can, one that meets as many as possible. Forms may overlap. An example
    without constraints is searched as by `beam_search`, whose arguments these are.

    Args:
        constraints: of each example.
        beams: sequences kept for each state of each example.
        required: how many constraints have to be met.
    """
    machine = compile_machine(constraints, required, end_id, device)
    examples, states = machine.other.shape
    ids = torch.full((examples, states * beams, 1), start_id, device=device)
    scores = torch.full((examples, states * beams), -torch.inf, device=device)
    scores[:, 0] = 0.0
    done = torch.zeros_like(scores, dtype=torch.bool)
    for length in range(max_length + 1):
        # What scores less than a full beam of finished sequences can never enter it.
        final = machine.accept[:, None] * beams + torch.arange(beams, device=device)
        floor = scores.gather(1, final).masked_fill(~done.gather(1, final), -torch.inf).amin(1, keepdim=True)
        alive = ~done & (scores > floor)
        if not alive.any():
            break
        logp = continuations(next_token, ids, alive, done, end_id)
        reader = machine if length < max_length else machine.stopped()
        scores, parent, token = advance(reader, scores, logp, beams)
        ids = grow(ids, parent, token)
        done = done.gather(1, parent) | (token == end_id)
    met = machine.met.repeat_interleave(beams, 1).masked_fill(scores.isneginf(), -1)
    scores = scores.masked_fill(met < met.amax(1, keepdim=True), -torch.inf)
    return best_of(ids, scores, end_id, max_length, length_penalty)


def advance(
    machine: Machine, scores: Float[Tensor, "b k"], logp: Float[Tensor, "b k v"], beams: int
) -> tuple[Float[Tensor, "b k"], Int[Tensor, "b k"], Int[Tensor, "b k"]]:
    """The best beams of every state after one more token: their scores, the beams they come from, and the tokens.

    Tokens that are no symbol all lead to the same state, so the best `beams` of them are enough.
    """
    states = torch.arange(machine.other.shape[1], device=logp.device)
    symbols = machine.symbols[:, None].expand(-1, logp.shape[1], -1)
    others = logp.scatter(2, symbols, -torch.inf).topk(min(beams, logp.shape[2]))
    token = torch.cat([symbols, others.indices], dim=2)
    value = scores[..., None] + torch.cat([logp.gather(2, symbols), others.values], dim=2)
    goal = torch.cat([machine.moves, machine.other[..., None].expand(-1, -1, others.indices.shape[2])], dim=2)
    goal = goal.repeat_interleave(beams, 1).flatten(1)
    reached = goal[:, None] == states[:, None]
    found = value.flatten(1)[:, None].masked_fill(~reached, -torch.inf).topk(beams)
    best = found.indices.flatten(1)
    return found.values.flatten(1), best // token.shape[2], token.flatten(1).gather(1, best)


def compile_machine(
    constraints: Sequence[Sequence[Constraint]], required: int, end_id: int, device: torch.device | str = "cpu"
) -> Machine:
    """The machines of some examples as one value."""
    tables = [_table([c for c in one if any(c)], required, end_id) for one in constraints]
    size = max(len(moves) for _, moves, _, _ in tables)
    # Padding leads nowhere: states that nothing reaches, and the end again, where it may not come.
    symbols = pad_sequence([torch.tensor(one) for one, *_ in tables], True, end_id)
    moves = torch.full((len(tables), size, symbols.shape[1]), -1)
    other, met = (torch.full((len(tables), size), -1) for _ in range(2))
    for row, (own, table, others, counts) in enumerate(tables):
        moves[row, : len(table), : len(own)] = torch.tensor(table)
        other[row, : len(table)], met[row, : len(table)] = torch.tensor(others), torch.tensor(counts)
    return Machine(*(part.to(device) for part in (symbols, moves, other, met, met.argmax(1))))


def _table(
    constraints: Sequence[Constraint], required: int, end_id: int
) -> tuple[list[int], list[list[int]], list[int], list[int]]:
    """Symbols, moves, other and met of one machine."""
    required = min(required, len(constraints))
    symbols = sorted({token for forms in constraints for form in forms for token in form})
    states: dict[State, int] = {START if required else None: 0}
    moves, others = [], []
    for state in (queue := list(states)):
        row = []
        for token in (*symbols, OTHER):
            after = follow(state, token, constraints, required)
            if after not in states:
                states[after] = len(states)
                queue.append(after)
            row.append(states[after])
        others.append(row.pop())
        moves.append([*row, states[state] if state is None else -1])
    return [*symbols, end_id], moves, others, [required if state is None else len(state[0]) for state in states]


def follow(state: State, token: int, constraints: Sequence[Constraint], required: int) -> State:
    """The state after one more token."""
    if state is None:
        return None
    recent = (*state[1], token)
    met = state[0].union(i for i, forms in enumerate(constraints) if any(_ends(recent, form) for form in forms))
    if len(met) >= required:
        return None
    forms = [form for i, forms in enumerate(constraints) if i not in met for form in forms]
    begun = [n for form in forms for n in range(1, len(form)) if _ends(recent, form[:n])]
    return met, recent[len(recent) - max(begun, default=0) :]


def _ends(tokens: Sequence[int], form: Sequence[int]) -> bool:
    """Do the tokens end in this form?"""
    return 0 < len(form) <= len(tokens) and tuple(tokens[-len(form) :]) == tuple(form)
