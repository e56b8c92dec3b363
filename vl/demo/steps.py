"""Steps that are not done twice: each leaves a marker that names its inputs, written when its work is whole."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from vl.report.figures import write_json


@dataclass(frozen=True)
class Steps:
    """The steps of a run that lies in `folder`; what they make lies below it too."""

    folder: Path

    def once(self, name: str, inputs: Mapping[str, Any], made: Path, work: Callable[[], object]) -> None:
        """Do `work`, unless it was done with the same inputs and what it `made` is still there.

        Work that was interrupted is called again on what it left behind; with other inputs that is removed first.
        """
        key, before = digest(inputs), self._read(name)
        if before.get("key") == key and before.get("seconds") is not None and made.exists():
            Console().print(f"[dim]{name}: done already ({made})[/]", highlight=False)
            return
        if before and before["key"] != key and made.exists():
            Console().print(f"{name}: its settings have changed, so {made} is made anew", highlight=False)
            shutil.rmtree(made) if made.is_dir() else made.unlink()
        write_json(self._marker(name), {"key": key, "seconds": None})
        Console().rule(name, align="left")
        start = time.perf_counter()
        work()
        write_json(self._marker(name), {"key": key, "seconds": round(time.perf_counter() - start, 1)})

    def seconds(self, *names: str) -> dict[str, float | None]:
        """How long the steps took when they were done, without earlier attempts that were interrupted."""
        return {name: self._read(name).get("seconds") for name in names}

    def _marker(self, name: str) -> Path:
        return self.folder / f".{name}.json"

    def _read(self, name: str) -> dict[str, Any]:
        marker = self._marker(name)
        return json.loads(marker.read_text()) if marker.is_file() else {}


def digest(inputs: Mapping[str, Any]) -> str:
    """A short name for some inputs."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()[:16]
