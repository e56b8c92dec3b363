"""The data of a run: sources to train on, sources to evaluate on, and how their members become tensors."""

from __future__ import annotations

import warnings
from typing import Any

from pytorch_lightning import LightningDataModule

from vl.data.collate import Collator
from vl.data.loader import EvalLoader, TrainLoader, check_split
from vl.data.mixture import Mixture, Source, compare
from vl.data.order import Order, Shuffle
from vl.data.stages import ImageStage
from vl.data.stream_loader import StreamedSource, StreamLoader
from vl.data.tokenizers import Tokenizer


class ShardData(LightningDataModule):
    """Webdataset shards read through an index, in an order that a resumed run repeats exactly.

    The training loader gives one item an optimiser step (a list of `accumulate` micro-batches); validation and test
    loaders give batches that cover every example exactly once. Batches do not depend on ranks, workers or
    accumulation.

    Args:
        train: The sources to train on. Each step takes one of them, drawn by weight. Or one `StreamedSource`, whose
            order is not exact.
        tokenizer: Encodes texts; None where no view reads any.
        image: Decodes training pictures; None where no view reads any.
        batch_size: The GLOBAL batch of one optimiser step; ranks times `accumulate` must divide it.
        val: Sources to validate on, by name.
        test: Sources to test and predict on, by name.
        eval_image: Decodes pictures of `val` and `test`; by default `image`, with the middle of the picture for a
            random crop and nothing augmented.
        accumulate: Micro-batches a rank makes of its part of the batch.
        order: How sources are shuffled and cut into batches (`Shuffle`, `LengthBuckets`, `TokenBudget`).
        seed: Seed of the order and of every draw.
        num_workers: Processes a rank that read and decode; 0 reads in the training process.
        allow_changes: Resume although data or settings differ from the checkpoint's; the differences are printed.

    Raises:
        ValueError: `batch_size` or `accumulate` is below 1.
    """

    def __init__(
        self,
        train: list[Source] | StreamedSource,
        tokenizer: Tokenizer | None,
        image: ImageStage | None,
        batch_size: int,
        val: dict[str, Source] | None = None,
        test: dict[str, Source] | None = None,
        eval_image: ImageStage | None = None,
        accumulate: int = 1,
        order: Order | None = None,
        seed: int = 0,
        num_workers: int = 0,
        allow_changes: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < 1 or accumulate < 1:
            raise ValueError(f"data: batch_size ({batch_size}) and accumulate ({accumulate}) must be at least 1")
        self.train, self.val, self.test = train, val or {}, test or {}
        self.tokenizer, self.image = tokenizer, image
        self.eval_image = eval_image or (image.without_chance() if image else None)
        self.batch_size, self.accumulate, self.num_workers = batch_size, accumulate, num_workers
        self.order, self.seed, self.allow_changes = order, seed, allow_changes
        self._mixture: Mixture | None = None
        self._train_loader: TrainLoader | None = None

    @property
    def vocab_size(self) -> int | None:
        """Entries of the tokenizer's vocabulary, for links to the model."""
        return self.tokenizer.vocab_size if self.tokenizer else None

    @property
    def allow_zero_length_dataloader_with_multiple_devices(self) -> bool:
        """True: a rank may have no validation example."""
        return True

    @allow_zero_length_dataloader_with_multiple_devices.setter
    def allow_zero_length_dataloader_with_multiple_devices(self, value: bool) -> None:
        """Lightning's constructor sets its default; ours stands."""

    @property
    def mixture(self) -> Mixture:
        """The plan of training, made when first asked for: that opens the shards."""
        assert not isinstance(self.train, StreamedSource)
        if self._mixture is None:
            self._mixture = Mixture(self.train, self.seed, self.batch_size, self.order, self.tokenizer)
        return self._mixture

    def prepare_data(self) -> None:
        """On one process of a machine, before `setup` on all: index what has no index yet."""
        train = [] if isinstance(self.train, StreamedSource) else self.train
        for source in (*train, *self.val.values(), *self.test.values()):
            source.opened  # noqa: B018

    def train_dataloader(self) -> TrainLoader | StreamLoader:
        collator = Collator(self.tokenizer, self.image, chance=True)
        rank, world_size = self._group()
        if isinstance(self.train, StreamedSource):
            check_split(Shuffle(), self.batch_size, self.accumulate, world_size)
            size = self.batch_size // (world_size * self.accumulate)
            return StreamLoader(self.train, self.seed, collator, self.accumulate, size, self.num_workers, self._group())
        self._train_loader = TrainLoader(self.mixture, collator, self.accumulate, self.num_workers, rank, world_size)
        return self._train_loader

    def val_dataloader(self) -> dict[str, EvalLoader]:
        return self._eval_loaders(self.val)

    def test_dataloader(self) -> dict[str, EvalLoader]:
        return self._eval_loaders(self.test)

    def predict_dataloader(self) -> dict[str, EvalLoader]:
        return self._eval_loaders(self.test or self.val)

    def fingerprint(self) -> dict[str, Any]:
        """What a resumed run must share with the run that saved, by name."""
        order = {"order": "streamed"} if isinstance(self.train, StreamedSource) else self.mixture.fingerprint()
        return {
            **order,
            "tokenizer": self.tokenizer.fingerprint if self.tokenizer else "none",
            "image": repr(self.image),
        }

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._train_loader.step if self._train_loader else 0, "fingerprint": self.fingerprint()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Compare a checkpoint's data with this run's; the loader itself takes up the steps.

        Raises:
            ValueError: they differ and `allow_changes` is False; names each difference.
        """
        if self.trainer is not None and not self.trainer.training:
            return
        differences = compare(state["fingerprint"], self.fingerprint())
        if differences and not self.allow_changes:
            raise ValueError(
                "this run's data differs from the checkpoint's, so its batches could not follow on; undo the change, "
                "or set data.allow_changes to true:\n  " + "\n  ".join(differences)
            )
        for difference in differences:
            warnings.warn(f"resumed with other data: {difference}", stacklevel=2)

    def _eval_loaders(self, sources: dict[str, Source]) -> dict[str, EvalLoader]:
        rank, world_size = self._group()
        batch_size = max(1, self.batch_size // (world_size * self.accumulate))
        collator = Collator(self.tokenizer, self.eval_image)
        return {
            name: EvalLoader(source, collator, batch_size, self.num_workers, rank, world_size)
            for name, source in sources.items()
        }

    def _group(self) -> tuple[int, int]:
        """This process's rank and the number of ranks; one process where there is no trainer."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
