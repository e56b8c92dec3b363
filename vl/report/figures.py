"""The one shape of every figure VL writes: what a benchmark measured, and what an evaluation found.

    benchmark    {schema, quick, results: [Comparison, ...], settings}
    evaluation   {schema, quick, results: [Finding, ...], seconds, settings}

`schema` is 1; `quick` says that the figures come from a short run that only shows that the command works.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import requires, version
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

SCHEMA = 1
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")

Better = Literal["higher", "lower"]
Measure = Callable[[], float]


@dataclass(frozen=True)
class Comparison:
    """One measured case of a benchmark: medians, and how many times better ours is (median over the pairs).

    `check` is the largest difference of outputs and gradients between ours and the peer on the timed input; None
    where there is nothing to compare, as where there is no peer.
    """

    name: str
    case: str
    unit: str
    better: Better
    ours: float
    peer: float | None
    ratio: float | None
    pairs: list[list[float | None]]
    check: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One result of an evaluation. Rates are in percent; `protocol` says what was ranked against what, and `n` how
    many queries were judged (of the first direction, where there are two)."""

    model: str
    task: str
    split: str
    language: str
    protocol: str
    n: int
    metrics: Mapping[str, float | None]


def rate(step: Callable[[], object], items: int) -> Measure:
    """A measure of `items` per second of wall time that one call of `step` does."""

    def measure() -> float:
        start = time.perf_counter()
        step()
        return items / (time.perf_counter() - start)

    return measure


def compare(
    ours: Measure,
    peer: Measure | None,
    *,
    name: str,
    case: str,
    unit: str,
    better: Better = "higher",
    pairs: int = 5,
    warmup: int = 1,
    check: float | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Comparison:
    """Measure ours and the peer in `pairs` pairs, after `warmup` unmeasured ones.

    Who goes first alternates from pair to pair, so that a drift of the machine favours neither. With `peer` None,
    ours alone is measured.

    Raises:
        ValueError: `pairs` is below 1.
    """
    if pairs < 1:
        raise ValueError(f"pairs={pairs}: a comparison needs at least 1 pair")
    measured: list[list[float | None]] = []
    for number in range(warmup + pairs):
        sides = [ours, peer] if number % 2 else [peer, ours]
        values = [side() if side else None for side in sides]
        measured.append(values if number % 2 else values[::-1])
    measured = measured[warmup:]
    mine, theirs = [pair[0] for pair in measured], [pair[1] for pair in measured]
    ratios = [a / b if better == "higher" else b / a for a, b in measured if a and b]
    return Comparison(
        name,
        case,
        unit,
        better,
        median(mine),
        median(theirs) if peer else None,  # type: ignore[type-var]
        median(ratios) if ratios else None,
        measured,
        check,
        dict(settings or {}),
    )


def write_bench(
    path: str | Path | None,
    results: Sequence[Comparison],
    settings: Mapping[str, Any],
    *,
    quick: bool = False,
    tolerance: float = 1e-3,
) -> None:
    """Print a benchmark's table and write its JSON (unless `path` is None).

    Raises:
        SystemExit: with status 1, after writing, when a `check` is not a number or exceeds `tolerance`.
    """
    _print(
        "ours / peer",
        ("name", "case", "unit", "ours", "peer", "ratio", "check"),
        ((r.name, r.case, f"{r.unit} ({r.better})", r.ours, r.peer, r.ratio, r.check) for r in results),
    )
    write_json(path, {"schema": SCHEMA, "quick": quick, "results": [asdict(r) for r in results], "settings": settings})
    failed = [r for r in results if r.check is not None and not r.check <= tolerance]
    if failed:
        raise SystemExit(
            "\n".join(
                f"{r.name}, {r.case}: ours and peer differ by {r.check:.3g}, more than the tolerance {tolerance:g}"
                for r in failed
            )
        )


def write_report(
    path: str | Path | None,
    results: Sequence[Finding],
    settings: Mapping[str, Any],
    *,
    seconds: float,
    quick: bool = False,
) -> None:
    """Print an evaluation's table, protocol beside each number, and write its JSON (unless `path` is None)."""
    show(results)
    report = {
        "schema": SCHEMA,
        "quick": quick,
        "results": [asdict(r) for r in results],
        "seconds": round(seconds, 2),
        "settings": settings,
    }
    write_json(path, report)


def show(results: Iterable[Finding]) -> None:
    """Print findings: one table for those that were judged alike, with a column a model."""

    def judged(finding: Finding) -> tuple[str, ...]:
        return finding.task, finding.split, finding.language, finding.protocol

    for (task, split, language, protocol), group in groupby(results, judged):
        findings = list(group)
        metrics = dict.fromkeys(metric for finding in findings for metric in finding.metrics)
        rows = ([metric, *(finding.metrics.get(metric) for finding in findings)] for metric in metrics)
        _print(f"{task} on {split}, {language}\n{protocol}", ("metric", *(f.model for f in findings)), rows)


def write_json(path: str | Path | None, content: Any) -> None:
    """Write strict JSON (a NaN becomes null) under a temporary name, then move it into place."""
    if path is None:
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.write_text(json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    temporary.replace(target)


def settings(shards: Iterable[str | Path] = (), **own: Any) -> dict[str, Any]:
    """Under which conditions a figure arose: versions, processor, threads, commit, command, the sha256 of local
    shards (None for remote ones), and whatever `own` adds (batch, lengths, seed, ...)."""
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "commit": _commit(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "shards": {str(shard): _sha256(Path(shard)) for shard in shards},
        **own,
    }


def _versions() -> dict[str, str]:
    """Of VL and what it depends on."""
    needed = [line for line in requires("vl-pretrain") or () if "extra ==" not in line]
    return {name: version(name) for name in ["vl-pretrain", *(re.split(r"[^\w.-]", line)[0] for line in needed)]}


def processor() -> str:
    """Its name, and those of its vector instructions that decide how fast a model runs."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    values = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    values = {name.strip(): value.strip() for name, value in values.items()}
    flags = [flag for flag in _FLAGS if flag in values.get("flags", "").split()]
    return " ".join([values.get("model name", platform.processor() or platform.machine()), *flags])


def has_bf16() -> bool:
    """Whether the processor has instructions for bf16; without them its products take dozens of times as long."""
    return "_bf16" in processor()


def _commit() -> str | None:
    """The commit of the checkout this file lies in, with + if tracked files differ from it; None outside of one."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed.strip() else "")


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: Any) -> Any:
    """What JSON can say: mappings, lists, strings, finite numbers, None."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (int, str)) or value is None else str(value)


def _print(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    table = Table(title=escape(title), title_style="bold", title_justify="left")
    for column in columns:
        table.add_column(escape(column), overflow="fold", no_wrap=column == "metric")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    Console().print(table)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else escape(str(value))
