"""The on-disk contract: what the members of a sample are, and the one JSON schema of all tasks.

A sample is the run of tar members that share a key (the path up to the first dot of the file name):

    KEY.jpg | .png | .webp        the picture (`left.jpg`, `right.jpg` for image pairs)
    KEY.txt                       one caption, as img2dataset and open_clip users store it
    KEY.json                      a `Record`, or any JSON object: fields VL does not know are ignored
    KEY.regions.safetensors       region features: features (n, f) fp16, boxes (n, 4), class_probs, confidence
    KEY.codes.npy                 image tokens

Boxes are xyxy in 0..1 of width and height.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import msgspec

#: Languages by index: `Text.language` and `Batch` carry the index, -1 for a language that is not listed.
LANGUAGES = ("en", "zh", "es", "ja", "ko", "pt", "it", "fr", "de", "fa", "id", "ru", "tr", "ar")
IMAGE_MEMBERS = ("jpg", "jpeg", "png", "webp")
#: Members that hold text; a larger one is refused before it is read.
TEXT_MEMBERS = ("txt", "json")
MAX_TEXT_BYTES = 16 * 2**20

Box = tuple[float, float, float, float]


class Caption(msgspec.Struct, frozen=True, omit_defaults=True):
    text: str
    language: str = "en"


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """`answers` holds every annotator's answer, in order; `program` a GQA-style list of steps."""

    id: str
    question: str
    answers: tuple[str, ...]
    type: str = ""
    language: str = "en"
    program: tuple[Mapping[str, object], ...] = ()


class Expression(msgspec.Struct, frozen=True, omit_defaults=True):
    id: str
    text: str
    box: Box
    language: str = "en"
    type: str = ""


class Phrase(msgspec.Struct, frozen=True, omit_defaults=True):
    """A phrase of a sentence, which ends before its character number `end`, and the boxes of all that it means."""

    id: str
    text: str
    end: int
    boxes: tuple[Box, ...]
    type: str = ""


class Grounding(msgspec.Struct, frozen=True, omit_defaults=True):
    """A sentence whose phrases are tied to boxes."""

    id: str
    text: str
    phrases: tuple[Phrase, ...]
    language: str = "en"


class Entailment(msgspec.Struct, frozen=True, omit_defaults=True):
    """`label` is entailment, neutral or contradiction."""

    id: str
    hypothesis: str
    label: str
    language: str = "en"
    type: str = ""


class Choice(msgspec.Struct, frozen=True, omit_defaults=True):
    """A VCR question: four choices, then four rationales; labels are indices."""

    id: str
    question: str
    choices: tuple[str, ...]
    label: int
    rationales: tuple[str, ...] = ()
    rationale_label: int = 0
    language: str = "en"
    type: str = ""


class Statement(msgspec.Struct, frozen=True, omit_defaults=True):
    """An NLVR2 statement about an image pair."""

    id: str
    text: str
    label: bool
    language: str = "en"
    type: str = ""


class Opposite(msgspec.Struct, frozen=True, omit_defaults=True):
    """A text that is false of the picture, one change away from a true one.

    `of` is the true text's list and index (captions/3, qa/0, statements/2); `kind` says what was changed: object,
    attribute, count, relation, exchange (two attributes), or answer.
    """

    text: str
    of: str
    kind: str = ""
    language: str = "en"


class Object(msgspec.Struct, frozen=True, omit_defaults=True):
    """`name_zh` is the name in Chinese, where that is known."""

    box: Box
    name: str
    attributes: tuple[str, ...] = ()
    name_zh: str = ""


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """The `json` member of a sample. Unknown fields are ignored, so that foreign shards load unchanged."""

    captions: tuple[Caption, ...] = ()
    tags: tuple[str, ...] = ()
    qa: tuple[Question, ...] = ()
    expressions: tuple[Expression, ...] = ()
    groundings: tuple[Grounding, ...] = ()
    entailment: tuple[Entailment, ...] = ()
    choices: tuple[Choice, ...] = ()
    statements: tuple[Statement, ...] = ()
    opposites: tuple[Opposite, ...] = ()
    objects: tuple[Object, ...] = ()
    width: int | None = None
    height: int | None = None
    source: str = ""
    licence: str = ""


_decoder = msgspec.json.Decoder(Record)


def read_record(members: Mapping[str, bytes], key: str) -> Record:
    """The record of a sample, from its `json` and `txt` members.

    A `txt` is the one caption of a sample whose `json` lists none (its language is taken to be English).

    Raises:
        ValueError: a member is not UTF-8 or JSON, or a field has another type; names the key and the field.
    """
    for name in TEXT_MEMBERS:
        if len(members.get(name, b"")) > MAX_TEXT_BYTES:
            raise ValueError(f"sample {key}: its .{name} member holds more than {MAX_TEXT_BYTES:,} bytes")
    try:
        record = _decoder.decode(members["json"]) if "json" in members else Record()
        if not record.captions and "txt" in members:
            record = msgspec.structs.replace(record, captions=(Caption(members["txt"].decode().strip()),))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"sample {key}: {error}") from error
    return record


def language_index(language: str) -> int:
    """The index of a language code in `LANGUAGES`, -1 for one that is not listed (regions such as zh-CN are cut)."""
    short = language.split("-")[0].lower()
    return LANGUAGES.index(short) if short in LANGUAGES else -1


@dataclass(frozen=True)
class Sample:
    """One sample as read from a shard: its key and the bytes of its members."""

    key: str
    members: Mapping[str, bytes]

    @cached_property
    def record(self) -> Record:
        return read_record(self.members, self.key)

    def with_members(self, members: Mapping[str, bytes]) -> Sample:
        """The sample with other members in the place of its pictures; its record is not read anew."""
        other = Sample(self.key, members)
        other.__dict__["record"] = self.record
        return other

    def image(self, prefix: str = "") -> bytes | None:
        """The bytes of the picture, or of `prefix`.jpg and the like for image pairs; None if there is none."""
        names = (f"{prefix}.{member}" if prefix else member for member in IMAGE_MEMBERS)
        return next((self.members[name] for name in names if name in self.members), None)
