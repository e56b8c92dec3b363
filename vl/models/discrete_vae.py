"""DALL-E's discrete VAE: a convolutional ResNet whose bottleneck is a categorical distribution in every cell.

"Zero-Shot Text-to-Image Generation", arXiv:2102.12092, section 2.1 and appendix A.
"""

from __future__ import annotations

from collections import OrderedDict
from math import sqrt
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn import functional as F

from vl.batch import Batch, Reconstruction
from vl.losses.reconstruction import kl_to_uniform, squeeze_pixels, unsqueeze_pixels
from vl.models.image_tokenizer import ImageTokenizer, halvings_of, to_grid, to_unit

#: Kernels of the four convolutions of a block.
ENCODER_KERNELS, DECODER_KERNELS = (3, 3, 3, 1), (1, 3, 3, 3)
GROUPS = 4
#: Of the first convolution, by the pixels a side of its patches: it sees about as much of the picture with each.
KERNELS = {1: 7, 2: 3, 4: 1}


class Block(nn.Module):
    """A bottleneck block; its residual path has a small constant gain instead of a normalisation.

    Args:
        in_width, out_width: channels.
        gain: factor on the residual path, 1 / (blocks of the network)².
        kernels: of the four convolutions.
    """

    def __init__(self, in_width: int, out_width: int, gain: float, kernels: tuple[int, ...]) -> None:
        super().__init__()
        hidden, self.gain = out_width // 4, gain
        widths = (in_width, hidden, hidden, hidden, out_width)
        path: OrderedDict[str, nn.Module] = OrderedDict()
        for i, kernel in enumerate(kernels):
            path[f"relu_{i + 1}"] = nn.ReLU()
            path[f"conv_{i + 1}"] = conv(widths[i], widths[i + 1], kernel)
        self.id_path = nn.Identity() if in_width == out_width else conv(in_width, out_width, 1)
        self.res_path = nn.Sequential(path)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        return self.id_path(x) + self.gain * self.res_path(x)


def conv(in_width: int, out_width: int, kernel: int) -> nn.Conv2d:
    """A convolution that keeps the size, with DALL-E's start weights."""
    layer = nn.Conv2d(in_width, out_width, kernel, padding=kernel // 2)
    nn.init.normal_(layer.weight, std=1 / sqrt(in_width * kernel**2))
    nn.init.zeros_(layer.bias)
    return layer


def group(
    in_width: int, out_width: int, blocks: int, kernels: tuple[int, ...], resize: nn.Module | None
) -> nn.Sequential:
    """Some blocks of one resolution, then what changes it."""
    gain = 1 / (GROUPS * blocks) ** 2
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i in range(blocks):
        layers[f"block_{i + 1}"] = Block(out_width if i else in_width, out_width, gain, kernels)
    if resize is not None:
        layers["pool" if isinstance(resize, nn.MaxPool2d) else "upsample"] = resize
    return nn.Sequential(layers)


class Encoder(nn.Module):
    """Pixels to the logits of every cell's codes; module names are those of OpenAI's release."""

    def __init__(self, num_codes: int, width: int, blocks: int, halvings: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        widths = (width, width, 2 * width, 4 * width, 8 * width)
        layers: OrderedDict[str, nn.Module] = OrderedDict(input=conv(3 * patch**2, width, KERNELS[patch]))
        for i in range(GROUPS):
            pool = nn.MaxPool2d(2) if i < halvings else None
            layers[f"group_{i + 1}"] = group(widths[i], widths[i + 1], blocks, ENCODER_KERNELS, pool)
        output = OrderedDict[str, nn.Module](relu=nn.ReLU(), conv=conv(8 * width, num_codes, 1))
        self.blocks = nn.Sequential(OrderedDict(layers, output=nn.Sequential(output)))

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k s s"]:
        return self.blocks(F.pixel_unshuffle(x, self.patch))


class Decoder(nn.Module):
    """One-hot codes, or a mixture of them, to six maps: mu and ln b of red, green and blue."""

    def __init__(self, num_codes: int, width: int, blocks: int, start: int, halvings: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        widths = (start, 8 * width, 4 * width, 2 * width, width)
        layers: OrderedDict[str, nn.Module] = OrderedDict(input=conv(num_codes, start, 1))
        for i in range(GROUPS):
            grows = GROUPS - 1 - halvings <= i < GROUPS - 1
            up = nn.Upsample(scale_factor=2, mode="nearest") if grows else None
            layers[f"group_{i + 1}"] = group(widths[i], widths[i + 1], blocks, DECODER_KERNELS, up)
        output = OrderedDict[str, nn.Module](relu=nn.ReLU(), conv=conv(width, 6 * patch**2, 1))
        self.blocks = nn.Sequential(OrderedDict(layers, output=nn.Sequential(output)))

    def forward(self, x: Float[Tensor, "b k s s"]) -> Float[Tensor, "b 6 h w"]:
        return self.finish(self.blocks[0](x))

    def look_up(self, codes: Int[Tensor, "b s s"]) -> Float[Tensor, "b 6 h w"]:
        """What `forward` makes of one-hot codes: the first layer's answer is one column of its weights."""
        first: Any = self.blocks[0]
        x = F.embedding(codes, first.weight[:, :, 0, 0].T).movedim(3, 1) + first.bias[:, None, None]
        return self.finish(x)

    def finish(self, x: Float[Tensor, "b d s s"]) -> Float[Tensor, "b 6 h w"]:
        return F.pixel_shuffle(self.blocks[1:](x), self.patch)


class DiscreteVAE(ImageTokenizer):
    """Pictures as grids of codes, trained through the Gumbel-softmax relaxation.

    In training a cell is a mixture of codes, drawn at the temperature that the objective sets; otherwise it is its
    likeliest code. The Gumbel noise comes from torch's generator, as dropout does. `Reconstruction.commitment` is the
    sum over pictures and cells of the divergence from the uniform prior.

    Args:
        num_codes: size of the codebook.
        width: channels at full resolution; the deepest layers have eight times as many.
        blocks: blocks of each of the four groups.
        image_size: pixels a side, a multiple of `stride`.
        decoder_start: channels the decoder begins with.
        stride: pixels of a cell: 2, 4, or 8 as released.
        patch: pixels a side that the first layer reads as one place and the last paints as one: 2, 4, or 1 as
            released. A thin model with small cells sees more of a cell so than through its pools, and is faster.

    Raises:
        ValueError: another stride or patch, or one that does not divide the picture.
    """

    provides = frozenset({"reconstruction", "temperature"})
    block_classes = (Block,)
    temperature: Tensor

    def __init__(
        self,
        num_codes: int = 8192,
        width: int = 256,
        blocks: int = 2,
        image_size: int = 256,
        decoder_start: int = 128,
        stride: int = 8,
        patch: int = 1,
    ) -> None:
        super().__init__()
        self.stride, halvings = stride, halvings_of(stride, image_size)
        if halvings >= GROUPS:
            raise ValueError(f"stride is {stride}; {GROUPS} groups of blocks halve a side {GROUPS - 1} times")
        if patch not in KERNELS or patch > stride:
            raise ValueError(
                f"patch is {patch}; it is one of {', '.join(map(str, KERNELS))}, at most the stride {stride}"
            )
        halvings -= patch.bit_length() - 1
        self.num_codes, self.image_size, self.width = num_codes, image_size, 8 * width
        self.encoder = Encoder(num_codes, width, blocks, halvings, patch)
        self.decoder = Decoder(num_codes, width, blocks, decoder_start, halvings, patch)
        self.register_buffer("temperature", torch.ones(1))

    def logits(self, pixels: Shaped[Tensor, "b 3 h w"]) -> Float[Tensor, "b k s s"]:
        unit = squeeze_pixels(to_unit(pixels))
        if self.training:  # faster, and no longer equal to the release to the last bit
            unit = unit.contiguous(memory_format=torch.channels_last)
        return self.encoder(unit)

    def forward(self, batch: Batch) -> Reconstruction:
        """`pixels` of the result are the six maps of the decoder: mu and ln b of the squeezed pixels' logits."""
        logits = self.logits(batch.visual.pixels).float()
        rows = logits.movedim(1, 3)
        codes = rows.argmax(3)
        cells = gumbel_softmax(rows, float(self.temperature)).movedim(3, 1) if self.training else one_hot(codes, logits)
        return Reconstruction(self.decoder(cells).float(), codes.flatten(1), kl_to_uniform(rows).sum(), logits)

    @torch.no_grad()
    def map_logits(self, matrix: Float[Tensor, "k k"], offset: Float[Tensor, " k"]) -> None:
        """From now on the logits of a cell are `matrix @ logits + offset` of what they were."""
        layer: Any = self.encoder.get_submodule("blocks.output.conv")
        weight, bias = (x.full_tensor() if isinstance(x, DTensor) else x for x in (layer.weight, layer.bias))
        for value, new in (
            (layer.weight, (matrix @ weight.flatten(1)).view_as(weight)),
            (layer.bias, matrix @ bias + offset),
        ):
            shard = isinstance(value, DTensor)
            value.copy_(distribute_tensor(new, value.device_mesh, value.placements) if shard else new)

    def encode(self, pixels: Shaped[Tensor, "b 3 h w"]) -> Int[Tensor, "b n"]:
        return self.logits(pixels).argmax(1).flatten(1)

    def decode(self, codes: Int[Tensor, "b n"]) -> Float[Tensor, "b 3 h w"]:
        return self.show(self.decoder.look_up(to_grid(codes)))

    @staticmethod
    def show(maps: Float[Tensor, "b 6 h w"]) -> Float[Tensor, "b 3 h w"]:
        """The picture at the middle of the distribution that six maps describe."""
        return unsqueeze_pixels(torch.sigmoid(maps[:, :3].float()))


def gumbel_softmax(logits: Float[Tensor, "... k"], temperature: float) -> Float[Tensor, "... k"]:
    """A relaxed draw from every row, as of `torch.nn.functional`; uniform numbers cost a fifth of exponential ones."""
    noise = torch.rand_like(logits).log_().neg_().log_().neg_()
    return ((logits + noise) / temperature).softmax(-1)


def one_hot(codes: Int[Tensor, "b s s"], like: Float[Tensor, "b k s s"]) -> Float[Tensor, "b k s s"]:
    return torch.zeros_like(like).scatter_(1, codes[:, None], 1.0)
