"""Where words look: the attention from each word to each region, for people to see."""

from __future__ import annotations

from math import sqrt

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vl.batch import Batch
from vl.models.base import VLModel
from vl.models.bert import BertAttention
from vl.models.packing import Packing
from vl.models.single_stream import SingleStream


def words_to_regions(model: VLModel, batch: Batch) -> Float[Tensor, "layers b lt lv"]:
    """The share of each word's attention that goes to each region, in every layer where it may; the mean over heads.

    In a single stream the rest goes to other words, in ViLBERT to the picture as a whole. Text i stands with picture i.

    Raises:
        ValueError: the model has no such layer.
    """
    alone: list[Tensor] = []
    crossing: list[Tensor] = []

    def look(module: BertAttention, arguments: tuple, named: dict) -> None:
        names = ("x", "packing", "context", "context_packing", "mask")
        given = dict(zip(names, arguments, strict=False)) | named
        (alone if given.get("context") is None else crossing).append(attention_weights(module, **given))

    layers = [module for module in model.modules() if isinstance(module, BertAttention)]
    hooks = [layer.register_forward_pre_hook(look, with_kwargs=True) for layer in layers]
    try:
        with torch.inference_mode():
            model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    # Where two streams meet, the words look at the regions first, then the regions at the words.
    found = alone if isinstance(model, SingleStream) else crossing[::2]
    if not found:
        raise ValueError(f"{type(model).__name__} has no layer in which words look at regions")
    words, regions = batch.text.ids.shape[1], batch.visual.features.shape[1]
    return torch.stack([weights[:, :words, -regions:] for weights in found])


def attention_weights(
    attention: BertAttention,
    x: Float[Tensor, "n d"],
    packing: Packing,
    context: Float[Tensor, "m c"] | None = None,
    context_packing: Packing | None = None,
    mask: Bool[Tensor, "b 1 l l"] | None = None,
) -> Float[Tensor, "b lq l"]:
    """The attention probabilities of a layer, the mean over its heads; zero in the padding."""
    context, seen = (x, packing) if context is None else (context, context_packing)
    q, k = (
        rows.pad(project(y)).unflatten(2, (attention.heads, -1)).transpose(1, 2)
        for rows, project, y in ((packing, attention.query, x), (seen, attention.key, context))
    )
    scores = q @ k.transpose(2, 3) / sqrt(q.shape[-1])
    allowed = seen.keys(packing) if mask is None else mask
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf"))
    probs = scores.softmax(dim=-1).nan_to_num().mean(dim=1)
    return probs if packing.mask is None else probs * packing.mask[..., None]
