"""The demo's figures on the terminal and as one self-contained page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vl.demo.judge import LANGUAGES, SPLITS
from vl.report.page import Example, Page

COLUMNS = ("split", "in", "n", "vl", "ridge", "times ridge", "R@1", "chance", "[UNK]")
ENDS = ("", "/low", "/high")
LEAD = (
    "Trained on Twemoji alone, with names in English and Chinese, over frozen EfficientNet-Lite0 and MiniLM. The "
    "control is a ridge map between the same frozen backbones, fitted on the same pictures and texts."
)
EXPLAINED = (
    "n: candidates. vl and ridge: the mean of R@1, R@5 and R@10 over both directions, in percent. Times ridge: their "
    "ratio with its 95% interval, by a paired bootstrap over pictures. R@1: of vl, the mean of both directions, to be "
    "compared with chance. [UNK]: tokens that vl's tokenizer does not know, in percent. The control reads Chinese "
    "through MiniLM's English vocabulary."
)


def rows(report: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row of `COLUMNS` for every split and language of a report."""
    found = {(r["split"], r["language"], r["model"]): r for r in report["results"]}
    for split, language in ((split, language) for language in LANGUAGES for split in SPLITS):
        vl, ridge = (found[split, language, model]["metrics"] for model in ("vl", "ridge"))
        ratio = [times(vl[f"ratio_to_ridge{end}"]) for end in ENDS]
        count = found[split, language, "vl"]["n"]
        yield (
            split, language, f"{count:,}", f"{vl['mean_recall']:.1f}", f"{ridge['mean_recall']:.1f}",
            f"{ratio[0]} [{ratio[1]}, {ratio[2]}]", f"{vl['R@1']:.1f}", f"{100 / count:.2f}",
            f"{vl['unknown_tokens']:.1f}",
        )  # fmt: skip


def times(ratio: float | None) -> str:
    """A ratio with three digits; None stands for a control that found nothing."""
    return "∞" if ratio is None else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"


def print_summary(report: Path) -> None:
    """The table that `make demo` ends with."""
    content = json.loads(report.read_text())
    title = "quick run: these figures mean nothing" if content["quick"] else None
    table = Table(title=title, box=SIMPLE_HEAD, padding=0, caption=EXPLAINED, caption_justify="left")
    for column in COLUMNS:
        table.add_column(escape(column), justify="left" if column in COLUMNS[:2] else "right", no_wrap=True)
    for row in rows(content):
        table.add_row(*map(escape, row))
    Console().print(table)
    Console().print(f"{content['seconds']:.0f} s of work; {report} and {report.with_suffix('.html')}", highlight=False)


def write_page(path: Path, report: Mapping[str, Any], examples: Mapping[str, Sequence[Example]], log: Path) -> None:
    """The page: the table, curves, examples in both languages, every figure, settings."""
    page = Page("Emoji in two languages and two styles", LEAD)
    if report["quick"]:
        page.text("A quick run: it shows that everything works, and its figures mean nothing.")
    page.section("What it learnt", EXPLAINED)
    page.table(COLUMNS, rows(report))
    page.table(("split", "what is new"), ((split, text) for split, (_, text) in SPLITS.items()))
    page.section(
        "How it learnt", "Every step on Twemoji's training concepts; validation on concepts that it never sees."
    )
    page.curves(log, {
        "contrastive loss": ("train/itc/loss", "val/emoji/itc/loss"),
        "right picture of a batch found (training) or of val": (
            "train/itc/text_to_image/accuracy", "val/emoji/itc/text_to_image/accuracy"),
        "norm of the gradient": ("train/gradient_norm",),
    })  # fmt: skip
    for name, shown in examples.items():
        split, language = name.split(", ")
        page.section(
            f"{split} in {LANGUAGES[language]}", f"{SPLITS[split][1]}. Evenly spread over the split, not chosen."
        )
        page.examples(shown)
    page.section("Every figure")
    page.table(
        ("model", "split", "language", "metric", "value", "protocol"),
        ((r["model"], r["split"], r["language"], metric, value, r["protocol"])
         for r in report["results"] for metric, value in r["metrics"].items()),
    )  # fmt: skip
    page.section("Settings")
    page.settings(report["settings"])
    page.write(path)
