"""BERT's names (Hugging Face's and the first PyTorch release's), which all region models share.

The layouts follow from code; no real weights have been opened here.
"""

from __future__ import annotations

from vl.checkpoints.names import HEADS, Names

LAYER = {
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.dense",
    "attention.output.LayerNorm": "attention.norm",
    "intermediate.dense": "intermediate",
    "output.dense": "output",
    "output.LayerNorm": "norm",
}
EMBEDDINGS = {
    "word_embeddings": "word",
    "position_embeddings": "position",
    "token_type_embeddings": "segment",
    "LayerNorm": "norm",
}
TRANSFORM = {"dense": "dense", "LayerNorm": "norm"}


def under(theirs: str, ours: str, table: dict[str, str]) -> dict[str, str]:
    """A table with both sides under a prefix."""
    return {f"{theirs}{key}": f"{ours}{value}" for key, value in table.items()}


TOKEN_HEAD = {
    **under("cls.predictions.transform.", f"{HEADS}mlm.transform.", TRANSFORM),
    "cls.predictions.decoder": f"{HEADS}mlm.decoder",
    "cls.predictions": f"{HEADS}mlm",
}


def single_stream(prefix: str = "bert.") -> dict[str, str]:
    """The names of a single stream that is BERT but for its regions, with the head that predicts words."""
    return {
        **under(f"{prefix}embeddings.", "text.", EMBEDDINGS),
        **under(f"{prefix}encoder.layer.*.", "encoder.layers.*.", LAYER),
        f"{prefix}pooler.dense": "pooler.dense",
        **TOKEN_HEAD,
    }


#: BERT itself as the text side of a `SingleStream`, and of a `DualStream`.
BERT = Names("BERT", single_stream() | {"cls.seq_relationship": f"{HEADS}next_sentence"})
BERT_TEXT = Names(
    "BERT",
    {theirs: ours.replace("encoder.layers", "encoder.text.layers") for theirs, ours in BERT.theirs.items()},
)
