"""Tables of names: how a public checkpoint and VL call the same weights, both directions."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

State = dict[str, Tensor]

#: Where the heads of a pretraining checkpoint stand, beside the trunk's own names.
HEADS = "heads."
_OLD = {"gamma": "weight", "beta": "bias"}


class Names:
    """Modules by name, theirs -> ours; `*` stands for the number of a layer.

    Args:
        system: whose names they are, for messages.
        table: their module -> our module. The last part of a name (weight, bias) is the same on both sides.
    """

    def __init__(self, system: str, table: Mapping[str, str]) -> None:
        self.system, self.theirs = system, dict(table)
        self.ours = {ours: theirs for theirs, ours in table.items()}
        assert len(self.ours) == len(self.theirs)

    def to_ours(self, state: Mapping[str, Tensor]) -> State:
        """Our names; one the table does not know is kept, so that a strict load tells it.

        `module.` in front, the old names of LayerNorm's weights (gamma, beta) and stored position ids are understood.
        """
        found: State = {}
        for name, value in state.items():
            module, _, leaf = name.removeprefix("module.").rpartition(".")
            if leaf != "position_ids":
                leaf = _OLD.get(leaf, leaf)
                found[f"{_look_up(self.theirs, module) or module}.{leaf}"] = value
        return found

    def to_theirs(self, state: Mapping[str, Tensor]) -> State:
        """Their names.

        Raises:
            ValueError: a weight has no place there.
        """
        found: State = {}
        for name, value in state.items():
            module, _, leaf = name.rpartition(".")
            theirs = _look_up(self.ours, module)
            if theirs is None:
                raise ValueError(f"a checkpoint of {self.system} has no place for {name}")
            found[f"{theirs}.{leaf}"] = value
        return found


def rename(state: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> State:
    """The state with the first of these starts of a name replaced, if any."""
    renamed: State = {}
    for name, value in state.items():
        start = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
        renamed[name if start is None else prefixes[start] + name.removeprefix(start)] = value
    return renamed


def trunk(state: Mapping[str, Tensor]) -> State:
    """Our state without heads."""
    return {name: value for name, value in state.items() if not name.startswith(HEADS)}


def heads(state: Mapping[str, Tensor]) -> State:
    """The heads alone, by their own names."""
    return {name.removeprefix(HEADS): value for name, value in state.items() if name.startswith(HEADS)}


def swap_match_rows(state: Mapping[str, Tensor]) -> State:
    """The two rows of the matching head exchanged: VL's class 1 is "they match", where others follow BERT's order."""
    return {name: value.flip(0) if name.startswith(f"{HEADS}itm.") else value for name, value in state.items()}


def _look_up(table: Mapping[str, str], module: str) -> str | None:
    if module in table:
        return table[module]
    number = re.search(r"\.(\d+)\.", module)
    if number is None:
        return None
    found = table.get(module.replace(number[0], ".*.", 1))
    return found and found.replace("*", number[1])
