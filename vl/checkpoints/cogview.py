"""CogView's checkpoints: the image tokenizer (`vqvae_hard_biggerset_011.pt`) and the transformer (DeepSpeed's
`mp_rank_00_model_states.pt`, weights under `module`).

Both layouts follow from the released code; no real file has been opened here.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vl.checkpoints.names import Names, State

TRANSFORMER = Names(
    "CogView",
    {
        "word_embeddings": "sequence.tokens",
        "transformer.position_embeddings": "sequence.position_embedding",
        "transformer.layers.*.input_layernorm": "layers.*.norm_1",
        "transformer.layers.*.attention.query_key_value": "layers.*.qkv",
        "transformer.layers.*.attention.dense": "layers.*.out",
        "transformer.layers.*.post_attention_layernorm": "layers.*.norm_2",
        "transformer.layers.*.third_layernorm": "layers.*.norm_3",
        "transformer.layers.*.fourth_layernorm": "layers.*.norm_4",
        "transformer.layers.*.mlp.dense_h_to_4h": "layers.*.fc",
        "transformer.layers.*.mlp.dense_4h_to_h": "layers.*.proj",
        "transformer.final_layernorm": "norm",
    },
)
_CODEBOOK = {"embed": "vectors", "embed_avg": "sums", "cluster_size": "counts"}
_PARTS = {"enc_b.blocks.": "encoder.", "dec.blocks.": "decoder."}


def from_cogview(checkpoint: Mapping[str, object]) -> State:
    """Our names for the transformer's weights, bare or under `module`."""
    return TRANSFORMER.to_ours(checkpoint.get("module", checkpoint))  # type: ignore[arg-type]


def to_cogview(state: Mapping[str, Tensor]) -> State:
    """CogView's names for the weights of an `Autoregressive` with `CogViewTokens`."""
    return TRANSFORMER.to_theirs(state)


def from_cogview_vqvae(state: Mapping[str, Tensor]) -> State:
    """Our names for the tokenizer's weights; its codebook is stored the other way round."""
    found: State = {}
    for name, value in state.items():
        name = name.removeprefix("module.")
        if name.startswith("quantize_t."):
            found["codebook." + _CODEBOOK[name.removeprefix("quantize_t.")]] = value.T if value.ndim == 2 else value
        else:
            prefix = next((prefix for prefix in _PARTS if name.startswith(prefix)), "")
            found[_PARTS.get(prefix, "") + name.removeprefix(prefix)] = value
    return found


def to_cogview_vqvae(state: Mapping[str, Tensor]) -> State:
    """CogView's names for the weights of a `VQVAE` with a `MovingAverageCodebook`."""
    found: State = {}
    books, parts = ({ours: theirs for theirs, ours in table.items()} for table in (_CODEBOOK, _PARTS))
    for name, value in state.items():
        if name.startswith("codebook."):
            found["quantize_t." + books[name.removeprefix("codebook.")]] = value.T if value.ndim == 2 else value
        else:
            prefix = next(prefix for prefix in parts if name.startswith(prefix))
            found[parts[prefix] + name.removeprefix(prefix)] = value
    return found
