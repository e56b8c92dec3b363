"""Any Hugging Face text encoder (BERT, MiniLM, RoBERTa ...) as a text tower."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vl.batch import Text
from vl.models.towers import TextTower

#: Texts that run together on a CPU.
_GROUP = 64
#: Sizes of well-known encoders; everything else is `BertConfig`'s default.
PRESETS: dict[str, dict[str, Any]] = {
    "minilm-l6": {"model_type": "bert", "hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
    "bert-base": {"model_type": "bert"},
}


def read_hf_config(config: str | dict[str, Any]) -> dict[str, Any]:
    """The dictionary of a preset's name, a `config.json`, a folder that holds one, or of itself.

    Raises:
        ValueError: neither a preset nor a file, or the file names no model_type.
    """
    if isinstance(config, str):
        if config in PRESETS:
            return PRESETS[config]
        path = Path(config) / "config.json" if Path(config).is_dir() else Path(config)
        if not path.is_file():
            raise ValueError(f"{config!r} is no Hugging Face config: give {', '.join(PRESETS)} or a config.json")
        config = dict(json.loads(path.read_text()))
    if "model_type" not in config:
        raise ValueError("a Hugging Face config needs a model_type, such as bert")
    # Both can name a repository, whose code would be fetched and run.
    if "auto_map" in config or any(
        "/" in str(config.get(name)) for name in ("attn_implementation", "_attn_implementation")
    ):
        raise ValueError("a Hugging Face config must not name code of a repository (auto_map, attn_implementation)")
    return config


class HFText(TextTower):
    """A Hugging Face encoder and a pooling, without its weights; a head of `TwoTower` projects the result.

    Args:
        config: a preset (minilm-l6, bert-base), a `config.json` or its folder, or its content.
        pooling: the mean over the real tokens, or the first token.
        extra_tokens: ids behind the encoder's vocabulary, in a table of their own: it is trained although the
            encoder is frozen, and the encoder's weights load strictly.
        context_length: in tokens; None for as many as the encoder has positions.
        frozen: do not train the encoder.
    """

    def __init__(
        self,
        config: str | dict[str, Any],
        pooling: Literal["mean", "first"] = "mean",
        extra_tokens: int = 0,
        context_length: int | None = None,
        frozen: bool = False,
    ) -> None:
        from transformers import AutoConfig, AutoModel

        super().__init__()
        settings = AutoConfig.for_model(**read_hf_config(config))
        pooler = {"add_pooling_layer": False} if settings.model_type in ("bert", "roberta", "xlm-roberta") else {}
        self.encoder = AutoModel.from_config(settings, trust_remote_code=False, **pooler)
        self.pooling, self.embed_dim = pooling, settings.hidden_size
        self.vocab_size = settings.vocab_size + extra_tokens
        self.context_length = context_length or settings.max_position_embeddings
        self.inputs = ("encoder.embeddings", "extra")
        self.extra = nn.Embedding(extra_tokens, self.embed_dim) if extra_tokens else None
        if self.extra is not None:
            nn.init.normal_(self.extra.weight, std=settings.initializer_range)
        if frozen:
            self.freeze()

    def freeze(self) -> None:
        super().freeze()
        if self.extra is not None:
            self.extra.requires_grad_(True)

    def blocks(self) -> Sequence[nn.Module]:
        return list(self.encoder.encoder.layer)

    def learns_from(self, text: Text) -> Bool[Tensor, " b"]:
        if not self.frozen or self.extra is None:
            return super().learns_from(text)
        return (text.ids >= self.encoder.get_input_embeddings().num_embeddings).any(1)

    def forward(self, text: Text) -> Float[Tensor, "b e"]:
        if text.ids.device.type != "cpu" or len(text.ids) <= _GROUP:
            return self._features(text)
        # On a CPU small batches cost no more a row, and texts of like length together leave little to pad.
        order = text.mask.sum(1).argsort()
        features = torch.cat([self._features(text.rows(rows)) for rows in order.split(_GROUP)])
        return features[order.argsort()]

    def _features(self, text: Text) -> Float[Tensor, "b e"]:
        length = int(text.mask.sum(1).max())
        ids, mask = text.ids[:, :length], text.mask[:, :length]
        hidden = self.encoder(inputs_embeds=self._embed(ids), attention_mask=mask).last_hidden_state
        if self.pooling == "first":
            return hidden[:, 0]
        weight = mask.unsqueeze(2).to(hidden.dtype)
        return (hidden * weight).sum(1) / weight.sum(1)

    def _embed(self, ids: Tensor) -> Float[Tensor, "b l d"]:
        words = self.encoder.get_input_embeddings()
        if self.extra is None:
            return words(ids)
        own = ids >= words.num_embeddings
        extra = self.extra((ids - words.num_embeddings).clamp(min=0))
        return extra.where(own[..., None], words(ids.masked_fill(own, 0)))
