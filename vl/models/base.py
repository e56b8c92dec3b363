"""What a model is to the rest of VL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from torch import nn

from vl.batch import Batch, Encoded, Reconstruction


class VLModel(nn.Module):
    """A model: a batch in, an `Encoded` (or an image tokenizer's `Reconstruction`) out.

    `provides` names the fields of the output it fills and the parts objectives may ask for; an objective that needs
    something else is refused before training. `width` is the d of its hidden states. The constructor's signature is
    the configuration, and never loads weights: start weights are named in the run's YAML and loaded when `fit` starts.
    """

    provides: frozenset[str] = frozenset()
    width: int
    #: Widths of the hidden states of regions and of the pooled vector, where it provides them.
    visual_width: int
    pooled_width: int | None
    #: Attributes a text tokenizer or the image stage must agree with; None where the model has no such input.
    vocab_size: int | None = None
    context_length: int | None = None
    image_size: int | None = None
    #: The modules that `fully_shard` wraps one by one, named by class.
    block_classes: ClassVar[tuple[type[nn.Module], ...]] = ()

    def forward(self, batch: Batch) -> Encoded | Reconstruction:
        raise NotImplementedError

    @property
    def word_embedding(self) -> nn.Embedding:
        """The table of word embeddings, which objectives tie their decoders to."""
        raise NotImplementedError

    @property
    def visual_projection(self) -> nn.Linear:
        """The map from region features, whose transpose feature regression ties to."""
        raise NotImplementedError

    def blocks(self) -> Iterable[nn.Module]:
        """The repeated blocks, bottom-up: what FSDP2 shards one by one and layer-wise decay counts."""
        return (module for module in self.modules() if isinstance(module, self.block_classes))

    def depth_of(self, name: str) -> float:
        """How deep the parameter `name` lies: 0 at the input, 1 at the output (for layer-wise lr decay)."""
        return 1.0


@contextmanager
def evaluation(model: VLModel) -> Iterator[None]:
    """The model without dropout for a while; parts that were so already stay so."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
