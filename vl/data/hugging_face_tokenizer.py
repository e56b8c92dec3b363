"""Any fast tokenizer of Hugging Face, as open_clip's models read it: SigLIP's, XLM-RoBERTa's, NLLB's."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer as Core

from vl.data.tokenizers import Tokenizer, read_core, repair

Clean = Literal["whitespace", "lower", "canonicalize"]


class HuggingFaceTokenizer(Tokenizer):
    """A `tokenizer.json`; its ids equal those of open_clip's `HFTokenizer`.

    Args:
        file: A JSON of the `tokenizers` library.
        pad_token: The token that texts are padded with.
        context_length: Tokens of a text at most.
        clean: What happens to a text first. `whitespace` repairs it and joins its words by one blank,
            `lower` also takes capitals away, `canonicalize` (SigLIP's) punctuation too.
    """

    def __init__(self, file: str, pad_token: str, context_length: int = 77, clean: Clean = "whitespace") -> None:
        path = Path(file)
        content, core = read_core(path)
        pad_id = core.token_to_id(pad_token)
        if pad_id is None:
            raise ValueError(f"{path} has no token {pad_token!r} to pad with")
        self.pad_token, self.cleaning, self.pad_id = pad_token, clean, pad_id
        self.start_id, self.end_id = _ends(core, pad_id)
        super().__init__(core, path, context_length, content)

    def settings(self) -> dict[str, Any]:
        return {"context_length": self.context_length, "pad_token": self.pad_token, "clean": self.cleaning}

    def clean(self, text: str) -> str:
        text = repair(text)
        if self.cleaning == "canonicalize":
            text = text.replace("_", " ").translate(str.maketrans("", "", string.punctuation))
        return " ".join((text if self.cleaning == "whitespace" else text.lower()).split())


def _ends(core: Core, pad_id: int) -> tuple[int, int]:
    """The ids that an empty text starts and ends with: those of special tokens alone."""
    ids = core.encode("").ids or [pad_id]
    return ids[0], ids[-1]
