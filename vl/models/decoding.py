"""Generation with a static cache: one new token a row and step.

Candidates of a prompt share the keys and values of what stands before the picture: they are computed and kept once.
Those of image tokens are written into memory that is reserved at the start, and read only where the layer's mask looks.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vl.batch import Batch
from vl.models.autoregressive import Autoregressive
from vl.models.image_masks import seen
from vl.models.token_sequence import Tokens


class LayerCache:
    """Keys and values of one layer: `before` once a prompt, `image` for each candidate."""

    def __init__(self, before: tuple[Tensor, Tensor], rows: int, length: int) -> None:
        self.before = before
        heads, width = before[0].shape[1], before[0].shape[3]
        self.image = tuple(before[0].new_zeros(rows, heads, length, width) for _ in range(2))

    def read(
        self, q: Float[Tensor, "b h e"], where: slice | Int[Tensor, " m"], hidden: Bool[Tensor, "p 1 1 t"] | None
    ) -> Float[Tensor, "b d"]:
        """Attention to all that stands before the picture, but what is `hidden`, and to the image tokens at `where`."""
        (keys, values), (image_keys, image_values) = self.before, (part[:, :, where] for part in self.image)
        q = q / sqrt(q.shape[2])
        prompts = q.unflatten(0, (len(keys), -1)).transpose(1, 2)
        before = prompts @ keys.transpose(2, 3)
        if hidden is not None:
            before = before.masked_fill(hidden, float("-inf"))
        image = q[:, :, None] @ image_keys.transpose(2, 3)
        scores = torch.cat([before.transpose(1, 2).flatten(0, 1)[:, :, None], image], dim=3)
        probs = scores.softmax(3)
        before, image = probs.split((keys.shape[2], image.shape[3]), dim=3)
        shared = before.squeeze(2).unflatten(0, (len(keys), -1)).transpose(1, 2) @ values
        out = shared.transpose(1, 2).flatten(0, 1) + (image @ image_values).squeeze(2)
        return out.flatten(1)


class Decoder:
    """The state of a generation: `candidates` pictures for each prompt of a batch, row by row (prompt, candidate).

    Args:
        model: in evaluation mode.
        batch: the prompts; `text`, and what else the model's sequence begins with.
        candidates: pictures of each prompt.
    """

    def __init__(self, model: Autoregressive, batch: Batch, candidates: int) -> None:
        self.model, self.candidates = model, candidates
        before = model.sequence.before(batch)
        self.rows = len(before.ids) * candidates
        self.hidden = None if bool(before.real.all()) else ~before.real[:, None, None]
        ids, places, real = (part[:, -1:].repeat_interleave(candidates, 0) for part in before[:3])
        self.last = Tokens(ids, places, real, 0)
        self.layers: list[Any] = list(model.layers)
        self.linear = Vector(model.layers) if self.rows == 1 else nn.Linear.__call__
        self.caches: list[LayerCache] = []
        self.filled = 0
        self.state = model.norm(self._fill(before)[:, -1]).repeat_interleave(candidates, 0)

    def _fill(self, before: Tokens) -> Float[Tensor, "p t d"]:
        """Run the prompts once and keep the keys and values of every layer."""
        model = self.model
        x = model.sequence.embed(before)
        for kind, block in zip(model.kinds, self.layers, strict=True):
            q, k, v = block.project(x)
            cached = LayerCache((k.contiguous(), v.contiguous()), self.rows, model.sequence.num_image)
            self.caches.append(cached)
            x = block.finish(x, model.attention(q, k, v, model.mask(kind, before)))
        return x

    def step(self, codes: Int[Tensor, " b"]) -> None:
        """Append an image token to every row; `state` then predicts the next."""
        model = self.model
        x = model.sequence.embed(model.sequence.image(codes[:, None], self.last, self.filled))[:, 0]
        where = {kind: seen(kind, self.filled, model.sequence.side) for kind in set(model.kinds)}
        for kind, block, cache in zip(model.kinds, self.layers, self.caches, strict=True):
            q, k, v = self.linear(block.qkv, block.norm_1(x)).unflatten(1, (3, block.heads, -1)).unbind(1)
            cache.image[0][:, :, self.filled], cache.image[1][:, :, self.filled] = k, v
            x = block.finish(x, cache.read(q, where[kind], self.hidden), self.linear)
        self.filled += 1
        self.state = model.norm(x)


class Vector:
    """The linear layers of some blocks, of one row: a copy of their weights lies column by column, which a product of a
    matrix and a vector reads twice as fast on the CPU as row by row, as they are trained."""

    def __init__(self, blocks: nn.Module) -> None:
        layers = (layer for layer in blocks.modules() if isinstance(layer, nn.Linear))
        self.weights = {layer: layer.weight.T.contiguous().T for layer in layers}

    def __call__(self, layer: nn.Linear, x: Float[Tensor, "1 i"]) -> Float[Tensor, "1 o"]:
        return torch.addmv(layer.bias, self.weights[layer], x[0])[None]
