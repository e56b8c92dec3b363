"""VisualBERT's checkpoints: the original (`.th` of uclanlp/visualbert) and Hugging Face's `VisualBertModel`.

The layouts follow from code; no real file has been opened here. The original's regions have segment 0, Hugging Face's
class takes 1 where none is given: say so in `VisualBertRegions(segment=...)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from vl.checkpoints.bert import single_stream
from vl.checkpoints.names import HEADS, Names, State, rename

NAMES = Names(
    "VisualBERT",
    {
        **single_stream("visual_bert."),
        "visual_bert.embeddings.visual_projection": "visual.projection",
        "visual_bert.embeddings.visual_token_type_embeddings": "visual.segment",
        "visual_bert.embeddings.visual_position_embeddings": "visual.position",
        "cls.seq_relationship": f"{HEADS}two_captions",
        "cls": f"{HEADS}vqa",
    },
)
_ORIGINAL = {
    "visual_bert.embeddings.visual_projection": "bert.embeddings.projection",
    "visual_bert.embeddings.visual_token_type_embeddings": "bert.embeddings.token_type_embeddings_visual",
    "visual_bert.embeddings.visual_position_embeddings": "bert.embeddings.position_embeddings_visual",
    "visual_bert.": "bert.",
}
_FROM_ORIGINAL = {original: new for new, original in _ORIGINAL.items()}
_PARTS = {f"{part}.": f"visual_bert.{part}." for part in ("embeddings", "encoder", "pooler")}
_BIAS = "cls.predictions.bias"


def from_visualbert(state: Mapping[str, Tensor]) -> State:
    """Our names for a state dict of either; heads stand under `heads.`.

    `heads.two_captions` tells whether the second caption is true of the picture, in the file's own order of classes.
    """
    state = {name.removeprefix("module."): value for name, value in state.items()}
    # AllenNLP wraps the model once more in `bert.`; Hugging Face stores the bias of the words twice.
    if any(name.startswith("bert.bert.") for name in state):
        state = rename(state, {"bert.": ""})
    state.pop("cls.predictions.decoder.bias", None)
    return NAMES.to_ours(rename(state, _FROM_ORIGINAL | _PARTS))


def to_visualbert(state: Mapping[str, Tensor], layout: Literal["original", "hugging_face"] = "hugging_face") -> State:
    """Their names for ours, those of the class with the pretraining heads.

    Raises:
        ValueError: a weight has no place there.
    """
    theirs = NAMES.to_theirs(state)
    if layout == "original":
        return rename(theirs, _ORIGINAL)
    return theirs | ({"cls.predictions.decoder.bias": theirs[_BIAS]} if _BIAS in theirs else {})
