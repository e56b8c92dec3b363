"""One causal transformer over text and image tokens: DALL-E and CogView.

"Zero-Shot Text-to-Image Generation", arXiv:2102.12092, section 2.2; "CogView: Mastering Text-to-Image Generation via
Transformers", arXiv:2105.13290, section 2.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vl.batch import Batch, Encoded
from vl.models.base import VLModel
from vl.models.causal_attention import Attention, SparseAttention
from vl.models.causal_block import CausalBlock, MaxScaledNorm
from vl.models.image_masks import Kind, image_mask, pattern
from vl.models.token_sequence import Tokens, TokenSequence


class Autoregressive(VLModel):
    """Predicts every token from those before it.

    `Encoded.text` holds the states that predict text tokens, `Encoded.visual` those that predict image tokens.

    Args:
        sequence: how texts and codes become tokens; its width is the transformer's.
        layers, heads: of the transformer.
        patterns: the attention of each layer: `dalle`, or kinds (full, row, column, conv) that are repeated.
        attention: plain, relaxed or sparse.
        sandwich: CogView's sandwich LayerNorm.
        max_scaled: CogView's LayerNorm of scaled inputs.
        dropout: on what each branch adds, and on the embeddings.
        checkpointing: keep the blocks' inputs alone and compute the rest again in the backward pass.
    """

    provides = frozenset({"text", "visual", "tokens"})
    block_classes = (CausalBlock,)

    def __init__(
        self,
        sequence: TokenSequence,
        layers: int,
        heads: int,
        patterns: Literal["dalle"] | Sequence[Kind] = ("full",),
        attention: Attention | None = None,
        sandwich: bool = False,
        max_scaled: bool = False,
        dropout: float = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.sequence, self.width = sequence, sequence.width
        self.vocab_size, self.context_length = sequence.text_vocab, sequence.text_length
        self.kinds, self.attention = pattern(patterns, layers), attention or Attention()
        self.checkpointing = checkpointing
        norm = MaxScaledNorm if max_scaled else nn.LayerNorm
        blocks = [CausalBlock(self.width, heads, norm, sandwich, dropout) for _ in range(layers)]
        for block in blocks:
            block.reset_parameters(layers)
        self.layers = nn.ModuleList(blocks)
        self.norm, self.dropout = norm(self.width), nn.Dropout(dropout)

    def forward(self, batch: Batch) -> Encoded:
        tokens = self.sequence.whole(batch)
        x = self.run(tokens.inputs(), self._pivots(tokens.inputs(), batch))
        text, image = self.sequence.parts(x, tokens)
        return Encoded(text=text, visual=image)

    def run(self, tokens: Tokens, pivots: Int[Tensor, "b p"] | None = None) -> Float[Tensor, "b l d"]:
        """The normed states of some tokens."""
        x = self.dropout(self.sequence.embed(tokens))
        masks = {kind: self.mask(kind, tokens) for kind in set(self.kinds)}
        for kind, block in zip(self.kinds, self.layers, strict=True):
            call = partial(checkpoint, block, use_reentrant=False) if self.checkpointing and self.training else block
            x = call(x, self.attention, masks[kind], pivots)
        return self.norm(x)

    def mask(self, kind: Kind, tokens: Tokens) -> Bool[Tensor, "#b 1 l l"]:
        """Who may look at whom; a token that is not real sees itself alone."""
        length = tokens.ids.shape[1]
        seen = _mask(kind, tokens.start, self.sequence.side, length).to(tokens.ids.device)[None, None]
        if bool(tokens.real.all()):
            return seen
        itself = torch.eye(length, dtype=torch.bool, device=seen.device)
        return seen & tokens.real[:, None, None] | itself

    def _pivots(self, tokens: Tokens, batch: Batch) -> Int[Tensor, "b p"] | None:
        """Sparse training draws its pivots here; they are a function of the examples' draw."""
        if not (self.training and isinstance(self.attention, SparseAttention)):
            return None
        place = torch.arange(tokens.ids.shape[1], device=tokens.ids.device)
        is_text = ((place < tokens.start) | (place >= tokens.start + self.sequence.num_image)).expand_as(tokens.real)
        uniform = batch.draw.fold("pivots").uniform(tokens.ids.shape[1])
        return self.attention.draw_pivots(is_text & tokens.real, ~tokens.real, uniform)

    def depth_of(self, name: str) -> float:
        part = name.split(".")
        return (int(part[1]) + 1) / (len(self.layers) + 1) if part[0] == "layers" else float(part[0] == "norm")


@lru_cache(maxsize=64)
def _mask(kind: Kind, num_text: int, side: int, length: int) -> Bool[Tensor, "l l"]:
    """The first `length` rows and columns; what stands after the picture sees everything before it."""
    mask = image_mask(kind, num_text, side)[:length, :length]
    extra = length - len(mask)
    if extra > 0:
        mask = torch.nn.functional.pad(mask, (0, extra, 0, extra))
        mask[-extra:] = torch.ones(extra, length, dtype=torch.bool).tril(length - extra)
    return mask
