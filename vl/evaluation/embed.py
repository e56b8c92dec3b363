"""Embeddings of the pictures and texts of shards, by any model that provides them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import torch
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import track
from torch import Tensor

from vl.batch import Batch, Visual
from vl.checkpoints.bundle import Bundle
from vl.data.index import ShardSet
from vl.data.sample import IMAGE_MEMBERS, TEXT_MEMBERS, Caption, Sample, language_index
from vl.data.stages import BadMember
from vl.data.views.pictures import PictureView

Precision = Literal["fp32", "bf16"]


class _SampleView(PictureView):
    """Every sample once, with its texts and its class (`cls`, as image classification shards carry it)."""

    members = frozenset((*IMAGE_MEMBERS, *TEXT_MEMBERS, "cls"))


@dataclass(frozen=True)
class Images:
    """Embedded pictures, one row each, with their samples (without the pictures) in the same order.

    `bad` holds the keys of pictures that could not be read, and why: they are in no row and no figure.
    """

    emb: Float[Tensor, "i e"]
    samples: tuple[Sample, ...]
    bad: dict[str, str]

    def captioned(self, language: str) -> tuple[Images, list[str], Int[Tensor, " t"]]:
        """Those with captions in a language, all these captions, and the number of the picture each belongs to.

        Raises:
            ValueError: none has one; lists the languages there are.
        """
        rows = [i for i, sample in enumerate(self.samples) if captions_of(sample, language)]
        if not rows:
            there = sorted({caption.language for sample in self.samples for caption in sample.record.captions})
            raise ValueError(f"no sample has a caption in {language!r}; languages there: {', '.join(there) or '-'}")
        chosen = Images(self.emb[rows], tuple(self.samples[i] for i in rows), self.bad)
        pairs = [(c.text, i) for i, sample in enumerate(chosen.samples) for c in captions_of(sample, language)]
        return chosen, [text for text, _ in pairs], torch.tensor([i for _, i in pairs])


@dataclass(frozen=True)
class Embedder:
    """A model with what it reads, and how it is run.

    Args:
        bundle: The model, its tokenizer and its image stage.
        batch_size: Pictures or texts a forward pass.
        device: Where the model runs (it is moved there); embeddings come back to the CPU in fp32.
        precision: fp32, or bf16 autocast.
        features: Pictures to vectors; None for the model's embeddings.

    Raises:
        ValueError: the model embeds no pictures or no texts, or there is no such device.
    """

    bundle: Bundle
    batch_size: int = 64
    device: str = "cpu"
    precision: Precision = "fp32"
    features: Callable[[Visual], Float[Tensor, "b e"]] | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size}: at least 1")
        kind = self.device.partition(":")[0]
        if kind != "cpu" and not (kind in ("cuda", "mps", "xpu") and getattr(torch, kind).is_available()):
            raise ValueError(f"device {self.device!r} is not there; cpu always is")
        model = self.bundle.model.to(self.device).eval()
        if missing := {"text_emb", "image_emb"} - model.provides:
            raise ValueError(f"{type(model).__name__} gives no {' and no '.join(sorted(missing))}")
        if self.bundle.tokenizer is None or self.bundle.image is None:
            raise ValueError("the checkpoint holds no tokenizer or no image stage: nothing can be given to its model")

    def images(self, samples: Iterable[Sample], title: str = "pictures") -> Images:
        """Embed the pictures of samples; a warning counts those that cannot be read.

        Raises:
            ValueError: not one picture could be read; names the first and why.
        """
        rows, kept, bad = [], [], {}
        stage = self.bundle.image.without_chance()
        for group in _groups(progress(samples, title), self.batch_size):
            pixels = []
            for sample in group:
                try:
                    pixels.append(stage(sample.image() or b""))
                except ValueError as error:
                    bad[sample.key] = str(error) if sample.image() else "it has no picture, or too large a member"
                    continue
                kept.append(_without_picture(sample))
            if pixels:
                rows.append(self._run(Visual(pixels=torch.stack(pixels))))
        if not rows:
            reason = "; ".join(f"{key}: {why}" for key, why in islice(bad.items(), 1)) or "there are none"
            raise ValueError(f"not one picture could be read ({reason})")
        if bad:
            key, why = next(iter(bad.items()))
            warnings.warn(
                f"{len(bad)} of {len(kept) + len(bad)} pictures could not be read ({key}: {why})", stacklevel=2
            )
        return Images(torch.cat(rows), tuple(kept), bad)

    def texts(self, texts: Sequence[str], language: str) -> Float[Tensor, "t e"]:
        """Embed texts; those of like length share a batch, so that little is padded."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        rows = []
        for chosen in _groups(progress(order, "texts"), self.batch_size):
            rows.append(self._run([texts[i] for i in chosen], language))
        return torch.cat(rows)[torch.tensor(order).argsort()]

    @torch.inference_mode()
    def _run(self, inputs: Visual | list[str], language: str = "") -> Float[Tensor, "b e"]:
        model = self.bundle.model
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bf16"):
            if isinstance(inputs, Visual):
                visual = inputs.to(self.device)
                rows = self.features(visual) if self.features else model(Batch(visual=visual)).image_emb
            else:
                text = self.bundle.tokenizer.encode(inputs, [language_index(language)] * len(inputs))
                rows = model(Batch(text=text.to(self.device))).text_emb
        return rows.float().cpu().clone()


def read_samples(shards: str | Sequence[str], limit: int | None = None) -> Iterator[Sample]:
    """The samples of shards in their order, at most `limit` of them; a warning counts malformed ones.

    Raises:
        ValueError: a shard is missing or damaged (see `ShardSet`), or `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit}: at least 1 sample must be read")
    shard_set = ShardSet(shards, _SampleView())
    return (_read(shard_set, number) for number in range(min(len(shard_set), limit or len(shard_set))))


def captions_of(sample: Sample, language: str) -> tuple[Caption, ...]:
    """The captions of a sample in one language."""
    return tuple(caption for caption in sample.record.captions if caption.language == language)


def _read(shard_set: ShardSet, number: int) -> Sample:
    """A sample; without members where one is too large, so that it counts as unreadable."""
    try:
        return shard_set.read(number)
    except BadMember:
        return Sample(shard_set.key(number), {})


def _without_picture(sample: Sample) -> Sample:
    return replace(sample, members={n: data for n, data in sample.members.items() if n not in IMAGE_MEMBERS})


def _groups(items: Iterable, size: int) -> Iterator[list]:
    """Lists of `size` items, the last one shorter."""
    source = iter(items)
    while group := list(islice(source, size)):
        yield group


def progress(items: Iterable, title: str) -> Iterable:
    """The items, with a bar on a terminal's standard error."""
    console = Console(stderr=True)
    return track(items, title, console=console, transient=True, disable=not console.is_terminal)
