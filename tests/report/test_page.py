"""The page holds what it was given, escaped, and nothing from outside."""

import io
from html.parser import HTMLParser

import pytest
from PIL import Image

from vl.report.page import Candidate, Example, Page, picture

NASTY = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"


class Reader(HTMLParser):
    """Collects the tags with their attributes, and the text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)


def png(colour=(255, 0, 0, 128), size=(300, 200)):
    buffer = io.BytesIO()
    Image.new("RGBA", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(f"step,loss,val/R@1,{NASTY.replace(',', '')!r}\n1,2.0,,\n2,1.5,,\n2,,10.0,\n3,1.2,,\n")
    return path


def test_the_page_is_harmless_and_self_contained(tmp_path, log):
    page = Page(NASTY, NASTY)
    page.section(NASTY, NASTY)
    page.table((NASTY, "b"), [(NASTY, 1.5), (None, 2)])
    page.settings({"versions": {NASTY: NASTY}})
    page.curves(log, {NASTY: ["loss"], "recall": ["val/R@1", "absent"], "nothing": ["absent"]})
    page.examples([Example(NASTY, [Candidate(png(), True), Candidate(NASTY, False)]), Example(png(), [])])
    page.write(tmp_path / "sub" / "report.html")
    reader = Reader((tmp_path / "sub" / "report.html").read_text())
    tags = {tag for tag, _ in reader.tags}
    assert not tags & {"script", "iframe", "object", "embed", "form", "a"}
    assert all(not name.startswith("on") for _, attributes in reader.tags for name in attributes)
    links = [value for _, held in reader.tags for name, value in held.items() if name in ("src", "href")]
    assert links
    assert all(link.startswith("data:") for link in links)
    assert sum(NASTY in word for word in reader.words) >= 8
    assert sum(tag == "figure" for tag, _ in reader.tags) == 2
    assert [held["class"] for tag, held in reader.tags if tag == "div"].count("right") == 1


def test_pictures_shrink_and_junk_is_refused():
    assert picture(png()).startswith("data:image/png;base64,")
    assert len(picture(png(size=(3000, 3000)))) < 5000
    with pytest.raises(ValueError, match="no jpeg, png or webp"):
        picture(b"GIF89a junk")
