"""Photos that scikit-learn and scikit-image ship, as pictures and as shards."""

from functools import cache
from pathlib import Path

import simplejpeg
import torch

from vl.data.shards import ShardWriter
from vl.regions.extractor import Picture


@cache
def photos() -> tuple[Picture, ...]:
    from skimage.data import astronaut, coffee
    from sklearn.datasets import load_sample_images

    arrays = {"astronaut": astronaut(), "coffee": coffee()}
    arrays |= dict(zip(("china", "flower"), load_sample_images().images, strict=True))
    return tuple(Picture(key, torch.from_numpy(pixels.copy()).permute(2, 0, 1)) for key, pixels in arrays.items())


def shard_of(pictures, folder: Path) -> str:
    """A shard of these pictures as jpegs."""
    with ShardWriter(folder, "train-photos") as writer:
        for picture in pictures:
            pixels = picture.pixels.permute(1, 2, 0).contiguous().numpy()
            writer.write(picture.key, {"jpg": simplejpeg.encode_jpeg(pixels), "txt": picture.key})
    return str(folder / writer.shards[0].file)
