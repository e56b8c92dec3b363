"""Findings of fine-tuning: what a task reaches, beside its controls, as one table a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from vl.report.figures import Finding


@dataclass(frozen=True)
class FineTuned(Finding):
    """A finding of a fine-tuned model; its metrics have a `value` that stands for the others.

    `init` says what it began with, `control` what it was shown instead of regions (none: the regions), `seed` is that
    of the run, None for a figure of several runs. `interval` is the 95% interval of the value.
    """

    init: str = "pretrained"
    control: str = "none"
    seed: int | None = 0
    interval: Sequence[float] | None = None


def show_finetuned(findings: Sequence[FineTuned]) -> None:
    """Print a table for each model: a row for a task on a split, a column for each kind of run."""
    for model in dict.fromkeys(finding.model for finding in findings):
        own = [finding for finding in findings if finding.model == model]
        kinds = list(dict.fromkeys(_kind(finding) for finding in own))
        table = Table("task", "split", "language", "n", *kinds, "majority", title=f"{model}: value (95% interval)")
        rows: dict[tuple[str, str, str], dict[str, FineTuned]] = {}
        for finding in own:
            rows.setdefault((finding.task, finding.split, finding.language), {})[_kind(finding)] = finding
        for place, cells in rows.items():
            first = next(iter(cells.values()))
            shown = (_cell(cells[kind]) if kind in cells else "-" for kind in kinds)
            majority = first.metrics.get("majority")
            table.add_row(*place, str(first.n), *shown, "-" if majority is None else f"{majority:.3g}")
        Console(width=60 + 22 * len(kinds)).print(table)


def _kind(finding: FineTuned) -> str:
    """What was trained, in a word or two."""
    run = finding.init if finding.control == "none" else finding.control
    return f"{run}, mean" if finding.seed is None else f"{run}, seed {finding.seed}" if finding.seed else run


def _cell(finding: FineTuned) -> str:
    value = f"{finding.metrics['value']:.3g}"
    return value if finding.interval is None else "{} ({:.3g} to {:.3g})".format(value, *finding.interval)
