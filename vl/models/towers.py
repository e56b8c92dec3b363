"""What the towers of a `TwoTower` are: one picture or one text in, one feature vector out."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from vl.batch import Text

Colour = tuple[float, float, float]


def normalize_pixels(pixels: Shaped[Tensor, "b 3 h w"], mean: Colour, std: Colour) -> Float[Tensor, "b 3 h w"]:
    """Pixels (uint8 in 0..255 or float in 0..1) minus `mean`, over `std`, as float."""
    # The constants are made here and are no buffers: those lose their values on the meta device.
    centre, spread = (torch.tensor(value, device=pixels.device).view(3, 1, 1) for value in (mean, std))
    return ((pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels) - centre) / spread


def resize_grid(positions: Float[Tensor, "*one n d"], num_places: int, num_extra: int) -> Float[Tensor, "*one m d"]:
    """Position embeddings of a square grid for another one of `num_places`, both with `num_extra` tokens in front.

    Bicubic and antialiased, as open_clip does it; Hugging Face's `interpolate_pos_encoding` does not antialias, which
    differs in the fourth digit.
    """
    extra, grid = positions.split((num_extra, positions.shape[-2] - num_extra), dim=-2)
    old, new = isqrt(grid.shape[-2]), isqrt(num_places)
    grid = grid.reshape(1, old, old, -1).permute(0, 3, 1, 2).float()
    grid = F.interpolate(grid, (new, new), mode="bicubic", antialias=True, align_corners=False)
    grid = grid.permute(0, 2, 3, 1).reshape(*positions.shape[:-2], new * new, -1)
    return torch.cat([extra, grid.to(extra.dtype)], dim=-2)


class Tower(nn.Module):
    """A tower. `embed_dim` is the width of its output; `frozen` keeps it as it is (LiT, arXiv:2111.07991).

    A frozen tower has no gradients and stays in evaluation mode, so its BatchNorm statistics do not move either.
    """

    embed_dim: int
    #: Name prefixes of the parameters at the input, at depth 0 for layer-wise learning rates.
    inputs: tuple[str, ...] = ()
    frozen: bool = False

    def blocks(self) -> Sequence[nn.Module]:
        """The repeated blocks, bottom-up."""
        return ()

    def freeze(self) -> None:
        self.frozen = True
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Tower:
        return super().train(mode and not self.frozen)

    def depth_of(self, name: str) -> float:
        """0 for a parameter at the input, (i+1)/(n+1) in block i of n, 1 above the blocks."""
        if name.startswith(self.inputs):
            return 0.0
        blocks = self.blocks()
        place = {id(parameter): i for i, block in enumerate(blocks) for parameter in block.parameters()}
        return (place.get(id(self.get_parameter(name)), len(blocks)) + 1) / (len(blocks) + 1)


class ImageTower(Tower):
    """Pixels to a feature vector. The tower normalises the pixels with its own `mean` and `std`."""

    image_size: int
    mean: Colour
    std: Colour

    def resize_on_load(self, name: str, num_extra: int) -> None:
        """Interpolate the position embeddings `name` when weights of another image size are loaded."""

        def resize(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
            found, own = state.get(prefix + name), self.get_parameter(name)
            if found is not None and found.shape != own.shape and found.shape[-1] == own.shape[-1]:
                state[prefix + name] = resize_grid(found, own.shape[-2] - num_extra, num_extra)

        self.register_load_state_dict_pre_hook(resize)

    def forward(self, pixels: Shaped[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
        raise NotImplementedError


class TextTower(Tower):
    """A text to a feature vector. Ids lie in 0..`vocab_size`-1, a text has at most `context_length` of them."""

    vocab_size: int
    context_length: int

    def learns_from(self, text: Text) -> Bool[Tensor, " b"]:
        """Whether a text's features can change in training: of a frozen tower, those of texts with trained tokens."""
        return torch.full((len(text.ids),), not self.frozen, device=text.ids.device)

    def forward(self, text: Text) -> Float[Tensor, "b e"]:
        raise NotImplementedError
