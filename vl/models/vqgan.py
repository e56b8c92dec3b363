"""The image tokenizer of released VQGANs: a convolutional ResNet with attention around a codebook, used as it is.

"Taming Transformers for High-Resolution Image Synthesis", arXiv:2012.09841, section 3.1 and table 7. Module names are
those of the release (taming-transformers), which `vl.checkpoints.vqgan` reads.
"""

from __future__ import annotations

from collections import OrderedDict

from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from vl.batch import Batch, Reconstruction
from vl.models.codebook import GradientCodebook
from vl.models.image_tokenizer import ImageTokenizer, to_grid, to_unit


def conv(in_width: int, out_width: int) -> nn.Conv2d:
    return nn.Conv2d(in_width, out_width, 3, padding=1)


def norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, width, eps=1e-6)


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity, each after a normalisation and a swish."""

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(in_width), conv(in_width, out_width)
        self.norm2, self.conv2 = norm(out_width), conv(out_width, out_width)
        self.nin_shortcut = nn.Identity() if in_width == out_width else nn.Conv2d(in_width, out_width, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        y = self.conv1(F.silu(self.norm1(x)))
        return self.nin_shortcut(x) + self.conv2(F.silu(self.norm2(y)))


class AttentionBlock(nn.Module):
    """Every cell looks at every cell, with one head, beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = norm(width)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        y = self.norm(x)
        q, k, v = (part(y).flatten(2).mT[:, None] for part in (self.q, self.k, self.v))
        found = F.scaled_dot_product_attention(q, k, v)[:, 0].mT.unflatten(2, x.shape[2:])
        return x + self.proj_out(found)


class Downsample(nn.Module):
    """Half the size; zeros are added on the right and below alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Twice the size: every cell four times, then a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = conv(width, width)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        return self.conv(F.interpolate(x, scale_factor=2.0))


class Level(nn.Module):
    """The blocks of one resolution, each followed by attention where the level has it, then what changes the size."""

    def __init__(
        self, in_width: int, out_width: int, blocks: int, attention: bool, down: bool = False, up: bool = False
    ) -> None:
        super().__init__()
        widths = (in_width, *[out_width] * blocks)
        self.block = nn.ModuleList(ResidualBlock(widths[i], out_width) for i in range(blocks))
        self.attn = nn.ModuleList(AttentionBlock(out_width) for _ in range(blocks if attention else 0))
        self.downsample = Downsample(out_width) if down else nn.Identity()
        self.upsample = Upsample(out_width) if up else nn.Identity()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        for i, block in enumerate(self.block):
            x = self.attn[i](block(x)) if self.attn else block(x)
        return self.upsample(self.downsample(x))


def middle(width: int) -> nn.Sequential:
    """What stands between the lowest level and the codes, on both sides of them."""
    blocks: dict[str, nn.Module] = {"block_1": ResidualBlock(width, width), "attn_1": AttentionBlock(width)}
    return nn.Sequential(OrderedDict(blocks, block_2=ResidualBlock(width, width)))


class Encoder(nn.Module):
    """Pixels in -1..1 to the features of every cell."""

    def __init__(self, widths: tuple[int, ...], blocks: int, attention: tuple[int, ...], latent_width: int) -> None:
        super().__init__()
        last = len(widths) - 1
        before = (widths[0], *widths)
        self.conv_in = conv(3, widths[0])
        self.down = nn.ModuleList(
            Level(before[i], widths[i], blocks, i in attention, down=i < last) for i in range(last + 1)
        )
        self.mid = middle(widths[-1])
        self.norm_out, self.conv_out = norm(widths[-1]), conv(widths[-1], latent_width)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b z s t"]:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """Features of every cell to pixels in -1..1; each level has a block more than the encoder's."""

    def __init__(self, widths: tuple[int, ...], blocks: int, attention: tuple[int, ...], latent_width: int) -> None:
        super().__init__()
        below = (*widths[1:], widths[-1])
        self.conv_in = conv(latent_width, widths[-1])
        self.mid = middle(widths[-1])
        self.up = nn.ModuleList(
            Level(below[i], widths[i], blocks + 1, i in attention, up=i > 0) for i in range(len(widths))
        )
        self.norm_out, self.conv_out = norm(widths[0]), conv(widths[0], 3)

    def forward(self, x: Float[Tensor, "b z s t"]) -> Float[Tensor, "b 3 h w"]:
        x = self.mid(self.conv_in(x))
        for level in self.up[::-1]:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class VQGAN(ImageTokenizer):
    """Pictures as grids of codes, by the nearest vector of a codebook; its weights are frozen.

    The defaults are the release for 256 pixels with 16,384 codes, 76,073,859 parameters; the one with 1,024 codes has
    72,141,699. The adversarial objective that trains them is not here, and so neither are its discriminator and its
    perceptual loss.

    Args:
        num_codes, code_width: of the codebook.
        latent_width: channels of what the encoder gives and the decoder takes.
        width: channels at full resolution.
        multipliers: channels of each level as multiples of `width`; each level but the first has half the size.
        blocks: residual blocks of a level of the encoder.
        attention: levels with attention, counted from 0 at full resolution.
        image_size: pixels a side, a multiple of 2 to the number of levels - 1.
    """

    provides = frozenset({"reconstruction"})
    block_classes = (ResidualBlock, AttentionBlock)

    def __init__(
        self,
        num_codes: int = 16384,
        code_width: int = 256,
        latent_width: int = 256,
        width: int = 128,
        multipliers: tuple[int, ...] = (1, 1, 2, 2, 4),
        blocks: int = 2,
        attention: tuple[int, ...] = (4,),
        image_size: int = 256,
    ) -> None:
        super().__init__()
        self.num_codes, self.width, self.image_size = num_codes, width, image_size
        self.stride = 2 ** (len(multipliers) - 1)
        if image_size % self.stride:
            raise ValueError(f"image_size must be a multiple of {self.stride}, not {image_size}")
        sizes = tuple(width * multiplier for multiplier in multipliers), blocks, attention, latent_width
        self.encoder, self.decoder = Encoder(*sizes), Decoder(*sizes)
        self.codebook = GradientCodebook(num_codes, code_width)
        self.quant_conv = nn.Conv2d(latent_width, code_width, 1)
        self.post_quant_conv = nn.Conv2d(code_width, latent_width, 1)
        self.requires_grad_(False)

    def features(self, pixels: Shaped[Tensor, "b 3 h w"]) -> Float[Tensor, "b s t d"]:
        """What the codebook is compared with."""
        return self.quant_conv(self.encoder(2 * to_unit(pixels) - 1)).movedim(1, 3)

    def forward(self, batch: Batch) -> Reconstruction:
        """`pixels` of the result may leave 0..1 a little."""
        z = self.features(batch.visual.pixels).float()
        found = self.codebook(z.flatten(0, 2))
        codes = found.codes.unflatten(0, z.shape[:3])
        return Reconstruction(self._paint(codes), codes.flatten(1), found.commitment)

    def encode(self, pixels: Shaped[Tensor, "b 3 h w"]) -> Int[Tensor, "b n"]:
        z = self.features(pixels).float()
        return self.codebook.nearest(z.flatten(0, 2)).unflatten(0, z.shape[:3]).flatten(1)

    def decode(self, codes: Int[Tensor, "b n"]) -> Float[Tensor, "b 3 h w"]:
        return self._paint(to_grid(codes)).clamp(0, 1)

    def _paint(self, codes: Int[Tensor, "b s t"]) -> Float[Tensor, "b 3 h w"]:
        vectors = self.codebook.look_up(codes).movedim(3, 1)
        return (self.decoder(self.post_quant_conv(vectors)).float() + 1) / 2
