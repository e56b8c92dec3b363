"""Frozen towers that remember: what cannot change is computed once for every picture and text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from vl.batch import Text
from vl.models.towers import ImageTower, TextTower, Tower


class Memory:
    """Feature vectors by the content they were computed from, up to `max_bytes`; later ones are not kept."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.num_bytes = max_bytes, 0
        self.rows: dict[bytes, Tensor] = {}

    def get(self, contents: Sequence[bytes], compute: Callable[[Tensor], Float[Tensor, "n d"]]) -> Float[Tensor, "b d"]:
        """The rows of some contents; `compute` gives those at the indices it is asked for."""
        keys = [sha256(content).digest() for content in contents]
        missing = {key: place for place, key in enumerate(keys) if key not in self.rows}
        found = dict(zip(missing, compute(torch.tensor(list(missing.values()))), strict=True)) if missing else {}
        for key, row in found.items():
            if self.num_bytes < self.max_bytes:
                self.rows[key] = row.clone()
                self.num_bytes += row.nbytes
        return torch.stack([found[key] if key in found else self.rows[key] for key in keys])


def _require_frozen(tower: Tower) -> None:
    if not tower.frozen:
        raise ValueError(f"only a frozen tower can remember: set frozen of {type(tower).__name__}")


class CachedImage(ImageTower):
    """A frozen image tower that computes each picture once.

    With random augmentation every picture is a new one: give the data a `vl.data.few_views.FewViews`.

    Args:
        tower: the frozen tower.
        max_bytes: of features to keep; pictures seen after that are computed every time.

    Raises:
        ValueError: the tower is not frozen.
    """

    def __init__(self, tower: ImageTower, max_bytes: int = 2**30) -> None:
        super().__init__()
        _require_frozen(tower)
        self.tower, self.memory = tower, Memory(max_bytes)
        self.embed_dim, self.image_size, self.mean, self.std = tower.embed_dim, tower.image_size, tower.mean, tower.std

    def blocks(self) -> Sequence[nn.Module]:
        return self.tower.blocks()

    def depth_of(self, name: str) -> float:
        return self.tower.depth_of(name.removeprefix("tower."))

    @torch.no_grad()
    def forward(self, pixels: Shaped[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
        contents = [row.tobytes() for row in pixels.cpu().numpy()]
        return self.memory.get(contents, lambda places: self.tower(pixels[places.to(pixels.device)]))


class CachedText(TextTower):
    """A frozen text tower that computes each text once, but those that it `learns_from`.

    Args:
        tower: the frozen tower.
        max_bytes: of features to keep; texts seen after that are computed every time.

    Raises:
        ValueError: the tower is not frozen.
    """

    def __init__(self, tower: TextTower, max_bytes: int = 2**30) -> None:
        super().__init__()
        _require_frozen(tower)
        self.tower, self.memory = tower, Memory(max_bytes)
        self.embed_dim, self.vocab_size = tower.embed_dim, tower.vocab_size
        self.context_length = tower.context_length

    def blocks(self) -> Sequence[nn.Module]:
        return self.tower.blocks()

    def depth_of(self, name: str) -> float:
        return self.tower.depth_of(name.removeprefix("tower."))

    def forward(self, text: Text) -> Float[Tensor, "b e"]:
        learnt = self.tower.learns_from(text)
        if learnt.all():
            return self.tower(text)
        known = self._recall(text.rows(~learnt))
        if not learnt.any():
            return known
        places = torch.cat([(~learnt).nonzero(), learnt.nonzero()]).squeeze(1)
        return torch.cat([known, self.tower(text.rows(learnt))])[places.argsort()]

    @torch.no_grad()
    def _recall(self, text: Text) -> Float[Tensor, "b e"]:
        rows = zip(text.ids.cpu().numpy(), text.mask.cpu().numpy(), strict=True)
        contents = [ids[mask].tobytes() for ids, mask in rows]
        return self.memory.get(contents, lambda places: self.tower(text.rows(places.to(text.ids.device))))
