"""A page that shows where words look: each picture once for every word, lit where the word's attention goes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from vl.batch import Batch
from vl.data.regions_member import REGIONS, pad, read_regions
from vl.data.sample import language_index, read_record
from vl.data.tokenizers import Tokenizer
from vl.models.attention_maps import words_to_regions
from vl.models.base import VLModel
from vl.regions.pictures import pictures_of, read_shard
from vl.report.page import Page, picture

#: Light that is left where no word looks.
_DARK = 0.25
_SIZE = 144


@dataclass(frozen=True)
class Look:
    """A picture with a caption, and the share of each word's attention that each of its boxes gets."""

    pixels: Image.Image
    text: str
    words: Sequence[str]
    boxes: Float[Tensor, "n 4"]
    shares: Float[Tensor, "w n"]


def looks(
    model: VLModel, tokenizer: Tokenizer, shard: str, count: int, language: str = "en", layer: int | None = None
) -> Iterator[Look]:
    """The first pictures of a shard that have regions and a caption in the language.

    Args:
        model: in evaluation mode.
        tokenizer: of the model.
        shard: with pictures, captions and regions.
        count: of pictures.
        language: of the caption; the first one is taken.
        layer: of those in which words see regions; None for the mean over them.

    Raises:
        ValueError: the shard has no such pictures, or the model no such layer.
    """
    found = 0
    for key, members in read_shard(shard):
        whole = pictures_of(key, members).get("")
        captions = [caption for caption in read_record(members, key).captions if caption.language == language]
        if whole is None or REGIONS not in members or not captions:
            continue
        yield _look(model, tokenizer, whole.pixels, members[REGIONS], captions[0].text, language, layer)
        found += 1
        if found == count:
            return
    if not found:
        raise ValueError(f"{shard} has no pictures with regions and captions in {language!r}")


def _look(
    model: VLModel, tokenizer: Tokenizer, pixels: Tensor, member: bytes, text: str, language: str, layer: int | None
) -> Look:
    regions = read_regions(member)
    batch = Batch(tokenizer.encode([text], [language_index(language)]), pad([regions]), keys=("",))
    layers = words_to_regions(model, batch)[:, 0]
    if layer is not None and not -len(layers) <= layer < len(layers):
        raise ValueError(f"layer is {layer}; words see regions in {len(layers)} layers, from 0 on")
    shares = layers.mean(dim=0) if layer is None else layers[layer]
    ids = batch.text.ids[0].tolist()
    real = [place for place, word in enumerate(batch.text.words[0].tolist()) if word >= 0]
    words = [tokenizer.decode([ids[place]]).strip() or "·" for place in real]
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    return Look(image, text, words, regions.boxes, shares[torch.tensor(real)])


def attention_page(title: str, lead: str, shown: Sequence[Look]) -> Page:
    """The page; each word's light is relative to the region it looks at most."""
    page = Page(title, lead)
    for look in shown:
        page.section(look.text)
        tiles = [_tile("all regions", _outlined(look))]
        for word, shares in zip(look.words, look.shares, strict=True):
            tiles.append(_tile(f"{word}  {float(shares.sum()):.0%}", lit(look.pixels, look.boxes, shares)))
        page.parts.append(f'<div class="found">{"".join(tiles)}</div>')
    return page


def lit(pixels: Image.Image, boxes: Float[Tensor, "n 4"], shares: Float[Tensor, " n"]) -> Image.Image:
    """The picture, dark but for the boxes, each as light as its share is to the largest, which is outlined."""
    light, corners = np.zeros((pixels.height, pixels.width), np.float32), _corners(pixels, boxes)
    for share, (left, top, right, bottom) in zip(shares.tolist(), corners, strict=True):
        light[top:bottom, left:right] = np.maximum(light[top:bottom, left:right], share)
    light = _DARK + (1 - _DARK) * light / max(float(light.max()), 1e-9)
    image = Image.fromarray((np.asarray(pixels) * light[..., None]).astype(np.uint8))
    ImageDraw.Draw(image).rectangle(corners[int(shares.argmax())], outline="white")
    return image


def _outlined(look: Look) -> Image.Image:
    """The picture with the boxes of its regions."""
    image = look.pixels.copy()
    for corners in _corners(image, look.boxes):
        ImageDraw.Draw(image).rectangle(corners, outline="white")
    return image


def _corners(pixels: Image.Image, boxes: Tensor) -> list[tuple[int, int, int, int]]:
    scale = torch.tensor([pixels.width, pixels.height, pixels.width, pixels.height])
    return [tuple(box) for box in (boxes * scale).round().int().tolist()]


def _tile(label: str, image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f'<div><img alt="{escape(label)}" src="{picture(buffer.getvalue(), _SIZE)}"><br>{escape(label)}</div>'
