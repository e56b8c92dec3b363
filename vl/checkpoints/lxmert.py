"""LXMERT's checkpoints: the original (`*_LXRT.pth` of airsplay/lxmert, with `module.` in front) and Hugging Face's.

The layouts follow from code; no real file has been opened here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from vl.checkpoints.bert import EMBEDDINGS, LAYER, TOKEN_HEAD, TRANSFORM, under
from vl.checkpoints.names import HEADS, Names, State, rename

_ATTENTION = {"query": "query", "key": "key", "value": "value"}
_OUTPUT = {"dense": "dense", "LayerNorm": "norm"}
_CROSS, _OURS = "lxmert.encoder.x_layers.*.", "encoder.cross_layers.*."


def _own_layer(theirs: str, ours: str) -> dict[str, str]:
    """The layer of one stream inside a cross-modality layer."""
    return {
        **under(f"{_CROSS}{theirs}_self_att.self.", f"{_OURS}{ours}.attention.", _ATTENTION),
        **under(f"{_CROSS}{theirs}_self_att.output.", f"{_OURS}{ours}.attention.", _OUTPUT),
        f"{_CROSS}{theirs}_inter.dense": f"{_OURS}{ours}.intermediate",
        f"{_CROSS}{theirs}_output.dense": f"{_OURS}{ours}.output",
        f"{_CROSS}{theirs}_output.LayerNorm": f"{_OURS}{ours}.norm",
    }


def _answer_head(theirs: str, ours: str) -> dict[str, str]:
    return under(theirs, f"{HEADS}{ours}.", {"0": "transform.dense", "2": "transform.norm", "3": "decoder"})


NAMES = Names(
    "LXMERT",
    {
        **under("lxmert.embeddings.", "text.", EMBEDDINGS),
        "lxmert.encoder.visn_fc.visn_fc": "visual.projection",
        "lxmert.encoder.visn_fc.visn_layer_norm": "visual.feature_norm",
        "lxmert.encoder.visn_fc.box_fc": "visual.geometry_projection",
        "lxmert.encoder.visn_fc.box_layer_norm": "visual.geometry_norm",
        **under("lxmert.encoder.layer.*.", "encoder.text.layers.*.", LAYER),
        **under("lxmert.encoder.r_layers.*.", "encoder.visual.layers.*.", LAYER),
        **under(f"{_CROSS}visual_attention.att.", f"{_OURS}cross.", _ATTENTION),
        **under(f"{_CROSS}visual_attention.output.", f"{_OURS}cross.", _OUTPUT),
        **_own_layer("lang", "text"),
        **_own_layer("visn", "visual"),
        "lxmert.pooler.dense": "pooler.dense",
        **TOKEN_HEAD,
        "cls.seq_relationship": f"{HEADS}itm",
        **under("obj_predict_head.transform.", f"{HEADS}regions.transform.", TRANSFORM),
        **under("obj_predict_head.decoder_dict.", f"{HEADS}regions.decoders.", {k: k for k in ("obj", "attr", "feat")}),
        **_answer_head("answer_head.logit_fc.", "answers"),
        **_answer_head("logit_fc.", "vqa"),
    },
)


def from_lxmert(state: Mapping[str, Tensor]) -> State:
    """Our names for pretraining weights of either, a bare trunk of Hugging Face, or a fine-tuned VQA model.

    Heads stand under `heads.`; class 1 of `heads.itm` is "they match", as in VL.
    """
    state = {name.removeprefix("module."): value for name, value in state.items()}
    parts = {f"{part}.": f"lxmert.{part}." for part in ("embeddings", "encoder", "pooler")}
    return NAMES.to_ours(rename(state, {"lxrt_encoder.model.bert.": "lxmert.", "bert.": "lxmert."} | parts))


def to_lxmert(state: Mapping[str, Tensor], layout: Literal["original", "hugging_face"] = "hugging_face") -> State:
    """Their names for ours, those of the class with the pretraining heads.

    Raises:
        ValueError: a weight has no place there.
    """
    theirs = NAMES.to_theirs(state)
    return rename(theirs, {"lxmert.": "bert."}) if layout == "original" else theirs
