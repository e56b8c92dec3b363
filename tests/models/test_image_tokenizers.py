from functools import partial

import pytest
import torch
from ranks import run_ranks
from torch.nn import functional as F

from vl.batch import Batch, Visual
from vl.models.codebook import GradientCodebook, GumbelCodebook, MovingAverageCodebook
from vl.models.discrete_vae import Block, DiscreteVAE, gumbel_softmax
from vl.models.vqvae import VQVAE
from vl.ranks import rank, world_size


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def pictures(number=3, size=16):
    return torch.arange(number * 3 * size * size).mul(37).remainder(256).to(torch.uint8).view(number, 3, size, size)


def batch(pixels):
    return Batch(visual=Visual(pixels=pixels), keys=tuple(map(str, range(len(pixels)))))


def small_dvae(**options):
    torch.manual_seed(0)
    return DiscreteVAE(16, width=8, blocks=1, image_size=16, decoder_start=8, **options)


def small_vqvae(codebook, **options):
    torch.manual_seed(0)
    return VQVAE(codebook, width=8, residual_blocks=1, image_size=16, **options)


def test_published_sizes():
    with torch.device("meta"):
        dvae, vqvae = DiscreteVAE(), VQVAE(MovingAverageCodebook(8192, 256))
    assert (count(dvae.encoder), count(dvae.decoder)) == (53_786_240, 43_829_766)
    assert (count(vqvae.encoder), count(vqvae.decoder)) == (8_546_048, 10_488_835)
    kept = {name: value for name, value in vqvae.state_dict().items() if name.startswith("codebook.")}
    assert sum(value.numel() for value in kept.values()) == 2 * 256 * 8192 + 8192


@pytest.mark.parametrize("stride", [8, 4])
@pytest.mark.parametrize(
    "make",
    [
        small_dvae,
        partial(small_dvae, patch=2),
        partial(small_dvae, patch=4),
        partial(small_vqvae, MovingAverageCodebook(16, 4)),
    ],
)
def test_codes_and_pictures(make, stride):
    model = make(stride=stride)
    model.eval()
    pixels = pictures()
    codes = model.encode(pixels)
    output = model(batch(pixels))
    assert codes.shape == (3, model.codes_per_side**2) == (3, (16 // stride) ** 2)
    assert codes.max() < 16
    assert torch.equal(codes, output.codes)
    shown = model.decode(codes)
    direct = DiscreteVAE.show(output.pixels) if isinstance(model, DiscreteVAE) else output.pixels.clamp(0, 1)
    torch.testing.assert_close(shown, direct, atol=1e-5, rtol=1e-5)
    assert model.decode(torch.zeros(1, 9, dtype=torch.long)).shape == (1, 3, 3 * stride, 3 * stride)
    with pytest.raises(ValueError, match="12 codes fill no square"):
        model.decode(torch.zeros(1, 12, dtype=torch.long))


@pytest.mark.parametrize("make", [small_dvae, partial(small_vqvae, MovingAverageCodebook(16, 4))])
def test_a_stride_must_halve_the_picture(make):
    with pytest.raises(ValueError, match="stride is 6; it is a power of two"):
        make(stride=6)
    with pytest.raises(ValueError, match="image_size is 16, no multiple of the stride 32"):
        make(stride=32)
    with pytest.raises(ValueError, match="stride is 16; 4 groups of blocks halve a side 3 times"):
        small_dvae(stride=16)
    for stride, patch in ((4, 8), (2, 4), (8, 3)):
        with pytest.raises(ValueError, match=f"patch is {patch}; it is one of 1, 2, 4, at most the stride {stride}"):
            small_dvae(stride=stride, patch=patch)


def test_a_patch_of_the_side_of_a_cell_sees_that_cell_alone():
    """But for what the blocks' convolutions add; here they add nothing."""
    model, pixels = small_dvae(stride=4, patch=4), pictures()
    for block in model.modules():
        if isinstance(block, Block):
            block.gain = 0.0
    changed = pixels.clone()
    changed[:, :, 4:8, 8:12] = 0
    differ = (model.logits(pixels) != model.logits(changed)).any(1)
    assert differ[:, 1, 2].all()
    assert differ.sum() == len(pixels)


def test_fingerprint_names_the_weights():
    one, other = small_dvae(), small_dvae()
    assert one.fingerprint == other.fingerprint
    other.encoder.blocks.input.weight.data[0, 0, 0, 0] += 1
    assert one.fingerprint != other.fingerprint


def test_a_cold_mixture_is_one_code():
    model = small_dvae().train()
    model.temperature.fill_(1e-6)
    torch.manual_seed(1)
    logits = model.logits(pictures())
    cells = F.gumbel_softmax(logits, 1e-6, dim=1)
    torch.testing.assert_close(cells.amax(1), torch.ones(3, 2, 2), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "codebook",
    [GradientCodebook(8, 4), GumbelCodebook(8, 4), GumbelCodebook(8, 4, hard=True), MovingAverageCodebook(8, 4)],
)
def test_every_codebook_passes_gradients_to_the_encoder(codebook):
    z = torch.randn(20, 4, requires_grad=True)
    found = codebook.train()(z)
    (found.vectors.square().sum() + found.commitment).backward()
    assert z.grad.abs().sum() > 0
    codebook.eval()
    found = codebook(z.detach())
    slow = (z.detach()[:, None] - codebook.vectors).square().sum(2).argmin(1)
    assert torch.equal(found.codes, slow)
    torch.testing.assert_close(found.vectors, codebook.vectors[slow])


def test_moving_average_by_hand():
    codebook = MovingAverageCodebook(2, 1, decay=0.75).train()
    codebook.vectors.copy_(torch.tensor([[0.0], [10.0]]))
    codebook.sums.copy_(torch.tensor([[0.0], [40.0]]))
    codebook.counts.copy_(torch.tensor([4.0, 4.0]))
    codebook(torch.tensor([[1.0], [2.0], [9.0]]))
    codebook.after_step(1)
    # counts 0.75 * 4 + 0.25 * (2, 1); sums 0.75 * (0, 40) + 0.25 * (3, 9)
    torch.testing.assert_close(codebook.counts, torch.tensor([3.5, 3.25]))
    torch.testing.assert_close(codebook.vectors, torch.tensor([[0.75 / 3.5], [32.25 / 3.25]]), atol=1e-4, rtol=1e-4)


def test_a_fixed_codebook_stays():
    codebook = MovingAverageCodebook(8, 4, decay=1.0).train()
    before = codebook.vectors.clone()
    codebook(torch.randn(50, 4))
    codebook.after_step(1)
    assert torch.equal(codebook.vectors, before)


def test_dead_codes_are_revived():
    codebook = MovingAverageCodebook(64, 4, decay=0.5, revive_below=0.5).train()
    z = torch.randn(256, 4) * 0.1 + 3
    used = []
    for step in range(12):
        used.append(codebook(z).codes.unique().numel())
        codebook.after_step(step)
    assert used[0] < 10
    assert used[-1] > 30


def observe():
    codebook = moved(range(rank(), 24, world_size()))
    return codebook.vectors, codebook.counts


def moved(rows):
    torch.manual_seed(0)
    codebook = MovingAverageCodebook(8, 4).train()
    z = torch.randn(24, 4)
    # In two micro-batches.
    rows = list(rows)
    codebook(z[rows[: len(rows) // 2]])
    codebook(z[rows[len(rows) // 2 :]])
    codebook.after_step(1)
    return codebook


def test_two_ranks_make_the_codebook_of_the_big_batch():
    whole = moved(range(24))
    for vectors, counts in run_ranks(observe, ranks=2):
        torch.testing.assert_close(vectors, whole.vectors)
        torch.testing.assert_close(counts, whole.counts)


@pytest.mark.parametrize(("context_blocks", "reach"), [(0, 2), (2, 4)])
def test_context_blocks_let_codes_draw_further_away(context_blocks, reach):
    """A code changes pixels of so many cells each way: without context blocks, only those of its neighbours."""
    torch.manual_seed(0)
    codebook = MovingAverageCodebook(8, 4)
    model = VQVAE(codebook, width=8, residual_blocks=1, image_size=88, context_blocks=context_blocks).eval()
    codes = torch.zeros(1, 121, dtype=torch.long)
    changed = codes.clone()
    changed[0, 60] = 1  # the cell in the middle of 11 x 11
    with torch.inference_mode():
        difference = (model.decode(codes) - model.decode(changed)).abs().amax((0, 1))
    cells = difference.unflatten(0, (11, 8)).amax(1).unflatten(1, (11, 8)).amax(2).nonzero()
    assert int((cells - 5).abs().max()) == reach


def test_gumbel_softmax_draws_codes_by_their_probability():
    torch.manual_seed(0)
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    cells = gumbel_softmax(logits.expand(20_000, 4), 0.5)
    torch.testing.assert_close(cells.sum(1), torch.ones(20_000))
    drawn = cells.argmax(1).bincount() / 20_000
    torch.testing.assert_close(drawn, logits.softmax(0), atol=0.01, rtol=0)
