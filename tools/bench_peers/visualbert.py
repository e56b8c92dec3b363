"""VisualBERT base, masked words and a pair's label: ours beside Hugging Face's `VisualBertForPreTraining`.

Same weights, same batch, no dropout; a quick run has two layers. Hugging Face pads to the longest text and picture of
the batch and predicts at every place; ours packs, and predicts where words were masked. Region features and masks
stand ready on both sides.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from math import log
from typing import Any

import torch
from bench_train import Case, Side
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import VisualBertConfig, VisualBertForPreTraining

from vl.batch import Batch, Text, Visual
from vl.checkpoints.visualbert import to_visualbert
from vl.models.base import VLModel
from vl.models.bert import BertEncoder
from vl.models.embed import TextEmbedder
from vl.models.heads_masked import TokenHead
from vl.models.poolers import FirstWordPooler
from vl.models.single_stream import SingleStream
from vl.models.visual_bert_regions import VisualBertRegions

BATCH = 16
IGNORED = -100


def cases(args: argparse.Namespace) -> Iterator[Case]:
    layers = 2 if args.quick else 12
    for regime in (args.regime,) if args.regime else ("ragged", "fixed"):
        batch, labels = masked_batch(args.batch, regime)
        regions = VisualBertRegions()
        model = SingleStream(TextEmbedder(dropout=0.0), regions, BertEncoder(layers, dropout=0.0), FirstWordPooler())
        ours = our_side(model, batch, labels, "two_captions", to_visualbert)
        peer = peer_side(ours, batch, labels, layers)
        yield Case("VisualBERT train step", regime, ours, peer, about(batch, regime))


def lengths(count: int, regime: str) -> tuple[Tensor, Tensor]:
    """Words and regions of each example: log-normal with sigma 0.6, or all the same."""
    if regime == "fixed":
        return torch.full((count,), 20), torch.full((count,), 36)
    sizes = []
    for mean, low, high in ((12, 4, 60), (36, 10, 100)):
        drawn = torch.empty(count).log_normal_(log(mean) - 0.6**2 / 2, 0.6)
        sizes.append(drawn.round().clamp(low, high).long())
    return sizes[0], sizes[1]


def masked_batch(count: int, regime: str) -> tuple[Batch, Tensor]:
    """A random batch and its labels: 15% of the words, at least one a text."""
    words, regions = lengths(count, regime)
    mask = torch.arange(int(words.max())) < words[:, None]
    seen = torch.arange(int(regions.max())) < regions[:, None]
    scored = mask & (torch.rand(mask.shape) < 0.15)
    scored[:, 1] = True
    ids = torch.randint(1000, 30000, mask.shape) * mask
    corners = torch.rand(*seen.shape, 2, 2).sort(dim=2).values.flatten(2)
    visual = Visual(features=torch.rand(*seen.shape, 2048) * seen[..., None], boxes=corners, mask=seen)
    batch = Batch(text=Text(ids, mask), visual=visual, matched=torch.rand(count) < 0.5, keys=("",) * count)
    return batch, torch.where(scored, ids, IGNORED)


def about(batch: Batch, regime: str) -> dict[str, Any]:
    """How much of a padded batch is padding."""
    real = int(batch.text.mask.sum() + batch.visual.mask.sum())
    places = batch.text.mask.numel() + batch.visual.mask.numel()
    return {"regime": regime, "real": real, "padded": places, "padded/real": places / real}


def our_side(model: VLModel, batch: Batch, labels: Tensor, match: str, export: Any) -> Side:
    """Ours: masked words and the label of the pair. `export` gives names of a state the peer's."""
    heads = nn.ModuleDict({"mlm": TokenHead(model.word_embedding), match: nn.Linear(model.width, 2)})
    whole = nn.ModuleDict({"model": model, "heads": heads})
    scored = labels != IGNORED

    def forward() -> tuple[Tensor, Mapping[str, Tensor]]:
        output = model(batch)
        logits = heads["mlm"](output.text[scored])
        match_logits = heads[match](output.pooled)
        loss = cross_entropy(logits.float(), labels[scored])
        return loss + cross_entropy(match_logits.float(), batch.matched.long()), {
            "words": logits,
            "match": match_logits,
        }

    def common(name: str, gradient: Tensor) -> tuple[str, Tensor]:
        return next(iter(export({name.removeprefix("model."): gradient}).items()))

    return Side(whole.train(), forward, common)


def export_all(ours: Side, export: Any) -> dict[str, Tensor]:
    """The weights of both, trunk and heads, by the peer's names."""
    return export({name.removeprefix("model."): value for name, value in ours.model.state_dict().items()})


def peer_side(ours: Side, batch: Batch, labels: Tensor, layers: int) -> Side:
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = VisualBertConfig(visual_embedding_dim=2048, num_hidden_layers=layers, **dropout)
    peer = VisualBertForPreTraining(config)
    peer.load_state_dict(export_all(ours, to_visualbert), strict=True)
    text, visual = batch.text, batch.visual
    arguments = {
        "input_ids": text.ids,
        "attention_mask": text.mask.long(),
        "visual_embeds": visual.features,
        "visual_attention_mask": visual.mask.long(),
        "visual_token_type_ids": torch.zeros(visual.mask.shape, dtype=torch.long),
        "labels": torch.cat([labels, torch.full(visual.mask.shape, IGNORED)], dim=1),
        "sentence_image_labels": batch.matched.long(),
    }
    scored = labels != IGNORED

    def forward() -> tuple[Tensor, Mapping[str, Tensor]]:
        output = peer(**arguments)
        words = output.prediction_logits[:, : labels.shape[1]][scored]
        return output.loss, {"words": words, "match": output.seq_relationship_logits}

    return Side(peer.train(), forward)
