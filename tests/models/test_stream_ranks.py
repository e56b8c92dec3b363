"""Region models under FSDP2: sharded block by block, with the gradients of one process."""

import torch
from ranks import run_ranks
from streams import MODELS, build, ragged, score
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from vl.models.heads_masked import TokenHead


class Whole(torch.nn.Module):
    """A model with a tied head, as a training module holds them; its output is a loss."""

    def __init__(self, name):
        super().__init__()
        self.model = build(name)
        self.head = TokenHead(self.model.word_embedding)

    def forward(self, batch):
        output = self.model(batch)
        return score(output, batch) + self.head(output.text[batch.text.mask]).square().mean()


def gradients(name, sharded):
    """By name; and whether the tie holds."""
    torch.manual_seed(0)
    whole = Whole(name)
    if sharded:
        mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
        for block in whole.model.blocks():
            fully_shard(block, mesh=mesh)
        fully_shard(whole, mesh=mesh)
        assert all(isinstance(p, DTensor) for p in whole.parameters())
    whole(ragged()).backward()
    tied = whole.head.decoder.weight is whole.model.word_embedding.weight
    found = {n: p.grad for n, p in whole.named_parameters() if p.grad is not None}
    return tied, {n: grad.full_tensor() if sharded else grad for n, grad in found.items()}


def all_sharded():
    return {name: gradients(name, sharded=True) for name in MODELS}


def test_sharded_gradients_equal_one_processs():
    found = run_ranks(all_sharded, ranks=2, timeout=400)[0]
    for name in MODELS:
        (tied, sharded), (_, expected) = found[name], gradients(name, sharded=False)
        assert tied
        assert sharded.keys() == expected.keys()
        scale = float(max(gradient.abs().max() for gradient in expected.values()))
        for parameter, gradient in expected.items():
            torch.testing.assert_close(sharded[parameter], gradient, rtol=1e-5, atol=1e-5 * scale)
