"""The checkpoints of a run on disk: which are whole, which is the last, how one comes to be.

A checkpoint is a file, or a folder of shards (FSDP2), named `step_NNNNNNNN.ckpt`. It is written under a temporary name
(`.tmp`), made durable, marked as complete, and only then renamed. So whatever ends in `.ckpt` is whole, unless somebody
copied it by halves: a file without its central directory (a torch file is a zip, its directory comes last) and a folder
whose marker is missing, or disagrees with what is there, do not count.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

from vl.checkpoints.safe import check_sharded, load_tensors, local_path

MARKER = "complete.json"
TEMPORARY = ".tmp"
#: Where Lightning's FSDP2 strategy keeps what is neither weights nor optimizer state.
_METADATA = "meta.pt"


def checkpoint_name(step: int) -> str:
    return f"step_{step:08d}.ckpt"


def is_whole(path: Path) -> bool:
    """Whether everything that was saved is there."""
    if path.is_file():
        return zipfile.is_zipfile(path)
    try:
        sizes = json.loads((path / MARKER).read_text())
        return all((path / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def list_checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest step first."""
    return [path for path in sorted(folder.glob("step_*.ckpt")) if is_whole(path)]


def publish(temporary: Path, final: Path) -> None:
    """Turn what was written under a temporary name into a checkpoint: durable, marked, renamed."""
    if temporary.is_dir():
        files = [path for path in temporary.rglob("*") if path.is_file()]
        for path in files:
            _sync(path)
        marker = temporary / MARKER
        marker.write_text(json.dumps({str(path.relative_to(temporary)): path.stat().st_size for path in files}))
        _sync(marker)
    _sync(temporary)
    remove(final)
    temporary.replace(final)
    _sync(final.parent)


def tidy(folder: Path, keep: int) -> None:
    """Remove what a killed save left behind, and all but the last `keep` checkpoints of steps."""
    for leftover in folder.glob(f"*{TEMPORARY}"):
        remove(leftover)
    for old in list_checkpoints(folder)[:-keep]:
        remove(old)


def remove(path: Path) -> None:
    if path.is_dir():
        # First out of sight, so that a kill in between leaves no half folder under a checkpoint's name.
        hidden = path.with_name(f"{path.name}.old{TEMPORARY}") if path.suffix != TEMPORARY else path
        if hidden != path:
            shutil.rmtree(hidden, ignore_errors=True)
            path.replace(hidden)
        shutil.rmtree(hidden)
    else:
        path.unlink(missing_ok=True)


def find_checkpoint(name: str, folder: Path) -> Path | None:
    """The checkpoint a user means by a path, `last` or `best`; None for `last` of a run that has saved nothing yet.

    Where later ones than the last are not whole, a warning names them.

    Raises:
        ValueError: there is no such checkpoint, or it is not whole; names those that are.
    """
    whole = list_checkpoints(folder)
    if name == "last":
        last = whole[-1] if whole else None
        later = [path.name for path in sorted(folder.glob("step_*.ckpt")) if not last or path.name > last.name]
        if later:
            warnings.warn(f"{folder}: not whole, so left out: {', '.join(later)}; the last one is {last}", stacklevel=2)
        return last
    path = folder / "best.ckpt" if name == "best" else local_path(name) if "://" in name else Path(name)
    if not path.exists():
        raise ValueError(f"the checkpoint {path} does not exist{_alternatives(whole)}")
    if not is_whole(path):
        raise ValueError(f"the checkpoint {path} is not whole: its save or copy was cut short{_alternatives(whole)}")
    return path


def read_head(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself; tensors stay on disk. Nothing in the file is executed.

    Raises:
        ValueError: it is damaged, holds a pickle payload, or is no checkpoint of a training run.
    """
    if path.is_dir():
        check_sharded(path)
    elif (damaged := _damaged_part(path)) is not None:
        raise ValueError(f"the checkpoint {path} is damaged in {damaged}: the checksum differs. Use an earlier one")
    head = load_tensors(path / _METADATA if path.is_dir() else path)
    if "loops" not in head:
        raise ValueError(f"{path} is no checkpoint of a training run; name start weights in the model's `init` instead")
    return head


def _damaged_part(path: Path) -> str | None:
    """The first part of a file whose content is not what was saved, by the zip's checksums."""
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as parts:
            return parts.testzip()
    except zipfile.BadZipFile as error:
        return str(error)


def _alternatives(whole: list[Path]) -> str:
    return f". Whole ones: {', '.join(map(str, whole))}" if whole else ""


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
