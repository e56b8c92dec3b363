"""CogView's image tokenizer: a plain convolutional VQ-VAE.

"CogView: Mastering Text-to-Image Generation via Transformers", arXiv:2105.13290, section 2.2.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from vl.batch import Batch, Reconstruction
from vl.models.codebook import Codebook
from vl.models.image_tokenizer import ImageTokenizer, halvings_of, to_grid, to_unit

#: Of the released tokenizer's training pictures.
MEAN, STD = (0.79093, 0.76271, 0.75340), (0.30379, 0.32279, 0.32800)


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, width, 1)
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x + self.conv(x)


def encoder(width: int, code_width: int, residual_blocks: int, halvings: int) -> nn.Sequential:
    """Convolutions of stride 2, residual blocks at the lowest resolution, and a linear map to the codes."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1)]
    layers += [layer for _ in range(halvings - 1) for layer in (nn.ReLU(), nn.Conv2d(width, width, 4, 2, 1))]
    layers += [ResidualBlock(width, width // 4) for _ in range(residual_blocks)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(width, code_width, 1))


def decoder(width: int, code_width: int, residual_blocks: int, context_blocks: int, halvings: int) -> nn.Sequential:
    """The mirror image: residual blocks stand after the first transposed convolution, as in the release."""
    layers: list[nn.Module] = []
    if context_blocks:
        layers += [nn.Conv2d(code_width, width, 1)]
        layers += [ResidualBlock(width, width) for _ in range(context_blocks)]
    layers += [nn.ConvTranspose2d(width if context_blocks else code_width, width, 4, 2, 1)]
    layers += [ResidualBlock(width, width // 4) for _ in range(residual_blocks)]
    layers += [layer for _ in range(halvings - 1) for layer in (nn.ReLU(), nn.ConvTranspose2d(width, width, 4, 2, 1))]
    return nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(width, 3, 1))


class VQVAE(ImageTokenizer):
    """Pictures as grids of codes, by the nearest vector of a codebook.

    Args:
        codebook: the vectors and how they are learnt.
        width: channels of the convolutions.
        residual_blocks: 0 in the release.
        image_size: pixels a side, a multiple of `stride`.
        mean, std: of the pixels.
        context_blocks: residual blocks of the decoder on the grid of codes, 0 in the release. With some of them a cell
            is drawn with regard to the cells around it, and a thing's cells need not each say all of its colour.
        stride: pixels of a cell, a power of two; 8 in the release.
    """

    provides = frozenset({"reconstruction", "codebook"})
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        codebook: Codebook,
        width: int = 512,
        residual_blocks: int = 0,
        image_size: int = 256,
        mean: tuple[float, float, float] = MEAN,
        std: tuple[float, float, float] = STD,
        context_blocks: int = 0,
        stride: int = 8,
    ) -> None:
        super().__init__()
        self.stride, halvings = stride, halvings_of(stride, image_size)
        self.num_codes, self.width, self.image_size = codebook.num_codes, width, image_size
        self.encoder = encoder(width, codebook.width, residual_blocks, halvings)
        self.codebook = codebook
        self.decoder = decoder(width, codebook.width, residual_blocks, context_blocks, halvings)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def features(self, pixels: Shaped[Tensor, "b 3 h w"]) -> Float[Tensor, "b s s d"]:
        return self.encoder((to_unit(pixels) - self.mean) / self.std).movedim(1, 3)

    def forward(self, batch: Batch) -> Reconstruction:
        """`pixels` of the result may leave 0..1 a little."""
        z = self.features(batch.visual.pixels).float()
        found = self.codebook(z.flatten(0, 2))
        codes = found.codes.unflatten(0, z.shape[:3]).flatten(1)
        pixels = self.decoder(found.vectors.unflatten(0, z.shape[:3]).movedim(3, 1)).float()
        return Reconstruction(pixels * self.std + self.mean, codes, found.commitment)

    def encode(self, pixels: Shaped[Tensor, "b 3 h w"]) -> Int[Tensor, "b n"]:
        z = self.features(pixels).float()
        return self.codebook.nearest(z.flatten(0, 2)).unflatten(0, z.shape[:3]).flatten(1)

    def decode(self, codes: Int[Tensor, "b n"]) -> Float[Tensor, "b 3 h w"]:
        vectors = self.codebook.look_up(to_grid(codes)).movedim(3, 1)
        return (self.decoder(vectors).float() * self.std + self.mean).clamp(0, 1)
