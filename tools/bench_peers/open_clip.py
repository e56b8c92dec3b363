"""CLIP ViT-S/16 at 112 pixels with a text transformer of 12 x 384: ours beside open_clip's.

open_clip reads captions padded to its context of 77, as its tokenizer does; in a second case, without a target, its
context is cut to the batch's longest caption. Its pixels are normalised before the clock starts (its loader's work),
ours are uint8.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping

import open_clip
import torch
from bench_train import Case, Side
from torch import Tensor

from vl.batch import Batch, Text, Visual
from vl.checkpoints.clip import to_open_clip
from vl.models.open_clip_image import OpenClipImage
from vl.models.open_clip_text import OpenClipText
from vl.models.towers import normalize_pixels
from vl.models.two_tower import TwoTower
from vl.objectives.itc import ITC

MODEL, IMAGE_SIZE, CONTEXT = "ViT-S-16", 112, 77
BATCH = 32
PREFIXES = {"image.tower.": "visual.", "text.tower.": ""}


def cases(args: argparse.Namespace) -> Iterator[Case]:
    batch = captioned_pictures(args.batch)
    lengths = batch.text.mask.sum(1)
    longest = int(lengths.max())
    about = {"lengths": {"mean": float(lengths.float().mean()), "longest": longest}}
    for name, context in (("padded to 77", CONTEXT), ("cut to the longest", longest)):
        model = TwoTower(OpenClipImage(MODEL, IMAGE_SIZE), OpenClipText(MODEL, context))
        yield Case("CLIP train step", name, our_side(model, batch), peer_side(model, batch, context), about)


def captioned_pictures(count: int) -> Batch:
    """Random pictures, with captions of 12 tokens on average, start and end included (COCO-like)."""
    lengths = (torch.randn(count) * 2.8 + 12).round().clamp(5, CONTEXT).long()
    missing, few = divmod(12 * count - int(lengths.sum()), count)
    lengths += missing + (torch.arange(count) < few)
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    ids = torch.randint(1, 49406, mask.shape) * mask
    ids[:, 0] = 49406
    ids[torch.arange(count), lengths - 1] = 49407
    pixels = torch.randint(0, 256, (count, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=torch.uint8)
    return Batch(text=Text(ids, mask), visual=Visual(pixels=pixels), keys=tuple(map(str, range(count))))


def our_side(model: TwoTower, batch: Batch) -> Side:
    objective = ITC()

    def forward() -> tuple[Tensor, Mapping[str, Tensor]]:
        output = model(batch)
        loss = objective(output, batch, None)
        return loss.total / loss.count, {"image": output.image_emb, "text": output.text_emb}

    def common(name: str, gradient: Tensor) -> tuple[str, Tensor]:
        return next(iter(to_open_clip({name: gradient}, PREFIXES).items()))

    return Side(model.train(), forward, common)


def peer_side(model: TwoTower, batch: Batch, context: int) -> Side:
    peer = open_clip.create_model(MODEL, force_image_size=IMAGE_SIZE, force_context_length=context)
    peer.load_state_dict(to_open_clip(model.state_dict(), PREFIXES))
    pixels = normalize_pixels(batch.visual.pixels, model.image.mean, model.image.std)
    ids = torch.nn.functional.pad(batch.text.ids, (0, context - batch.text.ids.shape[1]))
    loss = open_clip.ClipLoss()

    def forward() -> tuple[Tensor, Mapping[str, Tensor]]:
        image, text, scale = peer(pixels, ids)
        return loss(image, text, scale), {"image": image, "text": text}

    return Side(peer.train(), forward)
