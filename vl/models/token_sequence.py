"""Texts and image codes as one sequence of tokens: what DALL-E and CogView do differently.

One vocabulary: image codes first, then text tokens, then special ones. Texts come from any tokenizer that puts one
token before and one after them. A sequence ends its text at the same place in every row, so that image tokens stand
below each other.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vl.batch import Batch, Text


class Tokens(NamedTuple):
    """Sequences of tokens: their ids, where each stands, which are real, and the column of the first image token."""

    ids: Int[Tensor, "b l"]
    places: Int[Tensor, "b l"]
    real: Bool[Tensor, "b l"]
    start: int

    def inputs(self) -> Tokens:
        """All but the last, which nothing follows."""
        return Tokens(self.ids[:, :-1], self.places[:, :-1], self.real[:, :-1], self.start)


def join(*parts: Tokens, start: int) -> Tokens:
    """Tokens one after another."""
    ids, places, real = (torch.cat([part[i] for part in parts], 1) for i in range(3))  # type: ignore[misc]
    return Tokens(ids, places, real, start)


class TokenSequence(nn.Module):
    """Embeds tokens and predicts them.

    Args:
        width: of the transformer.
        text_vocab: entries of the text tokenizer.
        text_length: tokens of the longest text, with the one before and the one after it.
        num_codes: of the image tokenizer.
        side: codes a side of the picture.
        num_special: tokens of the sequence itself.
        codes_of: the fingerprint of the image tokenizer; generation refuses another. Empty: not checked.
    """

    def __init__(
        self, width: int, text_vocab: int, text_length: int, num_codes: int, side: int, num_special: int, codes_of: str
    ) -> None:
        super().__init__()
        self.width, self.text_vocab, self.text_length = width, text_vocab, text_length
        self.num_codes, self.side, self.codes_of = num_codes, side, codes_of
        self.num_image = side * side
        self.vocab_size = num_codes + text_vocab + num_special
        self.tokens = nn.Embedding(self.vocab_size, width)
        nn.init.normal_(self.tokens.weight, std=0.02)

    def before(self, batch: Batch) -> Tokens:
        """What stands before the first image token.

        Raises:
            ValueError: a text is longer than `text_length`.
        """
        raise NotImplementedError

    def image(self, codes: Int[Tensor, "b n"], before: Tokens | None, first: int = 0) -> Tokens:
        """Codes number `first` and on of a picture, as the tokens that follow what stands before the picture."""
        raise NotImplementedError

    def whole(self, batch: Batch) -> Tokens:
        """The sequence that is learnt."""
        before = self.before(batch)
        return join(before, self.image(batch.codes, before), start=before.ids.shape[1])

    def parts(self, x: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """What belongs to the prediction of text tokens, and of image tokens: the columns of `x`, one fewer than
        `tokens` has, are for its second and all later tokens."""
        return x[:, : tokens.start - 1], x[:, tokens.start - 1 :]

    def embed(self, tokens: Tokens) -> Float[Tensor, "b l d"]:
        raise NotImplementedError

    def text_logits(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b v"]:
        """Over the whole vocabulary."""
        raise NotImplementedError

    def image_logits(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b v"]:
        """For training: over what the system's loss compares image tokens with; codes come first."""
        raise NotImplementedError

    def code_logits(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b k"]:
        """For generation: over image codes alone."""
        return F.linear(x, *self.code_head())

    def code_head(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"] | None]:
        """Weight and bias of `code_logits`."""
        raise NotImplementedError

    def check(self, text: Text) -> None:
        if text.ids.shape[1] > self.text_length:
            raise ValueError(
                f"a text of {text.ids.shape[1]} tokens is longer than text_length={self.text_length}; lower the "
                "tokenizer's context_length or raise text_length"
            )


class DalleTokens(TokenSequence):
    """DALL-E's: a text of fixed length with a learned pad token for each place, then codes with row and column.

    Text tokens are compared with text tokens, codes with codes.
    """

    def __init__(
        self,
        width: int,
        text_vocab: int = 16384,
        text_length: int = 256,
        num_codes: int = 8192,
        side: int = 32,
        codes_of: str = "",
    ) -> None:
        super().__init__(width, text_vocab, text_length, num_codes, side, text_length, codes_of)
        self.text_position_embedding = nn.Embedding(text_length, width)
        self.row_position_embedding = nn.Embedding(side, width)
        self.column_position_embedding = nn.Embedding(side, width)
        self.head = nn.Linear(width, self.vocab_size)
        places = (self.text_position_embedding, self.row_position_embedding, self.column_position_embedding)
        for table in (*places, self.head):
            nn.init.normal_(table.weight, std=0.02)

    def before(self, batch: Batch) -> Tokens:
        text = batch.text
        self.check(text)
        extra = self.text_length - text.ids.shape[1]
        ids, mask = F.pad(text.ids, (0, extra)), F.pad(text.mask, (0, extra))
        place = torch.arange(self.text_length, device=ids.device).expand_as(ids)
        ids = self.num_codes + torch.where(mask, ids, self.text_vocab + place)
        return Tokens(ids, place, torch.ones_like(mask), self.text_length)

    def image(self, codes: Int[Tensor, "b n"], before: Tokens | None, first: int = 0) -> Tokens:
        place = self.text_length + first + torch.arange(codes.shape[1], device=codes.device)
        return Tokens(codes, place.expand_as(codes), torch.ones_like(codes, dtype=torch.bool), 0)

    def embed(self, tokens: Tokens) -> Float[Tensor, "b l d"]:
        place = tokens.places[0]
        image = (place - self.text_length).clamp(min=0)
        images = self.row_position_embedding(image // self.side) + self.column_position_embedding(image % self.side)
        texts = self.text_position_embedding(place.clamp(max=self.text_length - 1))
        return self.tokens(tokens.ids) + torch.where((place < self.text_length)[:, None], texts, images)

    def text_logits(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b v"]:
        logits = self.head(x)
        return logits.index_fill(-1, torch.arange(self.num_codes, device=x.device), float("-inf"))

    def image_logits(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b v"]:
        return self.code_logits(x)

    def code_head(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
        return self.head.weight[: self.num_codes], self.head.bias[: self.num_codes]


#: CogView's command tokens, in the order of its vocabulary.
COMMANDS = (
    *("PAD", "BOI1", "BOI2", "BOI3", "EOI1", "EOI2", "EOI3", "ROI1", "ROI2", "ROI3", "SEP", "MASK", "CLS", "ENC"),
    *("TINY", "SMALL", "BASE", "BIG"),
    *(f"POS{i}" for i in range(9)),
)
#: The command that names the size of a picture, by codes a side.
SIZES = {8: "TINY", 16: "SMALL", 32: "BASE", 64: "BIG"}


class CogViewTokens(TokenSequence):
    """CogView's: [ROI1] text [BASE] [BOI1] codes [EOI1], one table of positions, the output tied to the input.

    Shorter texts begin further right. Every token is compared with the whole vocabulary.

    Args:
        positions: entries of the table of positions; None: as many as are needed.
        aligned: positions are counted so that a code has the same one whatever the length of its text. Off, as
            released: they are counted from the first token, and a model has to learn which code of the picture a
            position is after texts of each length.
    """

    #: The command after the last code.
    end = "EOI1"

    def __init__(
        self,
        width: int,
        text_vocab: int = 50000,
        text_length: int = 63,
        num_codes: int = 8192,
        side: int = 32,
        codes_of: str = "",
        positions: int | None = None,
        aligned: bool = False,
    ) -> None:
        super().__init__(width, text_vocab, text_length, num_codes, side, len(COMMANDS), codes_of)
        self.aligned = aligned
        self.position_embedding = nn.Embedding(positions or text_length + self.num_image + 2, width)
        nn.init.normal_(self.position_embedding.weight, std=0.02)

    def command(self, name: str) -> int:
        return self.num_codes + self.text_vocab + COMMANDS.index(name)

    def before(self, batch: Batch) -> Tokens:
        text = batch.text
        self.check(text)
        lengths = text.mask.sum(1, keepdim=True)
        longest = text.ids.shape[1]
        # Shifted to the right edge; what stood before and after the text becomes [ROI1] and the size.
        place = torch.arange(longest, device=text.ids.device) - (longest - lengths).clamp(max=longest - 2)
        ids = self.num_codes + text.ids.gather(1, place.clamp(min=0))
        ids[:, -1] = self.command(SIZES.get(self.side, "BASE"))
        ids = ids.masked_fill(place == 0, self.command("ROI1")).masked_fill(place < 0, self.command("PAD"))
        real = place >= 0
        if self.aligned:
            place = place + self.text_length - 1 - place[:, -1:]
        text_part = Tokens(ids, place.clamp(min=0), real, longest + 1)
        return join(text_part, self.commands(lengths.shape[0], ["BOI1"], place[:, -1:] + 1), start=longest + 1)

    def commands(self, rows: int, names: list[str], first: Int[Tensor, "b 1"]) -> Tokens:
        """Command tokens in every row, the first at the place `first`."""
        ids = torch.tensor([self.command(name) for name in names], device=first.device).expand(rows, -1)
        return Tokens(ids, first + torch.arange(len(names), device=first.device), torch.ones_like(ids).bool(), 0)

    def image(self, codes: Int[Tensor, "b n"], before: Tokens | None, first: int = 0) -> Tokens:
        places = before.places[:, -1:] + 1 + first + torch.arange(codes.shape[1], device=codes.device)
        return Tokens(codes, places, torch.ones_like(codes, dtype=torch.bool), 0)

    def whole(self, batch: Batch) -> Tokens:
        tokens = super().whole(batch)
        return join(tokens, self.commands(len(tokens.ids), [self.end], tokens.places[:, -1:] + 1), start=tokens.start)

    def embed(self, tokens: Tokens) -> Float[Tensor, "b l d"]:
        return self.tokens(tokens.ids) + self.position_embedding(tokens.places)

    def text_logits(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b v"]:
        return F.linear(x, self.tokens.weight)

    def image_logits(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b v"]:
        return self.text_logits(x)

    def code_head(self) -> tuple[Float[Tensor, "k d"], None]:
        return self.tokens.weight[: self.num_codes], None
