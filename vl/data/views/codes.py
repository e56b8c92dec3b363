"""Image tokens with captions: what text-to-image models are trained on."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from vl.data.sample import TEXT_MEMBERS, Record, Sample
from vl.data.views.base import Example, View
from vl.data.views.caption import CaptionView
from vl.draw import Draw

MEMBER, COARSE = "codes.npy", "coarse.npy"
_MARK = b"\ntokenizer "


@dataclass(frozen=True)
class CodesView(View):
    """An example is one caption with the codes of its picture, as `targets["codes"]`.

    Args:
        captions: which captions, and how many; its pictures are not read.
        codes_of: the fingerprint of the image tokenizer that must have made the codes; empty: any.
    """

    captions: CaptionView = field(default_factory=CaptionView)
    codes_of: str = ""
    members = frozenset((*TEXT_MEMBERS, MEMBER))

    def count(self, record: Record) -> int:
        return self.captions.count(record)

    def count_from(self, counts: Mapping[str, int]) -> int | None:
        return self.captions.count_from(counts)

    def texts(self, record: Record) -> list[tuple[str, ...]]:
        return self.captions.texts(record)

    def example(self, sample: Sample, inner: int, draw: Draw) -> Example:
        """Raises a TypeError where codes are those of another tokenizer: no example would be right."""
        caption, language = self.captions.choose_caption(sample, inner, draw)
        if MEMBER not in sample.members:
            raise ValueError(f"sample {sample.key} has no {MEMBER}; write it with tools/encode_images.py")
        codes, made_by = read_codes(sample.members[MEMBER])
        if self.codes_of not in ("", made_by):
            raise TypeError(f"sample {sample.key}: its codes are of the tokenizer {made_by}, not {self.codes_of}")
        return Example(sample.key, caption, language, targets={"codes": torch.from_numpy(codes.astype(np.int64))})


@dataclass(frozen=True)
class CoarseCodesView(CodesView):
    """As `CodesView`, with the codes of the picture at half its size as `targets["coarse"]`: for super-resolution."""

    members = frozenset((*TEXT_MEMBERS, MEMBER, COARSE))

    def example(self, sample: Sample, inner: int, draw: Draw) -> Example:
        if COARSE not in sample.members:
            raise ValueError(f"sample {sample.key} has no {COARSE}; write it with tools/encode_images.py --coarse")
        example = super().example(sample, inner, draw)
        coarse = torch.from_numpy(read_codes(sample.members[COARSE])[0].astype(np.int64))
        return replace(example, targets={**example.targets, "coarse": coarse})


def write_codes(codes: np.ndarray, tokenizer: str) -> bytes:
    """A `.npy` file, after whose array, where readers do not look, stands the fingerprint of the tokenizer."""
    buffer = io.BytesIO()
    np.save(buffer, codes.astype(np.uint16 if codes.max(initial=0) < 2**16 else np.int32))
    return buffer.getvalue() + _MARK + tokenizer.encode()


def read_codes(data: bytes) -> tuple[np.ndarray, str]:
    """The codes, and the fingerprint of their tokenizer (empty where a file names none)."""
    codes = np.load(io.BytesIO(data), allow_pickle=False)
    return codes.reshape(-1), data.rpartition(_MARK)[2].decode() if _MARK in data[-64:] else ""
