"""Tokenizers: texts to padded ids, on the Rust core of the `tokenizers` library.

A tokenizer is constructed from the path of its vocabulary alone, so a checkpoint that carries `files()` rebuilds it.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ftfy
import numpy as np
import torch
from tokenizers import AddedToken, Encoding, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Core
from torch import Tensor

from vl.batch import Text
from vl.draw import Draw

Words = str | tuple[str, str]


class Tokenizer:
    """Texts to `Text`, cut to `context_length` tokens and padded to the longest of the batch, never further.

    `pad_id`, `start_id` and `end_id` are its special tokens; `mask_id` and `unknown_id` are None where it has none.
    """

    pad_id: int
    start_id: int
    end_id: int
    mask_id: int | None = None
    unknown_id: int | None = None

    def __init__(self, core: Core, file: Path, context_length: int, content: bytes) -> None:
        if context_length < 3:
            raise ValueError(f"context_length must be at least 3 (start, a token, end), not {context_length}")
        self.context_length = context_length
        self._file, self._content, self._core = file, content, core
        core.enable_truncation(context_length)
        core.enable_padding(pad_id=self.pad_id, pad_token=core.id_to_token(self.pad_id))

    @property
    def vocab(self) -> dict[str, int]:
        """Every token and its id."""
        return self._core.get_vocab()

    @property
    def vocab_size(self) -> int:
        return self._core.get_vocab_size()

    @property
    def fingerprint(self) -> str:
        """Names the tokenizer: two with the same fingerprint give the same ids."""
        settings = json.dumps([type(self).__name__, self.settings()], sort_keys=True).encode()
        return hashlib.sha256(settings + b"\0" + self._content).hexdigest()[:16]

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments beside the path."""
        return {"context_length": self.context_length}

    def files(self) -> dict[str, bytes]:
        """What must travel with a checkpoint, by file name: the constructor's path points at it."""
        return {self._file.name: self._content}

    def to_json(self) -> str:
        """The core as JSON of the `tokenizers` library; what `clean` does is not in it."""
        return self._core.to_str()

    def clean(self, text: str) -> str:
        """What happens to a text before the core sees it."""
        return text

    def encode(self, texts: Sequence[Words], languages: Sequence[int] | None = None, draw: Draw | None = None) -> Text:
        """Tokenize texts, or pairs of texts (then `segment` is 1 on the second).

        Args:
            texts: At least one text.
            languages: An index into `vl.data.sample.LANGUAGES` for each.
            draw: Numbers of each, in training; nothing is left to chance here, but may be in a subclass.
        """
        rows = self._encode(texts)
        segment = None
        if any(isinstance(text, tuple) for text in texts):
            segment = _tensor([row.type_ids for row in rows])
        return Text(
            ids=_tensor([row.ids for row in rows]),
            mask=_tensor([row.attention_mask for row in rows]).bool(),
            segment=segment,
            words=_tensor([_word_indices(row) for row in rows]),
            ends=_tensor([[end for _, end in row.offsets] for row in rows]),
            language=None if languages is None else torch.tensor(list(languages)),
        )

    def lengths(self, texts: Sequence[Words]) -> np.ndarray:
        """Tokens of each text as `encode` would cut it."""
        return np.array([sum(row.attention_mask) for row in self._encode(texts)], np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, without special tokens."""
        return self._core.decode(list(ids))

    def unknown_rate(self, texts: Sequence[Words]) -> float:
        """The share of unknown tokens, special tokens not counted; 0 where every text can be spelt."""
        rows = self._encode(texts)
        plain = sum(not special for row in rows for special in row.special_tokens_mask)
        unknown = sum(row.ids.count(self.unknown_id) for row in rows) if self.unknown_id is not None else 0
        return unknown / max(plain, 1)

    def _encode(self, texts: Sequence[Words]) -> list[Encoding]:
        return self._core.encode_batch(
            [self.clean(text) if isinstance(text, str) else tuple(map(self.clean, text)) for text in texts]
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_core": self._core.to_str()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _core=Core.from_str(state["_core"]))


class ClipTokenizer(Tokenizer):
    """CLIP's byte-pair encoding; its ids equal open_clip's, also for truncated texts.

    Args:
        bpe_file: `bpe_simple_vocab_16e6.txt.gz`; by default the one inside open_clip.
        context_length: Tokens of a text at most.
    """

    def __init__(self, bpe_file: str | None = None, context_length: int = 77) -> None:
        file = Path(bpe_file) if bpe_file else _inside_open_clip("bpe_simple_vocab_16e6.txt.gz")
        content = _read(file)
        # The file ends in merges that OpenAI's vocabulary of 49,152 + 256 entries leaves out.
        merges: Any = [
            tuple(line.split()) for line in gzip.decompress(content).decode().split("\n")[1 : 49152 - 256 - 1]
        ]
        letters = _byte_letters()
        special = ["<start_of_text>", "<end_of_text>"]
        tokens = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges), *special]
        vocab = {token: index for index, token in enumerate(tokens)}
        core = Core(models.BPE(vocab, merges, end_of_word_suffix="</w>"))
        pattern = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
        core.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(pattern, "removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        core.decoder = decoders.Sequence([decoders.Replace("</w>", " "), decoders.ByteLevel()])
        core.add_special_tokens(special)
        self.pad_id, self.start_id, self.end_id = 0, vocab[special[0]], vocab[special[1]]
        core.post_processor = processors.TemplateProcessing(
            single=f"{special[0]} $A {special[1]}",
            special_tokens=[(special[0], self.start_id), (special[1], self.end_id)],
        )
        super().__init__(core, file, context_length, content)

    def clean(self, text: str) -> str:
        # On printable ASCII without entities, ftfy and html.unescape change nothing: most captions skip their cost.
        if not (text.isascii() and text.isprintable() and "&" not in text):
            text = repair(text)
        return " ".join(text.split()).lower()

    def encode(self, texts: Sequence[Words], languages: Sequence[int] | None = None, draw: Draw | None = None) -> Text:
        if any(isinstance(text, tuple) for text in texts):
            raise ValueError("CLIP's tokenizer reads single texts; for pairs of texts use a WordPiece or corpus one")
        return super().encode(texts, languages, draw)


class WordPieceTokenizer(Tokenizer):
    """BERT's WordPiece; its ids equal Hugging Face's BertTokenizer.

    Args:
        vocab_file: A `vocab.txt`, one token a line, of any BERT (cased, uncased, Chinese).
        lowercase: True for uncased and Chinese vocabularies; also strips accents.
        context_length: Tokens of a text at most.
    """

    def __init__(self, vocab_file: str, lowercase: bool = True, context_length: int = 64) -> None:
        file, self.lowercase = Path(vocab_file), lowercase
        content = _read(file)
        vocab = {token: index for index, token in enumerate(content.decode().rstrip("\n").split("\n"))}
        _name_special_tokens(self, vocab, file)
        core = Core(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
        prepare_bert(core, lowercase)
        core.decoder = decoders.WordPiece()
        super().__init__(core, file, context_length, content)

    def settings(self) -> dict[str, Any]:
        return {"context_length": self.context_length, "lowercase": self.lowercase}


class CorpusTokenizer(Tokenizer):
    """A tokenizer trained on a corpus, e.g. by `tools/train_tokenizer.py`.

    Args:
        file: A JSON of the `tokenizers` library with the tokens [PAD], [UNK], [CLS], [SEP] and [MASK].
        context_length: Tokens of a text at most.
    """

    def __init__(self, file: str, context_length: int = 64) -> None:
        path = Path(file)
        content, core = read_core(path)
        _name_special_tokens(self, core.get_vocab(), path)
        super().__init__(core, path, context_length, content)


SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def prepare_bert(core: Core, lowercase: bool, split_chinese: bool = True) -> None:
    """Give a core BERT's normalisation, word splitting and special tokens; in BERT Chinese characters stand alone."""
    core.normalizer = normalizers.BertNormalizer(lowercase=lowercase, handle_chinese_chars=split_chinese)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, core.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )


def repair(text: str) -> str:
    """A text whose encoding was mistaken, or whose HTML entities were left (once or twice), as it was meant."""
    return html.unescape(html.unescape(ftfy.fix_text(text)))


def read_core(file: Path) -> tuple[bytes, Core]:
    """The content of a JSON of the `tokenizers` library, and the tokenizer it describes.

    Raises:
        ValueError: there is no such file, or it is something else.
    """
    content = _read(file)
    try:
        return content, Core.from_str(content.decode())
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{file} is no JSON of the `tokenizers` library: {error}") from error


def _name_special_tokens(tokenizer: Tokenizer, vocab: dict[str, int], file: Path) -> None:
    missing = [token for token in SPECIAL_TOKENS if token not in vocab]
    if missing:
        raise ValueError(f"{file} lacks the tokens {', '.join(missing)}; every BERT vocab.txt has them")
    tokenizer.pad_id, tokenizer.unknown_id, tokenizer.start_id, tokenizer.end_id, tokenizer.mask_id = (
        vocab[token] for token in SPECIAL_TOKENS
    )


def _tensor(rows: list[list[int]]) -> Tensor:
    """int64 from equally long rows, by way of numpy: several times as fast as torch.tensor."""
    return torch.from_numpy(np.array(rows, np.int64))


def _word_indices(row: Encoding) -> list[int]:
    """The word of each token, counted on through a pair's second text; -1 for special tokens."""
    words = [-1 if word is None else word for word in row.word_ids]
    if any(row.type_ids):
        first = 1 + max(word for word, segment in zip(words, row.type_ids, strict=True) if segment == 0)
        pairs = zip(words, row.type_ids, strict=True)
        words = [word + first if segment and word >= 0 else word for word, segment in pairs]
    return words


def _read(file: Path) -> bytes:
    if not file.is_file():
        raise ValueError(f"there is no vocabulary {file}; give the path of an existing file")
    return file.read_bytes()


def _inside_open_clip(name: str) -> Path:
    """A file of open_clip's package, found without importing it (which takes seconds)."""
    spec = importlib.util.find_spec("open_clip")
    assert spec is not None
    return Path(str(spec.origin)).parent / name


def _byte_letters() -> list[str]:
    """GPT-2's printable letter for each byte, in the order of CLIP's vocabulary: printable bytes first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [*map(chr, printable), *(chr(256 + index) for index in range(256 - len(printable)))]
