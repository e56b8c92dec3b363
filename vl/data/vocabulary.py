"""Vocabularies from a corpus: a tokenizer of its own, or a BERT vocabulary extended by the characters it lacks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer as Core
from tokenizers import decoders, models, trainers
from tokenizers.normalizers import BertNormalizer

from vl.data.index import ShardSet
from vl.data.tokenizers import SPECIAL_TOKENS, Tokenizer, prepare_bert
from vl.data.views.base import View
from vl.data.views.caption import CaptionView
from vl.data.views.qa import QAView

Kind = Literal["wordpiece", "bpe", "unigram"]
#: More distinct characters than any corpus writes; the library's default of 1,000 would drop most Chinese ones.
_ALPHABET = 60_000
#: Closes the last piece of a word in a BPE vocabulary.
_WORD_END = "</w>"


def captions(shards: str | list[str], languages: tuple[str, ...] | None = None) -> Iterator[str]:
    """Every caption of some shards."""
    return _texts(shards, CaptionView(languages, choose="all"))


def questions(shards: str | list[str], languages: tuple[str, ...] | None = None) -> Iterator[str]:
    """Every question of some shards."""
    return _texts(shards, QAView(languages))


def _texts(shards: str | list[str], view: View) -> Iterator[str]:
    """The one text of every example."""
    examples = ShardSet(shards, view)
    for number in range(len(examples)):
        if examples.locate(number)[2] == 0:  # each sample is read once
            yield from (texts[0] for texts in view.texts(examples.read(number).record))


def content_ids(texts: Sequence[str], tokenizer: Tokenizer, share: float) -> list[int]:
    """The ids that make up at most `share` of the corpus' tokens each: of content words, without special tokens."""
    text = tokenizer.encode(texts)
    counts = torch.bincount(text.ids[text.words >= 0], minlength=tokenizer.vocab_size)
    return ((counts > 0) & (counts <= share * counts.sum())).nonzero().flatten().tolist()


def word_ids(tokenizer: Tokenizer, words: Iterable[Sequence[str]]) -> list[list[int]]:
    """The ids of words that are alternatives of each other; of Chinese words, of all tokens they are part of.

    Returns:
        Lists of ids whose tokens differ in that word alone, so that they may stand for one another.

    Raises:
        ValueError: a word is in no token; names it.
    """
    found: defaultdict[tuple[int, str], set[int]] = defaultdict(set)
    for number, alternatives in enumerate(words):
        for word in alternatives:
            ids = [
                (entry.replace(word, "\0"), id_)
                for entry, id_ in tokenizer.vocab.items()
                if entry.removesuffix(_WORD_END) == word or (not word.isascii() and word in entry)
            ]
            if not ids:
                raise ValueError(f"no token of the vocabulary holds {word!r}")
            for rest, id_ in ids:
                found[number, rest].add(id_)
    return sorted(sorted(group) for group in found.values())


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    kind: Kind = "wordpiece",
    lowercase: bool = True,
    split_chinese: bool = True,
) -> Core:
    """A tokenizer with [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4, for `vl.data.tokenizers.CorpusTokenizer`.

    Every character of the corpus gets an entry before pieces of words do.

    Args:
        texts: The corpus.
        vocab_size: Entries at most.
        kind: `wordpiece` (BERT's), `bpe` or `unigram`.
        lowercase: Lower-case the texts and strip accents.
        split_chinese: Chinese characters are tokens of their own, as in BERT; else what stands between two marks is one
            word, of which frequent parts become tokens: shorter texts, whole nouns.

    Raises:
        ValueError: the corpus has more characters than `vocab_size` allows; names how many.
    """
    special = list(SPECIAL_TOKENS)
    trainer: trainers.Trainer
    if kind == "unigram":
        core = Core(models.Unigram([(token, 0.0) for token in special], unk_id=1))
        trainer = trainers.UnigramTrainer(vocab_size=vocab_size, special_tokens=special, unk_token="[UNK]")
    elif kind == "bpe":
        core = Core(models.BPE(unk_token="[UNK]", end_of_word_suffix=_WORD_END))
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size, special_tokens=special, end_of_word_suffix=_WORD_END, limit_alphabet=_ALPHABET
        )
        core.decoder = decoders.BPEDecoder(suffix=_WORD_END)
    else:
        core = Core(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
        trainer = trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=special, limit_alphabet=_ALPHABET)
        core.decoder = decoders.WordPiece()
    prepare_bert(core, lowercase, split_chinese)
    core.train_from_iterator(texts, trainer)
    if core.get_vocab_size() > vocab_size:
        raise ValueError(f"the corpus needs {core.get_vocab_size():,} entries for its characters: raise vocab_size")
    prepare_bert(core, lowercase, split_chinese)
    return core


def extend_vocab(vocab_file: str | Path, texts: Iterable[str], lowercase: bool = True, least: int = 1) -> list[str]:
    """The entries of a BERT vocab.txt, and after them each character of the texts that it lacks, most frequent first.

    The old entries keep their ids, so word embeddings keep their rows and get new ones at the end. A character gets an
    entry for the start of a word, and one with ## for its inside unless it stands alone (as Chinese ones do).

    Args:
        vocab_file: A vocab.txt, one token a line.
        texts: The corpus.
        lowercase: As the tokenizer will be told.
        least: Characters seen less often are left out.
    """
    vocab = Path(vocab_file).read_text().rstrip("\n").split("\n")
    normalise, known = BertNormalizer(lowercase=lowercase).normalize_str, set(vocab)
    starts: Counter[str] = Counter()
    for text in texts:
        for word in normalise(text).split():
            starts.update((word[0], *("##" + character for character in word[1:])))
    pieces = [piece for piece, count in starts.most_common() if count >= least and piece not in known]
    return vocab + pieces
