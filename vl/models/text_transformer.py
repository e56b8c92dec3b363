"""CLIP's causal text transformer (arXiv:2103.00020, section 2.4), by its sizes."""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor

from vl.batch import Text
from vl.models.open_clip_text import OpenClipText


class TextTransformer(OpenClipText):
    """The text transformer of CLIP in any size, for any tokenizer: the last real token of a text is pooled.

    Args:
        vocab_size: number of token ids.
        context_length: tokens a text may have, start and end included.
        width, layers, heads: of the transformer.
        embed_dim: width of the projection.
        frozen: train none of it.
    """

    def __init__(
        self,
        vocab_size: int = 49408,
        context_length: int = 77,
        width: int = 512,
        layers: int = 12,
        heads: int = 8,
        embed_dim: int = 512,
        frozen: bool = False,
    ) -> None:
        text = {"vocab_size": vocab_size, "context_length": context_length, "width": width}
        text |= {"layers": layers, "heads": heads}
        super().__init__({"embed_dim": embed_dim, "vision_cfg": {}, "text_cfg": text}, frozen=frozen)

    def pooled_token(self, text: Text) -> Int[Tensor, " b"]:
        return text.mask.sum(1) - 1
