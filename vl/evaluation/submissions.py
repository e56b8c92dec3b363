"""Reading what is scored: predictions in the benchmarks' submission formats, and their released annotations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vl.data.rows import Row
from vl.evaluation.outcome import Outcome

#: How many ids an error shows.
_SHOWN = 5


def by_id(rows: Iterable[Row], key: str, value: str | None, place: str | Path) -> dict[str, Any]:
    """The rows (or one field of them) by their id, as text.

    Raises:
        ValueError: a row lacks a field, or an id comes twice; names them.
    """
    found: dict[str, Any] = {}
    for number, row in enumerate(rows, start=1):
        if missing := [name for name in (key, value) if name is not None and row.get(name) is None]:
            raise ValueError(f"{place}, row {number} has no field {missing[0]!r}; it has {sorted(map(str, row))}")
        if (name := str(row[key])) in found:
            raise ValueError(f"{place} has {key} {name} twice")
        found[name] = row if value is None else row[value]
    return found


def require_ids(predicted: Mapping[str, Any], wanted: Iterable[str], known: Iterable[str], place: str | Path) -> None:
    """Some id is wanted, every wanted id has a prediction, and every prediction is of a known id.

    Raises:
        ValueError: not so; names the first ids.
    """
    wanted = set(wanted)
    if not wanted:
        raise ValueError(f"{place} cannot be scored: the annotations hold nothing to predict; are they of this task?")
    for problem, names in (
        ("has no prediction for", sorted(wanted - predicted.keys())),
        ("predicts for ids the annotations do not have:", sorted(predicted.keys() - set(known))),
    ):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise ValueError(f"{place} {problem} {', '.join(names[:_SHOWN])}{more}")


def outcome(
    protocol: str, metrics: Mapping[str, float], headline: str, values: Sequence[float], images: Sequence[Any]
) -> Outcome:
    """An outcome whose headline is 100 times the mean of `values`, to be bootstrapped over their pictures."""
    score, groups = mean_by_image(values, images)
    return Outcome(protocol, len(values), metrics, headline, score, groups)


def mean_by_image(values: Sequence[float], images: Sequence[Any]) -> tuple[Callable[[Tensor], Tensor], int]:
    """100 times the mean of the values, as a function of how often each picture is drawn; and how many there are."""
    number = {image: i for i, image in enumerate(dict.fromkeys(images))}
    owners = torch.tensor([number[image] for image in images])
    sums = torch.zeros(len(number), dtype=torch.float64).index_add_(0, owners, torch.tensor(values).double())
    counts = torch.bincount(owners, minlength=len(number)).double()

    def mean(weights: Tensor) -> Tensor:
        drawn = weights.double()
        return 100 * (drawn @ sums) / (drawn @ counts)

    return mean, len(number)
