"""Generation with a static cache: one new token a row and step.

Candidates of a prompt share the keys and values of what stands before the picture: they are computed and kept once.
Those of image tokens are written into memory that is reserved at the start, and read only where the layer's mask looks.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vl.batch import Batch
from vl.models.autoregressive import Autoregressive
from vl.models.image_masks import seen
from vl.models.token_sequence import Tokens

#: Rows of a step, at most, for which `SplitProduct` was found faster.
FEW = 16


class LayerCache:
    """Keys and values of one layer, of what stands before the picture (`t` places) and of its tokens so far."""

    def write(self, k: Float[Tensor, "b h e"], v: Float[Tensor, "b h e"], at: int) -> None:
        """Keep those of image token number `at`."""
        raise NotImplementedError

    def read(
        self, q: Float[Tensor, "b h e"], where: slice | Int[Tensor, " m"], hidden: Bool[Tensor, "p 1 1 t"] | None
    ) -> Float[Tensor, "b d"]:
        """Attention to all that stands before the picture, but what is `hidden`, and to the image tokens at `where`."""
        raise NotImplementedError


class SingleCache(LayerCache):
    """Of one candidate for each prompt: all that a row may look at lies in one piece."""

    def __init__(self, before: tuple[Tensor, Tensor], length: int) -> None:
        self.start = before[0].shape[2]
        self.parts = tuple(F.pad(part, (0, 0, 0, length)) for part in before)

    def write(self, k: Float[Tensor, "b h e"], v: Float[Tensor, "b h e"], at: int) -> None:
        for part, new in zip(self.parts, (k, v), strict=True):
            part[:, :, self.start + at] = new

    def read(
        self, q: Float[Tensor, "b h e"], where: slice | Int[Tensor, " m"], hidden: Bool[Tensor, "b 1 1 t"] | None
    ) -> Float[Tensor, "b d"]:
        keys, values = (self._at(part, where) for part in self.parts)
        mask = None if hidden is None else F.pad(~hidden, (0, keys.shape[2] - self.start), value=True)
        return F.scaled_dot_product_attention(q[:, :, None], keys, values, mask).flatten(1)

    def _at(self, part: Float[Tensor, "b h l e"], where: slice | Int[Tensor, " m"]) -> Float[Tensor, "b h k e"]:
        if isinstance(where, slice) and where.start == 0 and where.step is None:
            return part[:, :, : self.start + where.stop]
        return torch.cat([part[:, :, : self.start], part[:, :, self.start :][:, :, where]], dim=2)


class SharedCache(LayerCache):
    """Of several candidates for each prompt: `before` once a prompt, `image` for each candidate."""

    def __init__(self, before: tuple[Tensor, Tensor], candidates: int, length: int) -> None:
        self.before = before
        prompts, heads, _, width = before[0].shape
        self.image = tuple(before[0].new_zeros(prompts * candidates, heads, length, width) for _ in range(2))

    def write(self, k: Float[Tensor, "b h e"], v: Float[Tensor, "b h e"], at: int) -> None:
        self.image[0][:, :, at], self.image[1][:, :, at] = k, v

    def read(
        self, q: Float[Tensor, "b h e"], where: slice | Int[Tensor, " m"], hidden: Bool[Tensor, "p 1 1 t"] | None
    ) -> Float[Tensor, "b d"]:
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


def cache_of(before: tuple[Tensor, Tensor], candidates: int, length: int) -> LayerCache:
    """For `candidates` pictures of `length` tokens after each prompt, whose keys and values (p h t e) are `before`."""
    return SingleCache(before, length) if candidates == 1 else SharedCache(before, candidates, length)


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
        self.linear: dict[nn.Linear, Callable[[Tensor], Tensor]] = {
            layer: layer for layer in model.layers.modules() if isinstance(layer, nn.Linear)
        }
        self.head: Callable[[Tensor], Tensor] = model.sequence.code_logits
        if self.rows <= FEW and before.ids.device.type == "cpu":
            self.linear = {layer: SplitProduct(layer.weight, layer.bias, self.rows) for layer in self.linear}
            self.head = SplitProduct(*model.sequence.code_head(), self.rows)
        self.caches: list[LayerCache] = []
        self.filled = 0
        self.state = model.norm(self._fill(before)[:, -1]).repeat_interleave(candidates, 0)

    def _fill(self, before: Tokens) -> Float[Tensor, "p t d"]:
        """Run the prompts once and keep the keys and values of every layer."""
        model = self.model
        x = model.sequence.embed(before)
        for kind, block in zip(model.kinds, self.layers, strict=True):
            q, k, v = block.project(x)
            self.caches.append(cache_of((k.contiguous(), v.contiguous()), self.candidates, model.sequence.num_image))
            x = block.finish(x, model.attention(q, k, v, model.mask(kind, before)))
        return x

    def step(self, codes: Int[Tensor, " b"]) -> None:
        """Append an image token to every row; `state` then predicts the next."""
        model = self.model
        x = model.sequence.embed(model.sequence.image(codes[:, None], self.last, self.filled))[:, 0]
        where = {kind: seen(kind, self.filled, model.sequence.side) for kind in set(model.kinds)}
        for kind, block, cache in zip(model.kinds, self.layers, self.caches, strict=True):
            q, k, v = self._linear(block.qkv, block.norm_1(x)).unflatten(1, (3, block.heads, -1)).unbind(1)
            cache.write(k, v, self.filled)
            x = block.finish(x, cache.read(q, where[kind], self.hidden), self._linear)
        self.filled += 1
        self.state = model.norm(x)

    def logits(self) -> Float[Tensor, "b k"]:
        """Over the codes that may follow."""
        return self.head(self.state)

    def _linear(self, layer: nn.Linear, x: Float[Tensor, "b i"]) -> Float[Tensor, "b o"]:
        return self.linear[layer](x)


class SplitProduct:
    """`F.linear` of a few rows on the CPU: every thread computes its share of the outputs.

    The matrix product itself leaves threads idle when there is next to nothing of `x` to share, and is up to four times
    as slow. For one row a wide weight is copied, column by column: it is then read faster still.
    """

    def __init__(self, weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None, rows: int) -> None:
        threads = torch.get_num_threads()
        self.shares = weight.unflatten(0, (1 if len(weight) % threads else threads, -1))
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        self.bias = bias.view(len(self.shares), -1, 1)
        self.by_column = rows == 1 and weight.shape[0] > weight.shape[1]
        if self.by_column:
            self.shares = self.shares.mT.contiguous()

    def __call__(self, x: Float[Tensor, "b i"]) -> Float[Tensor, "b o"]:
        x = x.expand(len(self.shares), -1, -1)
        if self.by_column:
            return torch.baddbmm(self.bias.mT, x, self.shares).flatten()[None]
        return torch.baddbmm(self.bias, self.shares, x.mT).flatten(0, 1).T
