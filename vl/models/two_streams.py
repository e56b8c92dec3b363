"""What the encoders of `DualStream` are: two stacks of layers, and blocks in which they meet."""

from __future__ import annotations

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor, nn

from vl.models.bert import BertEncoder
from vl.models.packing import Packing


class TwoStreams(nn.Module):
    """Two streams that run alone first, so that a text or picture of several rows does so once, and then meet.

    `text_alone` and `visual_alone` are the numbers of layers before they meet.
    """

    text_alone: int
    visual_alone: int

    def __init__(self, text: BertEncoder, visual: BertEncoder) -> None:
        super().__init__()
        self.text, self.visual = text, visual

    def run_text(self, x: Float[Tensor, "n d"], packing: Packing) -> Float[Tensor, "n d"]:
        for layer in self.text.layers[: self.text_alone]:
            x = layer(x, packing)
        return x

    def run_visual(self, x: Float[Tensor, "n dv"], packing: Packing) -> Float[Tensor, "n dv"]:
        for layer in self.visual.layers[: self.visual_alone]:
            x = layer(x, packing)
        return x

    def forward(
        self, text: Float[Tensor, "n d"], text_packing: Packing, visual: Float[Tensor, "m dv"], visual_packing: Packing
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m dv"]]:
        """Both streams from where they meet to the end."""
        raise NotImplementedError

    def first_word(
        self, text: Float[Tensor, "n d"], text_packing: Packing, visual: Float[Tensor, "m dv"], visual_packing: Packing
    ) -> Float[Tensor, "b d"]:
        """The first word of every row at the end."""
        return text_packing.first(self(text, text_packing, visual, visual_packing)[0])

    def steps(self) -> Iterator[tuple[nn.Module, ...]]:
        """The blocks in order of execution; those of one step do not depend on each other."""
        raise NotImplementedError
