"""A page to look at: some scenes of every split with their boxes, and what is said about them in both languages."""

from __future__ import annotations

import html
import io
import tarfile
from base64 import b64encode
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from PIL import Image, ImageDraw

from vl.data.card import Card
from vl.data.sample import Record, read_record

_SCENES, _COLUMNS, _ZOOM = 4, 4, 2
_STYLE = "body{font:14px sans-serif;margin:2em} article{display:flex;gap:1em;margin:1em 0} li.false{color:#a22}"


def write_contact_sheet(out: Path, card: Card) -> None:
    """`contact_sheet.html`, and its pictures alone as `contact_sheet.png`."""
    pictures, articles = [], []
    for split in card.splits:
        for shard in [file for file in card.files(split) if "-scenes-" in file][:1]:
            articles.append(f"<h2>{split}</h2>")
            for picture, record in _samples(out / shard):
                pictures.append(_boxed(picture, record))
                articles.append(f"<article>{_embedded(pictures[-1])}<div>{_said(record)}</div></article>")
    page = f"<!doctype html><meta charset=utf-8><title>{card.name}</title><style>{_STYLE}</style><h1>{card.name}</h1>"
    (out / "contact_sheet.html").write_text(page + "".join(articles), encoding="utf-8")
    _grid(pictures).save(out / "contact_sheet.png")


def _samples(shard: Path) -> Iterator[tuple[Image.Image, Record]]:
    with tarfile.open(shard) as tar:
        files = iter(tar)
        for pair in islice(zip(files, files, strict=True), _SCENES):
            members = {info.name.split(".", 1)[1]: tar.extractfile(info).read() for info in pair}
            yield Image.open(io.BytesIO(members["jpg"])), read_record(members, shard.name)


def _boxed(picture: Image.Image, record: Record) -> Image.Image:
    picture = picture.resize((picture.width * _ZOOM, picture.height * _ZOOM), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture)
    for number, thing in enumerate(record.objects):
        box = [edge * picture.width for edge in thing.box]
        draw.rectangle(box, outline="white", width=1)
        label = f"{number} {' '.join((*thing.attributes[::-1], thing.name))}"
        draw.text((box[0], box[3]), label, "white", stroke_width=2, stroke_fill="black")
    return picture


def _grid(pictures: list[Image.Image]) -> Image.Image:
    width, height = pictures[0].size
    sheet = Image.new("RGB", (width * _COLUMNS, height * -(-len(pictures) // _COLUMNS)))
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % _COLUMNS * width, i // _COLUMNS * height))
    return sheet


def _embedded(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "jpeg", quality=88)
    return f'<img src="data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}">'


def _said(record: Record) -> str:
    """Everything the record says, a list for each task."""
    parts = {
        "captions": [caption.text for caption in record.captions],
        "never true": [f"{false.kind}: {false.text}" for false in record.opposites if false.of.startswith("captions")],
        "questions": [f"{asked.question} {max(set(asked.answers), key=asked.answers.count)}" for asked in record.qa],
        "expressions": [f"{one.text} ({one.type})" for one in record.expressions],
        "entailment": [f"{one.hypothesis} {one.label}" for one in record.entailment],
        "choices": [
            f"{one.question} {' / '.join(one.choices)}: {one.choices[one.label]} "
            f"{' / '.join(one.rationales)}: {one.rationales[one.rationale_label]}"
            for one in record.choices
        ],
    }
    lists = (
        f"<b>{name}</b><ul>{''.join(f'<li{_mark(name)}>{html.escape(text)}</li>' for text in texts)}</ul>"
        for name, texts in parts.items()
        if texts
    )
    return "".join(lists)


def _mark(name: str) -> str:
    return " class=false" if name == "never true" else ""
