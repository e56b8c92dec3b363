"""UNITER's checkpoints (`uniter-base.pt`, `uniter-large.pt`): a plain state dict.

The layout follows from the released code; no real file has been opened here.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vl.checkpoints.bert import single_stream
from vl.checkpoints.names import HEADS, Names, State

NAMES = Names(
    "UNITER",
    {
        **single_stream("uniter."),
        "uniter.img_embeddings.img_linear": "visual.projection",
        "uniter.img_embeddings.img_layer_norm": "visual.feature_norm",
        "uniter.img_embeddings.pos_linear": "visual.geometry_projection",
        "uniter.img_embeddings.pos_layer_norm": "visual.geometry_norm",
        "uniter.img_embeddings.mask_embedding": "visual.hidden",
        "uniter.img_embeddings.LayerNorm": "visual.norm",
        "feat_regress.net.0": f"{HEADS}mrfr.transform.dense",
        "feat_regress.net.2": f"{HEADS}mrfr.transform.norm",
        "feat_regress": f"{HEADS}mrfr",
        "region_classifier.net.0": f"{HEADS}mrc.transform.dense",
        "region_classifier.net.2": f"{HEADS}mrc.transform.norm",
        "region_classifier.net.3": f"{HEADS}mrc.decoder",
        "itm_output": f"{HEADS}itm",
    },
)


def from_uniter(state: Mapping[str, Tensor]) -> State:
    """Our names for `UniterForPretraining` or `UniterModel`; heads stand under `heads.`."""
    return NAMES.to_ours(state)


def to_uniter(state: Mapping[str, Tensor]) -> State:
    """UNITER's names for ours.

    Raises:
        ValueError: a weight has no place there.
    """
    return NAMES.to_theirs(state)
