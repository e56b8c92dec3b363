"""A report as one self-contained HTML page: text, tables, curves and retrieval examples with their pictures.

Every text is escaped, pictures and curves are data URIs, and the page's own policy forbids scripts and the network:
whatever a caption holds, it is shown and nothing more.
"""

from __future__ import annotations

import csv
import io
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

_STYLE = """
:root { --ink: #1c2330; --dim: #667085; --line: #e4e7ec; --soft: #f7f8fa; --right: #12805c; --wrong: #d0d5dd; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 40px 24px 80px; color: var(--ink); background: #fff;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Noto Sans", "Noto Sans CJK SC", sans-serif; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 20px; margin: 44px 0 12px; padding-top: 20px; border-top: 1px solid var(--line); }
p { max-width: 72ch; margin: 8px 0; overflow-wrap: anywhere; }
.dim, figcaption { color: var(--dim); font-size: 14px; }
.scroll { overflow-x: auto; margin: 12px 0; }
table { border-collapse: collapse; font-size: 14px; min-width: 50%; }
th, td { padding: 6px 14px 6px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  max-width: 60ch; overflow-wrap: break-word; }
th { color: var(--dim); font-weight: 600; white-space: nowrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 16px; }
.curves img { width: 100%; }
figure { margin: 0; }
.examples { display: grid; grid-template-columns: repeat(auto-fit, minmax(460px, 1fr)); gap: 12px; }
@media (max-width: 560px) { .examples { grid-template-columns: 1fr; } }
.example { background: var(--soft); border: 1px solid var(--line); border-radius: 10px; padding: 12px; }
.query { font-weight: 600; margin: 0 0 8px; overflow-wrap: anywhere; }
.found { display: flex; flex-wrap: wrap; gap: 8px; }
.found div { position: relative; background: #fff; border: 2px solid var(--wrong); border-radius: 8px; padding: 5px;
  font-size: 13px; min-width: 64px; max-width: 160px; text-align: center; overflow-wrap: anywhere; }
.found .right { border-color: var(--right); }
.found .right::after { content: "\\2713"; position: absolute; top: -8px; right: -8px; width: 18px; height: 18px;
  border-radius: 9px; background: var(--right); color: #fff; font-size: 12px; line-height: 18px; }
.example img { max-width: 72px; max-height: 72px; display: inline-block; vertical-align: middle; }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Candidate:
    """What was found for a query: a text, or the bytes of a picture; `right` if it answers the query."""

    content: str | bytes
    right: bool


@dataclass(frozen=True)
class Example:
    """A query, a text or the bytes of a picture, and its best candidates in order."""

    query: str | bytes
    found: Sequence[Candidate]


class Page:
    """A page that grows from top to bottom.

    Args:
        title: shown as the heading and in the browser's tab.
        lead: one sentence under the heading.
    """

    def __init__(self, title: str, lead: str = "") -> None:
        self.title = title
        self.parts = [f"<h1>{escape(title)}</h1>"]
        if lead:
            self.text(lead, dim=True)

    def section(self, title: str, text: str = "") -> None:
        self.parts.append(f"<h2>{escape(title)}</h2>")
        if text:
            self.text(text, dim=True)

    def text(self, text: str, dim: bool = False) -> None:
        self.parts.append(f'<p class="{"dim" if dim else ""}">{escape(text)}</p>')

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table; numbers are aligned, None is shown as a dash."""
        head = "".join(f"<th>{escape(column)}</th>" for column in columns)
        body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
        self.parts.append(f'<div class="scroll"><table><tr>{head}</tr>\n{body}</table></div>')

    def settings(self, settings: Mapping[str, object]) -> None:
        """A table of names and values; a nested mapping becomes one row an entry."""
        self.table(("setting", "value"), _flat(settings))

    def curves(self, log: str | Path, panels: Mapping[str, Sequence[str]], x: str = "step") -> None:
        """One plot a panel, of columns of a CSV log (as Lightning writes it: empty cells are skipped).

        Columns that the log does not hold are left out, and so is a panel without any.
        """
        with Path(log).open(newline="") as file:
            rows = list(csv.DictReader(file))
        drawn = [_plot(title, _series(rows, x, columns), x) for title, columns in panels.items()]
        self.parts.append(f'<div class="curves">{"".join(drawn)}</div>')

    def examples(self, examples: Iterable[Example]) -> None:
        """Queries with what was found for them, right answers marked."""
        self.parts.append(f'<div class="examples">{"".join(map(_example, examples))}</div>')

    def html(self) -> str:
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(self.title)}</title>\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<link rel="icon" href="data:,"><style>{_STYLE}</style></head>\n<body>\n'
            + "\n".join(self.parts)
            + "\n</body></html>\n"
        )

    def write(self, path: str | Path) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(self.html(), encoding="utf-8")


def picture(content: bytes, size: int = 144) -> str:
    """A picture as a data URI, shrunk to fit `size` pixels.

    Raises:
        ValueError: the bytes are no picture.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "WEBP")) as image:
            image.draft("RGB", (size, size))
            small = image.convert("RGBA")
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{len(content)} bytes that begin with {content[:8]!r} are no jpeg, png or webp") from error
    small.thumbnail((size, size))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return _uri("image/png", buffer.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"


def _cell(value: object) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f'<td class="number">{value if isinstance(value, int) else format(value, ".4g")}</td>'
    return f"<td>{'–' if value is None else escape(str(value))}</td>"


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name} / ")
        else:
            yield prefix + name, str(value)


def _show(content: str | bytes) -> str:
    return f'<img alt="" src="{picture(content)}">' if isinstance(content, bytes) else escape(content)


def _example(example: Example) -> str:
    found = "".join(f'<div class="{"right" if c.right else ""}">{_show(c.content)}</div>' for c in example.found)
    return f'<div class="example"><p class="query">{_show(example.query)}</p><div class="found">{found}</div></div>'


Series = dict[str, tuple[list[float], list[float]]]


def _series(rows: Sequence[Mapping[str, str]], x: str, columns: Sequence[str]) -> Series:
    series = {}
    for column in columns:
        points = [(float(row[x]), float(row[column])) for row in rows if row.get(x) and row.get(column)]
        if points:
            series[column] = ([p[0] for p in points], [p[1] for p in points])
    return series


def _plot(title: str, series: Series, x: str) -> str:
    """A panel as an SVG data URI: in an <img>, nothing in it can run."""
    if not series:
        return ""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 2.9), layout="constrained")
    axes = figure.add_subplot()
    for name, (steps, values) in series.items():
        axes.plot(steps, values, label=name.replace("$", r"\$"), linewidth=1.5)
    axes.set_title(title.replace("$", r"\$"), fontsize=10, loc="left")
    axes.set_xlabel(x, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#e4e7ec", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        axes.legend(fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return f'<figure><img alt="{escape(title)}" src="{_uri("image/svg+xml", buffer.getvalue())}"></figure>'
