"""The pictures of the demo: read from shards or a plain folder, embedded once, searched by an embedding."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vl.data.sample import IMAGE_MEMBERS, Sample
from vl.data.shards import expand_shards
from vl.data.stages import ImageStage
from vl.evaluation.embed import Embedder, Images, captions_of, read_samples
from vl.metrics.recall import cosine_scores

#: A larger file of a folder is not read; uploads have the same limit.
MAX_BYTES = 2**24
THUMBNAIL = "thumbnail"
_THUMBNAIL_SIZE = 224


@dataclass(frozen=True, eq=False)  # hashed by identity: Gradio hashes what a page remembers
class Hit:
    """A picture of the gallery, whose sample carries a WebP `thumbnail`, and its cosine to what was asked, if anything
    was."""

    sample: Sample
    score: float | None = None

    def caption(self, language: str) -> str:
        """The first caption in a language, else the first of all, else the key."""
        captions = captions_of(self.sample, language) or self.sample.record.captions
        return captions[0].text if captions else self.sample.key


@dataclass(frozen=True)
class Gallery:
    """Embedded pictures with their thumbnails."""

    images: Images

    @classmethod
    def embed(cls, embedder: Embedder, samples: Iterable[Sample]) -> Gallery:
        """Embed the pictures of samples; a warning counts those that cannot be read.

        Raises:
            ValueError: not one picture could be read; names the first and why.
        """
        return cls(embedder.images(_with_thumbnails(samples), "gallery"))

    def __len__(self) -> int:
        return len(self.images.samples)

    def search(self, query: Float[Tensor, "1 e"], count: int) -> list[Hit]:
        """The `count` pictures closest to an embedding, best first."""
        scores = cosine_scores(query, self.images.emb)(0, 1)[0]
        best = scores.topk(min(count, len(self)))
        return [Hit(self.images.samples[row], score.item()) for score, row in zip(*best, strict=True)]

    def first(self, count: int) -> list[Hit]:
        """The first pictures, for a page that nothing was asked yet."""
        return [Hit(sample) for sample in self.images.samples[:count]]


def read_gallery(place: str, limit: int) -> Iterator[Sample]:
    """The first `limit` samples of shards, of a folder of shards, or of a folder of pictures (and its subfolders).

    Raises:
        ValueError: there is neither a shard nor a picture, or a shard is damaged.
    """
    if not Path(place).is_dir():
        return read_samples(expand_shards(place), limit)
    if shards := sorted(map(str, Path(place).glob("*.tar"))):
        return read_samples(shards, limit)
    files = sorted(path for path in Path(place).rglob("*") if path.suffix[1:].lower() in IMAGE_MEMBERS)
    if not files:
        raise ValueError(f"{place} holds neither shards (.tar) nor pictures ({', '.join(IMAGE_MEMBERS)})")
    if len(files) > limit:
        warnings.warn(f"{place}: the first {limit:,} of {len(files):,} pictures are shown", stacklevel=2)
    return (_read_file(path, Path(place)) for path in islice(files, limit))


def _read_file(path: Path, folder: Path) -> Sample:
    """The sample of a picture file, named after it; without a picture where it is no file or too large."""
    small = path.is_file() and path.stat().st_size <= MAX_BYTES
    members = {path.suffix[1:].lower(): path.read_bytes()} if small else {}
    return Sample(path.relative_to(folder).with_suffix("").as_posix(), members)


def _with_thumbnails(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Samples with one member more; the model's stage reports those whose picture cannot be read."""
    stage = ImageStage(_THUMBNAIL_SIZE)
    for sample in samples:
        try:
            thumbnail = _webp(stage, sample.image() or b"")
        except ValueError:
            yield sample
        else:
            yield replace(sample, members={**sample.members, THUMBNAIL: thumbnail})


def _webp(stage: ImageStage, picture: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(stage(picture).permute(1, 2, 0).numpy()).save(buffer, "WEBP", quality=85)
    return buffer.getvalue()
