"""Findings beside their baselines, as one table: a row a figure, a column a model."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from vl.report.figures import Finding


def show_baselines(findings: Sequence[Finding]) -> None:
    """Print findings whose metrics are `value` and `baseline`, and `low` and `high` where there is an interval."""
    models = list(dict.fromkeys(finding.model for finding in findings))
    table = Table("figure", "split", "language", *models, title="value / baseline (95% interval)")
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for finding in findings:
        place = finding.task, finding.split, finding.language
        rows.setdefault(place, {})[finding.model] = _cell(finding)
    for place, cells in sorted(rows.items()):
        table.add_row(*place, *(cells.get(model, "-") for model in models))
    Console(width=60 + 26 * len(models)).print(table)


def _cell(finding: Finding) -> str:
    metrics = finding.metrics
    interval = f" ({metrics['low']:.3g} to {metrics['high']:.3g})" if "low" in metrics else ""
    return f"{metrics['value']:.3g} / {metrics['baseline']:.3g}{interval}"
