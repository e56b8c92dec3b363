"""ViLBERT's checkpoints (`pytorch_model_N.bin`, `pretrained_model.bin`): a state dict, maybe with `module.` in front.

The layout follows from the released code; no real file has been opened here. Resume files hold pickled objects and are
refused. Class 0 of ViLBERT's alignment head is "they match": its two rows are exchanged on the way.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vl.checkpoints.bert import EMBEDDINGS, LAYER, TOKEN_HEAD, TRANSFORM, under
from vl.checkpoints.names import HEADS, Names, State, swap_match_rows

_CO, _OURS = "bert.encoder.c_layer.*.", "encoder.co_layers.*."

NAMES = Names(
    "ViLBERT",
    {
        **under("bert.embeddings.", "text.", EMBEDDINGS),
        "bert.v_embeddings.image_embeddings": "visual.projection",
        "bert.v_embeddings.image_location_embeddings": "visual.geometry_projection",
        "bert.v_embeddings.LayerNorm": "visual.norm",
        **under("bert.encoder.layer.*.", "encoder.text.layers.*.", LAYER),
        **under("bert.encoder.v_layer.*.", "encoder.visual.layers.*.", LAYER),
        # 1 is the visual stream, 2 the text; the queries of one look at the keys and values of the other.
        f"{_CO}biattention.query1": f"{_OURS}visual.attention.query",
        f"{_CO}biattention.key2": f"{_OURS}visual.attention.key",
        f"{_CO}biattention.value2": f"{_OURS}visual.attention.value",
        f"{_CO}biOutput.dense1": f"{_OURS}visual.attention.dense",
        f"{_CO}biOutput.LayerNorm1": f"{_OURS}visual.attention.norm",
        f"{_CO}v_intermediate.dense": f"{_OURS}visual.intermediate",
        f"{_CO}v_output.dense": f"{_OURS}visual.output",
        f"{_CO}v_output.LayerNorm": f"{_OURS}visual.norm",
        f"{_CO}biattention.query2": f"{_OURS}text.attention.query",
        f"{_CO}biattention.key1": f"{_OURS}text.attention.key",
        f"{_CO}biattention.value1": f"{_OURS}text.attention.value",
        f"{_CO}biOutput.dense2": f"{_OURS}text.attention.dense",
        f"{_CO}biOutput.LayerNorm2": f"{_OURS}text.attention.norm",
        f"{_CO}t_intermediate.dense": f"{_OURS}text.intermediate",
        f"{_CO}t_output.dense": f"{_OURS}text.output",
        f"{_CO}t_output.LayerNorm": f"{_OURS}text.norm",
        "bert.t_pooler.dense": "pooler.text",
        "bert.v_pooler.dense": "pooler.visual",
        **TOKEN_HEAD,
        "cls.bi_seq_relationship": f"{HEADS}itm",
        **under("cls.imagePredictions.transform.", f"{HEADS}mrc.transform.", TRANSFORM),
        "cls.imagePredictions.decoder": f"{HEADS}mrc.decoder",
    },
)
#: Maps that every co-attention layer stores and nothing uses -> the used one of the same shape.
_UNUSED = {"q_dense1": "dense1", "q_dense2": "dense2"}


def from_vilbert(state: Mapping[str, Tensor]) -> State:
    """Our names; heads stand under `heads.`, and what nothing uses (`q_dense1`, `q_dense2`) is left out."""
    used = {name: value for name, value in state.items() if name.split(".")[-2] not in _UNUSED}
    return swap_match_rows(NAMES.to_ours(used))


def to_vilbert(state: Mapping[str, Tensor]) -> State:
    """ViLBERT's names for ours; what nothing uses is zero.

    Raises:
        ValueError: a weight has no place there.
    """
    theirs = NAMES.to_theirs(swap_match_rows(state))
    for unused, used in _UNUSED.items():
        same = {name: value for name, value in theirs.items() if f".biOutput.{used}." in name}
        theirs |= {
            name.replace(f".{used}.", f".{unused}."): value.new_zeros(value.shape) for name, value in same.items()
        }
    return theirs
