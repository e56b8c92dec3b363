"""Model configurations of open_clip: by the name of a built-in one, from a JSON file, or given in place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import open_clip


def read_config(config: str | Mapping[str, Any]) -> dict[str, Any]:
    """The keys `embed_dim`, `vision_cfg`, `text_cfg` and the like of an open_clip model.

    A JSON file may be one of open_clip's model configs or an `open_clip_config.json`, which wraps one in `model_cfg`.

    Raises:
        ValueError: no such name or file, or a key is missing.
    """
    if isinstance(config, Mapping):
        found: Any = deepcopy(dict(config))
    elif config.endswith(".json"):
        if not Path(config).is_file():
            raise ValueError(f"there is no open_clip model config at {config}")
        found = json.loads(Path(config).read_text())
    else:
        found = open_clip.get_model_config(config)
        if found is None:
            near = get_close_matches(config, open_clip.list_models(), 3, cutoff=0)
            raise ValueError(f"open_clip has no model {config!r}; near are {', '.join(near)}, or give a .json file")
    found = found.get("model_cfg", found)
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - set(found)
    if missing:
        raise ValueError(f"an open_clip model config needs {', '.join(sorted(missing))}, which this one lacks")
    return found
