"""Shards with the codes of their pictures: written once by an image tokenizer, read by text-to-image training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch

from vl.checkpoints.bundle import Bundle, load
from vl.data.sample import IMAGE_MEMBERS, Sample
from vl.data.shards import ShardWriter
from vl.data.tar import samples
from vl.data.views.codes import COARSE, MEMBER, read_codes, write_codes
from vl.evaluation.magnify import coarsen
from vl.models.image_tokenizer import ImageTokenizer, to_unit


def encode_shard(
    path: str, out: str | Path, tokenizer: Bundle, batch: int = 64, keep_pictures: bool = True, coarse: bool = False
) -> Path:
    """A copy of a shard with `codes.npy` beside each picture; one that is there already is left as it is.

    Args:
        path: the shard.
        out: folder of the copy, whose name is that of the shard and -000000.
        tokenizer: an image tokenizer with its image stage.
        batch: pictures encoded together.
        keep_pictures: False leaves them out of the copy.
        coarse: also write `coarse.npy`, the codes of the picture at half its size.

    Raises:
        ValueError: the copy that is there holds codes of another tokenizer.
    """
    mark, target = str(tokenizer.model.fingerprint), Path(out) / f"{Path(path).stem}-000000.tar"
    if target.exists():
        require_codes_of(target, mark)
        return target
    with ShardWriter(
        out, Path(path).stem, split=Path(path).stem.split("-")[0], max_count=2**40, max_bytes=2**50
    ) as writer:
        group: list[Sample] = []
        for sample in read_shard(path):
            group.append(sample)
            if len(group) == batch:
                _write(writer, group, tokenizer, mark, keep_pictures, coarse)
                group = []
        if group:
            _write(writer, group, tokenizer, mark, keep_pictures, coarse)
    return target


@torch.inference_mode()
def _write(
    writer: ShardWriter, group: list[Sample], tokenizer: Bundle, mark: str, keep_pictures: bool, coarse: bool
) -> None:
    stage, model = tokenizer.image.without_chance(), tokenizer.model
    pixels = to_unit(torch.stack([stage(sample.image() or b"") for sample in group]))
    assert isinstance(model, ImageTokenizer)
    written = {MEMBER: model.encode(pixels)} | ({COARSE: model.encode(coarsen(pixels))} if coarse else {})
    for row, sample in enumerate(group):
        kept = {n: data for n, data in sample.members.items() if keep_pictures or n not in IMAGE_MEMBERS}
        writer.write(
            sample.key, kept | {name: write_codes(codes[row].numpy(), mark) for name, codes in written.items()}
        )


def read_shard(path: str | Path) -> Iterator[Sample]:
    """All members of every sample of a local shard."""
    with open(path, "rb") as file:
        for key, members in samples(file.fileno(), str(path)):
            content = {name: os.pread(file.fileno(), part.size, part.offset) for name, part in members.items()}
            yield Sample(key, content)


def require_codes_of(path: str | Path, mark: str) -> None:
    """Raises a ValueError where a shard's codes are those of another tokenizer."""
    for sample in read_shard(path):
        found = read_codes(sample.members[MEMBER])[1] if MEMBER in sample.members else "none"
        if found != mark:
            raise ValueError(f"{path} holds codes of the tokenizer {found}, not {mark}; choose another folder")
        return


def load_tokenizer(checkpoint: str) -> Bundle:
    """An image tokenizer with its image stage.

    Raises:
        ValueError: the checkpoint is something else.
    """
    bundle = load(checkpoint)
    if not isinstance(bundle.model, ImageTokenizer) or bundle.image is None:
        raise ValueError(f"{checkpoint}: {type(bundle.model).__name__} is no image tokenizer with an image stage")
    return bundle


def encode_in_process(path: str, out: str, checkpoint: str, batch: int, keep_pictures: bool, coarse: bool) -> str:
    """`encode_shard` with the tokenizer of a checkpoint, for a pool of processes."""
    torch.set_num_threads(1)
    return str(encode_shard(path, out, load_tokenizer(checkpoint), batch, keep_pictures, coarse))
