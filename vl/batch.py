"""The values everything in VL is said with: frozen dataclasses of tensors.

Shape legend, used in every annotation of the package:

    bt  texts of a batch            lt  tokens of a text (padded)
    bv  visuals of a batch          lv  regions, patches or grid cells of a visual (padded)
    b   examples of a batch         r   rows: (text, visual) pairs that are scored together
    f   width of a stored feature   d   width of the model
    e   width of an embedding       c   classes of a detector or classifier
    h w height and width in pixels  n   image tokens

A mask is True where something real stands, and `hidden` is True where an objective masked it out.
A value is never changed in place: `dataclasses.replace` makes the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from vl.draw import Draw

# Not typing.Self: beartype, which checks shapes in tests, takes it in decorated classes alone.
_V = TypeVar("_V", bound="_Value")


def _map(value: Any, move: Any) -> Any:
    """Apply `move` to every tensor inside a field's value."""
    if isinstance(value, Tensor):
        return move(value)
    if isinstance(value, _Value):
        return value._each(move)
    if isinstance(value, Draw):
        return replace(value, examples=move(value.examples))
    if isinstance(value, Mapping):
        return {name: _map(item, move) for name, item in value.items()}
    return value


class _Value:
    """What all values can do: move to a device and pin their memory."""

    def _each(self: _V, move: Any) -> _V:
        return replace(self, **{f.name: _map(getattr(self, f.name), move) for f in fields(self)})  # type: ignore

    def to(self: _V, device: torch.device | str, non_blocking: bool = False) -> _V:
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self: _V) -> _V:
        return self._each(lambda tensor: tensor.pin_memory())


@dataclass(frozen=True)
class Text(_Value):
    """Tokenized texts, padded to the longest of the batch.

    `words` is the index of the word a token belongs to (whole-word masking), -1 for special tokens.
    `ends` is the number of characters of the text up to the end of a token, 0 for special tokens.
    `regions` is the index of the region a token mentions, -1 for none.
    `language` indexes `vl.data.sample.LANGUAGES`, -1 for unknown.
    """

    ids: Int[Tensor, "bt lt"]
    mask: Bool[Tensor, "bt lt"]
    segment: Int[Tensor, "bt lt"] | None = None
    words: Int[Tensor, "bt lt"] | None = None
    ends: Int[Tensor, "bt lt"] | None = None
    regions: Int[Tensor, "bt lt"] | None = None
    language: Int[Tensor, " bt"] | None = None

    def rows(self, index: Int[Tensor, " n"] | Bool[Tensor, " bt"]) -> Text:
        """Some of the texts."""
        return self._each(lambda tensor: tensor[index])


@dataclass(frozen=True)
class Visual(_Value):
    """Pictures as pixels, as stored region features, or both.

    `pixels` are uint8 in 0..255 or float in 0..1, RGB; a model normalises them with its own mean and
    standard deviation. `boxes` are xyxy in 0..1. `class_probs` and `attribute_probs` are a detector's
    distributions with the background FIRST. `size` is (height, width) of the original picture in pixels.
    """

    pixels: Shaped[Tensor, "bv 3 h w"] | None = None
    features: Float[Tensor, "bv lv f"] | None = None
    boxes: Float[Tensor, "bv lv 4"] | None = None
    mask: Bool[Tensor, "bv lv"] | None = None
    hidden: Bool[Tensor, "bv lv"] | None = None
    segment: Int[Tensor, "bv lv"] | None = None
    class_probs: Float[Tensor, "bv lv c"] | None = None
    attribute_probs: Float[Tensor, "bv lv a"] | None = None
    confidence: Float[Tensor, "bv lv"] | None = None
    size: Int[Tensor, "bv 2"] | None = None

    def rows(self, index: Int[Tensor, " n"] | Bool[Tensor, " bv"]) -> Visual:
        """Some of the pictures."""
        return self._each(lambda tensor: tensor[index])


@dataclass(frozen=True)
class Batch(_Value):
    """What a step reads: texts, visuals, and the rows that join them.

    `pairs` row r joins text `pairs[r, 0]` with visual `pairs[r, 1]`; None joins text i with visual i.
    `group` is the example a row belongs to, `matched` whether text and visual belong together,
    `attention` the pattern of a row (an index of `vl.models.masks`). `targets` holds what the view read for its
    task, with a leading r or b. `objectives` names what this batch trains; `keys` names its examples;
    `draw` gives the random numbers of its examples.
    """

    text: Text | None = None
    visual: Visual | None = None
    decoder: Text | None = None
    pairs: Int[Tensor, "r 2"] | None = None
    group: Int[Tensor, " r"] | None = None
    matched: Bool[Tensor, " r"] | None = None
    attention: Int[Tensor, " r"] | None = None
    tags: Text | None = None
    codes: Int[Tensor, "b n"] | None = None
    targets: Mapping[str, Any] = field(default_factory=dict)
    objectives: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    draw: Draw | None = None

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.keys)


@dataclass(frozen=True)
class Encoded(_Value):
    """What a model makes of a batch; a model fills the fields it `provides`.

    Words, regions and pooled vectors have one width but in ViLBERT, whose streams differ (`dv`, `dp`).
    `text_emb` and `image_emb` have unit length. `logit_scale` is the factor a contrastive loss applies to
    their cosines, `logit_bias` what it adds.
    """

    text: Float[Tensor, "r lt d"] | None = None
    visual: Float[Tensor, "r lv dv"] | None = None
    pooled: Float[Tensor, "r dp"] | None = None
    text_emb: Float[Tensor, "bt e"] | None = None
    image_emb: Float[Tensor, "bv e"] | None = None
    logit_scale: Float[Tensor, " 1"] | None = None
    logit_bias: Float[Tensor, " 1"] | None = None


@dataclass(frozen=True)
class Reconstruction(_Value):
    """What an image tokenizer returns: pictures, codes, its commitment term, and the codes' logits where it has any."""

    pixels: Float[Tensor, "bv k h w"]
    codes: Int[Tensor, "bv n"]
    commitment: Float[Tensor, ""] | None = None
    logits: Float[Tensor, "bv c s s"] | None = None


@dataclass(frozen=True)
class Loss(_Value):
    """A sum and how much it sums: the training module divides by the count over all ranks.

    `metrics` are sums too, each a (sum, count) pair of scalars, divided over all ranks before they are logged.
    """

    total: Float[Tensor, ""]
    count: Shaped[Tensor, ""]
    metrics: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
