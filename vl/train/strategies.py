"""Data parallelism by one flag: `--trainer.strategy ddp` or `fsdp2`, on any device Lightning knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, StrategyRegistry
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from vl.models.base import VLModel


class DDP(DDPStrategy):
    """Every rank holds the whole model. Unused parameters are looked for only where a step may leave some unused: one
    of several objectives', or of a model that provides more than its only objective needs."""

    def configure_ddp(self) -> None:
        module: Any = self.lightning_module
        needs = [objective.needs for objective in module.objectives.values()]
        self._ddp_kwargs.setdefault("find_unused_parameters", len(needs) > 1 or module.model.provides > needs[0])
        # The means are the same on all ranks: sending them along at every forward would double its traffic.
        means = [name for name, _ in module.named_buffers() if name.startswith("ema.")]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, means)
        super().configure_ddp()


class FSDP2(ModelParallelStrategy):
    """Every rank holds a shard of each parameter, over all ranks, and no tensor parallelism.

    Args:
        save_distributed_checkpoint: write a folder with a file a rank, instead of one file gathered on rank 0.
    """

    def __init__(self, save_distributed_checkpoint: bool = True) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=save_distributed_checkpoint)

    def setup_environment(self) -> None:
        # Lightning reads "auto" as the number of nodes, which on one host would be no sharding at all.
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


def register() -> None:
    """Make `ddp` and `fsdp2` names of strategies. `ddp` replaces Lightning's own of that name."""
    StrategyRegistry.register("ddp", DDP, description="replicated", override=True)
    StrategyRegistry.register("fsdp2", FSDP2, description="sharded", override=True)


def shard(module: pl.LightningModule, model: VLModel) -> None:
    """Shard the blocks of the model bottom-up, then all else of the module in one group.

    Nothing may stay outside: such a parameter's gradient would not be reduced, with no warning.
    """
    mesh = module.device_mesh["data_parallel"]
    for block in model.blocks():
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


@contextmanager
def gradient_sync(module: pl.LightningModule, enabled: bool) -> Iterator[None]:
    """Reduce the gradients of a backward pass over the ranks, or only accumulate them."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(enabled)
        yield
    elif enabled or not isinstance(module.trainer.strategy, DDPStrategy):
        yield
    else:
        with module.trainer.strategy.block_backward_sync():
            yield


@contextmanager
def unsharded(module: pl.LightningModule) -> Iterator[None]:
    """Hold all parameters whole, so that ranks may run the model different numbers of times."""
    parts = [part for part in module.modules() if isinstance(part, FSDPModule)]
    for part in parts:
        part.unshard()
        part.set_reshard_after_forward(False, recurse=False)
    yield
    for part in parts:
        part.set_reshard_after_forward(part is not module, recurse=False)
        part.reshard()
