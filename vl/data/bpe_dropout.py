"""BPE dropout: in training, a text is cut into tokens in another way each time it is seen.

"BPE-Dropout: Simple and Effective Subword Regularization", arXiv:1910.13267, algorithm 1; DALL-E trains with a
probability of 10% (arXiv:2102.12092).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from random import Random
from typing import Any

import torch
from tokenizers import Encoding
from tokenizers import Tokenizer as Core
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vl.batch import Text
from vl.data.tokenizers import CorpusTokenizer, Words
from vl.draw import Draw

#: Two neighbours -> when their merge was learnt, and the token it makes.
Merges = Mapping[tuple[int, int], tuple[int, int]]


class BPEDropoutTokenizer(CorpusTokenizer):
    """A byte-pair encoding that leaves out merges where it is given numbers to draw from, as training does.

    The library's own dropout draws from one generator that cannot be seeded: the same example would be cut otherwise
    after a resume, or by another worker. It also drops less than the paper says, because merges that have become
    impossible stay in its queue, and taking one brings dropped ones back. `lengths` counts the tokens of texts without
    dropout; with it they have more, so batches by a budget of tokens may exceed it.

    Args:
        file: A JSON of the `tokenizers` library with a BPE, e.g. by `tools/train_tokenizer.py --kind bpe`.
        context_length: Tokens of a text at most.
        dropout: Probability of each merge to be left out; 1 leaves characters.

    Raises:
        ValueError: `dropout` is no probability, or the file holds another kind of model.
    """

    def __init__(self, file: str, context_length: int = 64, dropout: float = 0.1) -> None:
        super().__init__(file, context_length)
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout must be a probability, from 0 to 1, not {dropout}")
        content = json.loads(self.to_json())
        if content["model"]["type"] != "BPE":
            raise ValueError(
                f"{file} holds a {content['model']['type']}, which has no merges to drop; train a tokenizer with "
                "--kind bpe, or use vl.data.tokenizers.CorpusTokenizer"
            )
        self.dropout, self._merges = dropout, _merges(content["model"])
        # The library itself spells texts in characters: everything about them (unknown ones, bytes, special tokens)
        # stays its business.
        spelling = {"truncation": None, "padding": None, "model": {**content["model"], "dropout": 1.0}}
        self._speller = Core.from_str(json.dumps(content | spelling))

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "dropout": self.dropout}

    def encode(self, texts: Sequence[Words], languages: Sequence[int] | None = None, draw: Draw | None = None) -> Text:
        if draw is None:
            return super().encode(texts, languages)
        if any(isinstance(text, tuple) for text in texts):
            raise ValueError(
                "BPE dropout reads single texts; for pairs of texts use vl.data.tokenizers.CorpusTokenizer"
            )
        spelt = self._speller.encode_batch([self.clean(str(text)) for text in texts])
        seeds = draw.fold("merges").bits().tolist()
        rows = [self._cut(row, Random(seed)) for row, seed in zip(spelt, seeds, strict=True)]
        ids = pad_sequence([ids for ids, _ in rows], batch_first=True, padding_value=self.pad_id)
        lengths = torch.tensor([len(ids) for ids, _ in rows])
        return Text(
            ids=ids,
            mask=torch.arange(ids.shape[1]) < lengths[:, None],
            words=pad_sequence([words for _, words in rows], batch_first=True, padding_value=-1),
            language=None if languages is None else torch.tensor(list(languages)),
        )

    def _cut(self, row: Encoding, random: Random) -> tuple[Tensor, Tensor]:
        """Ids, and the word of each, of a text that is spelt in characters."""
        ids, words = [], []
        for word, characters in groupby(zip(row.word_ids, row.ids, strict=True), itemgetter(0)):
            tokens = merge([token for _, token in characters], self._merges, self.dropout, random)
            ids += tokens
            words += [-1 if word is None else word] * len(tokens)
        if len(ids) > self.context_length:
            ids, words = (kept[: self.context_length - 1] + kept[-1:] for kept in (ids, words))
        return torch.tensor(ids), torch.tensor(words)


def merge(tokens: list[int], merges: Merges, dropout: float, random: Random) -> list[int]:
    """The tokens of a word after its merges.

    In each round, each of the merges that are possible is left out with probability `dropout`, and of the others the
    one that was learnt first is made; the word is done when none is left. Numbers are drawn in that order, and only
    up to the merge that is made.
    """
    tokens = list(tokens)
    while True:
        found = sorted((*merges[pair], place) for place, pair in enumerate(pairwise(tokens)) if pair in merges)
        kept = next((merge for merge in found if random.random() >= dropout), None)
        if kept is None:
            return tokens
        _, token, place = kept
        tokens[place : place + 2] = [token]


def _merges(model: Mapping[str, Any]) -> Merges:
    """The merges of a BPE as ids."""
    vocab, prefix = model["vocab"], model["continuing_subword_prefix"] or ""
    return {
        (vocab[left], vocab[right]): (rank, vocab[left + right.removeprefix(prefix)])
        for rank, (left, right) in enumerate(model["merges"])
    }
