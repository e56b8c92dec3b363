"""Small pictures for recipes, under the names that a data set gives its own."""

import io
import json
import tarfile
import zipfile
from hashlib import blake2b
from pathlib import Path

from PIL import Image

SIZE = (32, 24)


def picture(name: str, kind: str = "JPEG") -> bytes:
    """A picture of one colour, which its name decides."""
    data = io.BytesIO()
    Image.new("RGB", SIZE, tuple(blake2b(name.encode(), digest_size=3).digest())).save(data, kind)
    return data.getvalue()


def kind_of(name: str) -> str:
    return "PNG" if name.endswith(".png") else "JPEG"


def in_folder(folder: Path, names: list[str]) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(name, kind_of(name)))
    return folder


def in_zip(path: Path, names: list[str], top: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(top + name, picture(name, kind_of(name)))
    return path


def in_shard(path: Path, urls: list[str]) -> Path:
    """As img2dataset writes it: numbered keys, and a json with the picture's URL."""
    with tarfile.open(path, "w") as tar:
        for number, url in enumerate(urls):
            members = {"jpg": picture(url), "json": json.dumps({"url": url, "status": "success"}).encode()}
            for kind, data in members.items():
                info = tarfile.TarInfo(f"{number:09d}.{kind}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path
