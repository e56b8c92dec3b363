"""Sequences for two fine-tunings of CogView: captions (the picture first) and super-resolution (a coarse one first).

"CogView: Mastering Text-to-Image Generation via Transformers", arXiv:2105.13290, sections 3.1 and 3.3. Parameters have
the names of the sequences that text-to-image models are trained with, which start them.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from vl.batch import Batch
from vl.models.token_sequence import SIZES, CogViewTokens, DalleTokens, Tokens, join


class CogViewCaption(CogViewTokens):
    """[BASE] [BOI1] codes [EOI1] [ROI1] text [SEP]: train with `ARTokens(text_weight=1, image_weight=0)`."""

    def before(self, batch: Batch) -> Tokens:
        first = torch.zeros(len(batch.codes), 1, dtype=torch.long, device=batch.codes.device)
        return self.commands(len(batch.codes), [SIZES.get(self.side, "BASE"), "BOI1"], first)

    def picture(self, batch: Batch) -> Tokens:
        """All that stands before the text."""
        before = self.before(batch)
        image = self.image(batch.codes, before)
        end = self.commands(len(batch.codes), ["EOI1"], image.places[:, -1:] + 1)
        return join(before, image, end, start=before.ids.shape[1])

    def whole(self, batch: Batch) -> Tokens:
        self.check(batch.text)
        picture, text = self.picture(batch), batch.text
        ids = self.num_codes + text.ids
        last = text.mask & ~F.pad(text.mask[:, 1:], (0, 1))
        ids = ids.masked_fill(last, self.command("SEP"))
        ids[:, 0] = self.command("ROI1")
        places = picture.places[:, -1:] + 1 + torch.arange(ids.shape[1], device=ids.device)
        return join(picture, Tokens(ids, places, text.mask, 0), start=picture.start)

    def parts(self, x: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor]:
        first = tokens.start + self.num_image + 1
        return x[:, first:], x[:, :first]


class DalleCaption(DalleTokens):
    """Codes, then the text; image tokens are given, never predicted (`ARTokens(text_weight=1, image_weight=0)`)."""

    def picture(self, batch: Batch) -> Tokens:
        """All that stands before the text."""
        return self.image(batch.codes, None)

    def whole(self, batch: Batch) -> Tokens:
        self.check(batch.text)
        text = batch.text
        place = torch.arange(text.ids.shape[1], device=text.ids.device).expand_as(text.ids)
        return join(self.picture(batch), Tokens(self.num_codes + text.ids, place, text.mask, 0), start=0)

    def parts(self, x: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor]:
        return x[:, self.num_image :], x[:, :0]


class CogViewMagnify(CogViewTokens):
    """[ROI1] text [BASE] [BOI1] coarse codes [EOI1] [ROI2] [POS0] [BASE] [BOI2] fine codes [EOI2].

    `Batch.targets["coarse"]` holds the coarse codes, a quarter as many as `Batch.codes`; places begin anew at [ROI2].
    """

    end = "EOI2"

    def before(self, batch: Batch) -> Tokens:
        text = super().before(batch)
        coarse: Int[Tensor, "b n"] = batch.targets["coarse"]
        image = self.image(coarse, text)
        end = self.commands(len(coarse), ["EOI1"], image.places[:, -1:] + 1)
        names = ["ROI2", "POS0", SIZES.get(self.side, "BASE"), "BOI2"]
        again = self.commands(len(coarse), names, torch.zeros_like(coarse[:, :1]))
        length = sum(part.ids.shape[1] for part in (text, image, end, again))
        return join(text, image, end, again, start=length)
