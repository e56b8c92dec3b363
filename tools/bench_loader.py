"""Our loader against open_clip's own webdataset + PIL pipeline: JPEG shards of 256 px to batches of 112 px, per core.

python tools/bench_loader.py --json runs/bench/loader.json

Both sides read the same shards in one process with one thread, tokenize the captions with CLIP's vocabulary, resize
with the bicubic filter and end in normalised float batches; a figure is pictures per CPU second. Without --data the
shards are made of crops of two photographs (scikit-learn's), with captions of 12 tokens on average.

`check` is the largest mean difference (0..1) of a picture of ours from the peer's operations on the same crop: both
filters are bicubic with antialiasing, but ours decodes a JPEG at half its size where the crop allows it (so its crops
lie on even pixels). Token ids must be equal. (`ShardData` evaluates with full decoding unless told otherwise:
that is closer to the peer, and slower.)
"""

from __future__ import annotations

import os

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread a side

import argparse
import gzip
import io
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.transform import image_transform
from open_clip_train import data as open_clip_data
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from webdataset.tariterators import tar_file_expander

from vl.batch import Batch
from vl.data.collate import Collator
from vl.data.loader import EvalLoader, TrainLoader
from vl.data.mixture import Mixture, Source
from vl.data.shards import ShardWriter, expand_shards
from vl.data.stages import ImageStage, RandomResizedCrop
from vl.data.tokenizers import ClipTokenizer
from vl.data.views.caption import CaptionView
from vl.report.figures import Comparison, compare, settings, write_bench

SIZE = 112
#: Mean difference (0..1) that decoding at half size may make of any one picture.
TOLERANCE = 0.03
QUICK = {"samples": 128, "batch": 32, "repeats": 1}
MEAN = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
STD = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)


def make_shards(folder: Path, samples: int, seed: int) -> str:
    """JPEGs of 256 x 256 px with a caption each, cut from two photographs."""
    generator = np.random.default_rng(seed)
    photographs = load_sample_images().images
    words = _words()
    with ShardWriter(folder, "bench", max_count=1000) as writer:
        for number in range(samples):
            photograph = photographs[number % len(photographs)]
            side = int(generator.integers(200, 400))
            top, left = (int(generator.integers(0, length - side + 1)) for length in photograph.shape[:2])
            image = Image.fromarray(photograph[top : top + side, left : left + side]).resize((256, 256))
            file = io.BytesIO()
            image.save(file, "JPEG", quality=90)
            length = int(np.clip(generator.normal(10, 2.8), 1, 40))  # with start and end: 12 tokens on average
            caption = " ".join(generator.choice(words, length))
            writer.write(f"{number:08d}", {"jpg": file.getvalue(), "txt": caption})
    return f"{folder}/bench-*.tar"


def _words() -> list[str]:
    """Whole words of CLIP's vocabulary."""
    file = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    merges = gzip.decompress(file.read_bytes()).decode().split("\n")[1:20_000]
    words = ("".join(line.split()) for line in merges)
    return [word.removesuffix("</w>") for word in words if word.endswith("</w>") and word[:-4].isalpha()]


def peer(shards: str, train: bool, args: argparse.Namespace, samples: int) -> Iterable[tuple[Tensor, Tensor]]:
    """open_clip's own data loader, without workers."""
    # It predates the markers with which webdataset 1.0 ends a shard; without them it runs as it did.
    open_clip_data.tar_file_expander = partial(tar_file_expander, eof_value=None)
    paths = expand_shards(shards)
    listed = paths[0] if len(paths) == 1 else f"{{{','.join(paths)}}}"
    given = Namespace(
        train_data=listed, train_num_samples=samples, train_data_upsampling_factors=None, dataset_resampled=False,
        val_data=listed, val_num_samples=samples, seed=args.seed, workers=0, batch_size=args.batch, world_size=1,
    )  # fmt: skip
    transform = image_transform(SIZE, is_train=train)
    tokenizer = open_clip.SimpleTokenizer()
    return open_clip_data.get_wds_dataset(given, transform, train, floor=True, tokenizer=tokenizer).dataloader


def ours(shards: str, train: bool, args: argparse.Namespace) -> Iterable[Batch]:
    source = Source(shards, CaptionView())
    stage = ImageStage(SIZE, crop=RandomResizedCrop(scale=(0.9, 1.0)) if train else None)
    collator = Collator(ClipTokenizer(), stage)
    if not train:
        return EvalLoader(source, collator, args.batch, 0, 0, 1)
    loader = TrainLoader(Mixture([source], args.seed, args.batch), collator, 1, 0, 0, 1)
    return Flat(loader)


class Flat:
    """The micro-batches of a training loader, pass after pass."""

    def __init__(self, loader: TrainLoader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Batch]:
        return (batch for step in self.loader for batch in step)


class Normalise:
    """What the peer's transform ends in. Ours leaves it to the model, which does it for a batch, in memory it has."""

    def __init__(self, batch_size: int) -> None:
        self.memory = torch.empty(batch_size, 3, SIZE, SIZE)

    def __call__(self, batch: Batch) -> Tensor:
        pixels = batch.visual.pixels
        return torch.sub(pixels, 255 * MEAN, out=self.memory[: len(pixels)]).div_(255 * STD)


def pictures_per_second(run: Callable[[], int]) -> Callable[[], float]:
    """Pictures per CPU second of a whole pass."""

    def measure() -> float:
        start = time.process_time()
        return run() / (time.process_time() - start)

    return measure


def difference(shards: str, train: bool, args: argparse.Namespace) -> float:
    """See the file's docstring; on the first batches of the timed input."""
    source = Source(shards, CaptionView()).opened
    by_key = {source.key(number): number for number in range(len(source))}
    tokenizer, normalise, worst = open_clip.SimpleTokenizer(), Normalise(args.batch), 0.0
    crop, stage = RandomResizedCrop(scale=(0.9, 1.0)), ImageStage(SIZE, crop=RandomResizedCrop(scale=(0.9, 1.0)))
    evaluation = image_transform(SIZE, is_train=False)
    for batch, _ in zip(ours(shards, train, args), range(4), strict=False):
        samples = [source.read(by_key[key]) for key in batch.keys]
        ids = tokenizer([sample.record.captions[0].text for sample in samples])[:, : batch.text.ids.shape[1]]
        if not torch.equal(ids, batch.text.ids):
            return float("inf")
        numbers = stage.numbers(batch.draw)
        for pixels, sample, row in zip(normalise(batch), samples, numbers, strict=True):
            image = Image.open(io.BytesIO(sample.image())).convert("RGB")
            if train:
                top, left, height, width = crop.box(image.height, image.width, row)
                edges = (left, top, left + width, top + height)
                image = image.crop([2 * round(edge / 2) for edge in edges]).resize((SIZE, SIZE), Image.BICUBIC)
            worst = max(worst, float(((pixels - evaluation(image)) * STD).abs().mean()))
    return worst


def measure(shards: str, train: bool, args: argparse.Namespace) -> Comparison:
    samples = len(Source(shards, CaptionView()).opened)
    mine, theirs = ours(shards, train, args), peer(shards, train, args, samples)
    normalise = Normalise(args.batch)
    return compare(
        pictures_per_second(lambda: sum(len(normalise(batch)) for batch in mine)),
        pictures_per_second(lambda: sum(len(pixels) for pixels, _ in theirs)),
        name="loader",
        case="random crop" if train else "resize and centre crop",
        unit="pictures/CPU second",
        pairs=args.repeats,
        check=difference(shards, train, args),
        settings={"samples": samples, "size": SIZE, "filter": "bicubic", "tolerance": TOLERANCE},
    )


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--data", help="shards of jpg + txt to read instead of made ones")
    parser.add_argument("--samples", type=int, default=1024, help="pictures to make")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5, help="alternating pairs after warm-up")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="the same in seconds, to see that it works")
    args = parser.parse_args(words)
    if args.quick:
        vars(args).update(QUICK)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        shards = args.data or make_shards(Path(folder), args.samples, args.seed)
        results = [measure(shards, train, args) for train in (True, False)]
        conditions = settings(expand_shards(shards), batch=args.batch, seed=args.seed, repeats=args.repeats)
    write_bench(args.json, results, conditions, quick=args.quick, tolerance=TOLERANCE)


if __name__ == "__main__":
    main()
