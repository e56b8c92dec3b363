"""Text-to-image training from pixels: a frozen image tokenizer encodes each batch on the fly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from vl.batch import Batch
from vl.checkpoints.bundle import load
from vl.draw import Draw
from vl.models.image_tokenizer import ImageTokenizer
from vl.objectives.ar_tokens import ARTokens


class ARTokensOfPixels(ARTokens):
    """`ARTokens` whose codes are made in the step, by a tokenizer that belongs to no module: neither the optimiser nor
    the running mean nor sharding see it, and no checkpoint of the run holds it.

    Args:
        tokenizer: checkpoint of the image tokenizer, loaded at the first batch.
        text_weight, image_weight, drop_text, noise: as in `ARTokens`.
    """

    def __init__(
        self,
        tokenizer: str,
        text_weight: float | None = None,
        image_weight: float | None = None,
        drop_text: float = 0.0,
        noise: float = 0.0,
    ) -> None:
        super().__init__(text_weight, image_weight, drop_text, noise)
        self.checkpoint = tokenizer
        # In a tuple, so that it does not become a submodule.
        self._frozen: tuple[ImageTokenizer, ...] = ()

    def corrupt(self, batch: Batch, draw: Draw) -> tuple[Batch, Any]:
        """As `ARTokens`, of codes made here."""
        pixels = batch.visual.pixels
        with torch.no_grad():
            codes = self.tokenizer(pixels.device).encode(pixels)
        return super().corrupt(replace(batch, codes=codes), draw)

    def tokenizer(self, device: torch.device) -> ImageTokenizer:
        """The frozen tokenizer on a device.

        Raises:
            ValueError: the checkpoint is no image tokenizer, or not the one the model's codes are named after.
        """
        if not self._frozen:
            model = load(self.checkpoint).model
            if not isinstance(model, ImageTokenizer):
                raise ValueError(f"{self.checkpoint}: {type(model).__name__} is no image tokenizer")
            if self.sequence.codes_of not in ("", model.fingerprint):
                raise ValueError(
                    f"{self.checkpoint} is the tokenizer {model.fingerprint}, not {self.sequence.codes_of}"
                )
            self._frozen = (model.eval().requires_grad_(False).to(device),)
        return self._frozen[0]
