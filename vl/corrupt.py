"""What objectives do to a batch before the model sees it: words and regions are masked.

Pure and vectorised. What happens to a token or region depends on the draw of its example and its place alone, so
padding, companions, ranks and micro-batches change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vl.batch import Text, Visual
from vl.draw import Draw

AtLeast = Literal["none", "first", "random"]


@dataclass(frozen=True)
class TokenMasking:
    """BERT's: each token of a word is chosen with probability `prob`; special tokens never are.

    Args:
        mask_id: of the token that stands for a hidden one.
        first_word: random words are drawn from this id to the end of the vocabulary, which leaves out special tokens.
        prob: of being chosen.
        mask, random: shares of the chosen tokens that are hidden, and that become another word; the rest stay.
        whole_word: all tokens of a word are chosen, or none.
        at_least_one: what is chosen in a text where chance chose nothing: nothing, its first word or a random one.
        content: JSON list of the ids of content words, which are chosen with probability `content_prob` (with
            `whole_word`, so is a word of which one token is among them): what a picture tells is in few of the words of
            a text ("Data Efficient Masked Language Modeling for Vision and Language", arXiv:2109.02040). Ids may stand
            in lists of alternatives, as left and right: what becomes a random word becomes one of its own list, so that
            the text alone does not give it away, and seen words are checked against the picture as hidden ones are
            guessed from it. tools/train_tokenizer.py writes both.
        content_prob: as `prob`, which may then be 0: these words alone are masked.

    Raises:
        ValueError: the probabilities are none, or `content` is no such list.
    """

    mask_id: int
    first_word: int
    prob: float = 0.15
    mask: float = 0.8
    random: float = 0.1
    whole_word: bool = False
    at_least_one: AtLeast = "none"
    content: str | None = None
    content_prob: float = 0.15

    def __post_init__(self) -> None:
        for prob in (self.prob, self.content_prob) if self.prob or self.content is None else (self.content_prob,):
            _check(prob, mask=self.mask, random=self.random)

    def __call__(self, text: Text, draw: Draw, vocab_size: int) -> tuple[Text, Bool[Tensor, "bt lt"]]:
        """The text to show, and which tokens were chosen.

        Raises:
            ValueError: the texts do not say which word a token belongs to.
        """
        if text.words is None:
            raise ValueError("masking needs `Text.words`, which every tokenizer of vl.data.tokenizers gives")
        length = text.ids.shape[1]
        draw = spread(draw, len(text.ids))
        coins, prob, word = (
            draw.fold("choose").uniform(length),
            self._prob(text.ids, vocab_size),
            text.words.clamp(min=0),
        )
        if self.whole_word:
            coins = coins.gather(1, word)
            prob = torch.zeros_like(prob).scatter_reduce(1, word, prob * (text.words >= 0), "amax").gather(1, word)
        chosen = _choose(text.mask & (text.words >= 0), coins, prob, self.at_least_one)
        fate = draw.fold("fate").uniform(length)
        words = self._random(draw.fold("word").bits(length), text.ids, vocab_size)
        ids = torch.where(chosen & (fate < self.mask + self.random), words, text.ids)
        ids = torch.where(chosen & (fate < self.mask), self.mask_id, ids)
        return replace(text, ids=ids), chosen

    def _prob(self, ids: Int[Tensor, "b l"], vocab_size: int) -> Float[Tensor, "b l"]:
        """That of each token."""
        if self.content is None:
            return torch.full(ids.shape, self.prob, device=ids.device)
        known, _, _ = _content(self.content, vocab_size)
        return torch.where(known.to(ids.device)[ids], self.content_prob, self.prob)

    def _random(self, bits: Int[Tensor, "b l"], ids: Int[Tensor, "b l"], vocab_size: int) -> Int[Tensor, "b l"]:
        """A random word for each token."""
        words = bits % (vocab_size - self.first_word) + self.first_word
        if self.content is None:
            return words
        _, alternatives, numbers = (tensor.to(ids.device) for tensor in _content(self.content, vocab_size))
        place = bits % numbers[ids].clamp(min=1)
        return torch.where(numbers[ids] > 0, alternatives[ids, place], words)


@cache
def _content(path: str, vocab_size: int) -> tuple[Bool[Tensor, " v"], Int[Tensor, "v most"], Int[Tensor, " v"]]:
    """Which tokens the JSON list names, the alternatives of each, and how many these are."""
    try:
        entries = msgspec.json.decode(Path(path).read_bytes(), type=list[int | list[int]])
    except (OSError, msgspec.MsgspecError) as error:
        raise ValueError(
            f"content: {path} is no JSON list of token ids ({error}); train_tokenizer.py --content writes one"
        ) from error
    lists = [entry for entry in entries if isinstance(entry, list)]
    ids = [id_ for entry in entries for id_ in (entry if isinstance(entry, list) else [entry])]
    if not ids or min(ids) < 0 or max(ids) >= vocab_size:
        raise ValueError(f"content: the ids of {path} are not those of a vocabulary of {vocab_size:,}")
    alternatives = torch.zeros(vocab_size, max(map(len, lists), default=1), dtype=torch.long)
    numbers = torch.zeros(vocab_size, dtype=torch.long)
    for group in lists:
        alternatives[group, : len(group)] = torch.tensor(group)
        numbers[group] = len(group)
    return torch.zeros(vocab_size, dtype=torch.bool).index_fill(0, torch.tensor(ids), True), alternatives, numbers


@dataclass(frozen=True)
class RegionMasking:
    """Each region is chosen with probability `prob`.

    A random feature is that of another region of the same picture, so that it does not depend on the batch (LXMERT
    takes one of the whole data set).

    Args:
        prob: of being chosen.
        zero, random: shares of the chosen regions whose feature is hidden (what takes its place is up to the model),
            and replaced by that of a random region; the rest stay.
        at_least_one: one region is chosen at random in a picture where chance chose none.
        overlap: regions whose intersection over union with a hidden one is larger are hidden too, but not chosen, as
            the paper of 12-in-1 has it (arXiv:1912.02315, section 3.3); None leaves them.

    Raises:
        ValueError: the probabilities are none.
    """

    prob: float = 0.15
    zero: float = 1.0
    random: float = 0.0
    at_least_one: bool = False
    overlap: float | None = None

    def __post_init__(self) -> None:
        _check(self.prob, zero=self.zero, random=self.random)

    def __call__(self, visual: Visual, draw: Draw) -> tuple[Visual, Bool[Tensor, "bv lv"]]:
        """The regions to show, and which were chosen.

        Raises:
            ValueError: there are no features to mask.
        """
        mask = real_regions(visual)
        size = mask.shape[1]
        draw = spread(draw, len(mask))
        least: AtLeast = "random" if self.at_least_one else "none"
        chosen = _choose(mask, draw.fold("choose").uniform(size), self.prob, least)
        fate = draw.fold("fate").uniform(size)
        hidden = chosen & (fate < self.zero)
        if self.overlap is not None:
            near = box_iou(visual.boxes) > self.overlap
            hidden = hidden | (near & hidden[:, None]).any(2) & mask & ~chosen
        other = draw.fold("other").integers(2**31, size) % mask.sum(1, keepdim=True).clamp(min=1)
        swapped = chosen & ~hidden & (fate < self.zero + self.random)
        place = torch.where(swapped, other, torch.arange(size, device=other.device))
        features = visual.features.gather(1, place[..., None].expand_as(visual.features))
        before = visual.hidden
        return replace(visual, features=features, hidden=hidden if before is None else hidden | before), chosen


def real_regions(visual: Visual) -> Bool[Tensor, "bv lv"]:
    """Where regions stand.

    Raises:
        ValueError: the batch holds no region features.
    """
    if visual.features is None:
        raise ValueError("regions can be masked only where the data hold their features; read shards with RegionView")
    if visual.mask is not None:
        return visual.mask
    return torch.ones(visual.features.shape[:2], dtype=torch.bool, device=visual.features.device)


def box_iou(boxes: Float[Tensor, "b l 4"]) -> Float[Tensor, "b l l"]:
    """Intersection over union of all boxes of a picture with each other."""
    low, high = boxes[..., :2], boxes[..., 2:]
    area = (high - low).prod(-1)
    sides = torch.minimum(high[:, :, None], high[:, None]) - torch.maximum(low[:, :, None], low[:, None])
    shared = sides.clamp(min=0).prod(-1)
    return shared / (area[:, :, None] + area[:, None] - shared).clamp(min=1e-9)


def spread(draw: Draw, rows: int) -> Draw:
    """The draw of some texts or pictures, from that of their examples, which have equally many each."""
    examples = len(draw.examples)
    if rows == examples:
        return draw
    assert rows % examples == 0
    index = torch.arange(rows, device=draw.examples.device)
    return draw.select(index // (rows // examples), index % (rows // examples))


def _choose(
    real: Bool[Tensor, "b l"], coins: Float[Tensor, "b l"], prob: float | Float[Tensor, "b l"], at_least_one: AtLeast
) -> Bool[Tensor, "b l"]:
    """The real places whose coin is below `prob`; where that is none, those with the coin of the one to choose."""
    chosen = real & (coins < prob)
    if at_least_one == "none":
        return chosen
    order = torch.arange(real.shape[1], device=real.device).expand_as(coins) if at_least_one == "first" else coins
    first = order.masked_fill(~real, 2**30).argmin(1, keepdim=True)
    spared = real & (coins == coins.gather(1, first))
    return torch.where(chosen.any(1, keepdim=True), chosen, spared)


def _check(prob: float, **shares: float) -> None:
    if not 0 < prob <= 1:
        raise ValueError(f"prob is {prob}; it must lie in (0, 1]")
    if min(shares.values()) < 0 or sum(shares.values()) > 1:
        named = ", ".join(f"{name} {share}" for name, share in shares.items())
        raise ValueError(f"shares are {named}; each must be at least 0, and their sum at most 1")
