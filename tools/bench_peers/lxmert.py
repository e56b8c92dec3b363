"""LXMERT base (9/5/5), masked words and matching: ours beside Hugging Face's `LxmertForPreTraining`.

Same weights, same batch, no dropout, no answer or object heads on either side. Hugging Face pads to the longest text
and picture of the batch and predicts at every word; ours packs, and predicts where words were masked.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping

from bench_peers.visualbert import BATCH, IGNORED, about, export_all, masked_batch, our_side
from bench_train import Case, Side
from torch import Tensor
from transformers import LxmertConfig, LxmertForPreTraining

from vl.batch import Batch
from vl.checkpoints.lxmert import to_lxmert
from vl.models.bert import BertEncoder
from vl.models.cross_modality import CrossModality
from vl.models.dual_stream import DualStream
from vl.models.embed import TextEmbedder
from vl.models.lxmert_regions import LxmertRegions
from vl.models.poolers import FirstWordPooler

__all__ = ["BATCH", "cases"]


def cases(args: argparse.Namespace) -> Iterator[Case]:
    language, relations, cross = (2, 1, 1) if args.quick else (9, 5, 5)
    for regime in (args.regime,) if args.regime else ("ragged", "fixed"):
        batch, labels = masked_batch(args.batch, regime)
        streams = (BertEncoder(layers, dropout=0.0) for layers in (language, relations))
        encoder = CrossModality(*streams, cross, dropout=0.0)
        text, regions = TextEmbedder(padding_idx=0, dropout=0.0), LxmertRegions(dropout=0.0)
        model = DualStream(text, regions, encoder, FirstWordPooler())
        ours = our_side(model, batch, labels, "itm", to_lxmert)
        peer = peer_side(ours, batch, labels, (language, relations, cross))
        yield Case("LXMERT train step", regime, ours, peer, about(batch, regime))


def peer_side(ours: Side, batch: Batch, labels: Tensor, layers: tuple[int, int, int]) -> Side:
    sizes = dict(zip(("l_layers", "r_layers", "x_layers"), layers, strict=True))
    heads = {"task_qa": False, "task_obj_predict": False}
    config = LxmertConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **heads, **sizes)
    peer = LxmertForPreTraining(config)
    peer.load_state_dict(export_all(ours, to_lxmert), strict=True)
    text, visual = batch.text, batch.visual
    arguments = {
        "input_ids": text.ids,
        "attention_mask": text.mask.float(),
        "visual_feats": visual.features,
        "visual_pos": visual.boxes,
        "visual_attention_mask": visual.mask.float(),
        "labels": labels,
        "matched_label": batch.matched.long(),
    }
    scored = labels != IGNORED

    def forward() -> tuple[Tensor, Mapping[str, Tensor]]:
        output = peer(**arguments)
        words = output.prediction_logits[scored]
        return output.loss, {"words": words, "match": output.cross_relationship_score}

    return Side(peer.train(), forward)
