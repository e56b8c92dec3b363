"""Pictures of a run: what an image tokenizer makes of the first pictures of each validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from vl.batch import Batch
from vl.models.image_tokenizer import ImageTokenizer, to_unit


class Reconstructions(Callback):
    """Writes `pictures/step_NNNNNNNN.png`, originals above their reconstructions, and logs it to TensorBoard.

    Args:
        count: of pictures.
    """

    def __init__(self, count: int = 8) -> None:
        self.count = count

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        model: Any = pl_module.model
        if batch_idx or dataloader_idx or not trainer.is_global_zero or not isinstance(model, ImageTokenizer):
            return
        pixels = to_unit(batch.visual.pixels[: self.count])
        with torch.no_grad():
            rows = [pixels, model.decode(model.encode(pixels))]
        grid = torch.cat([torch.cat(list(row), 2) for row in rows], 1).cpu()
        folder = Path(trainer.default_root_dir) / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        shown = (grid * 255).round().byte()
        Image.fromarray(shown.permute(1, 2, 0).numpy()).save(folder / f"step_{trainer.global_step:08d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("reconstructions", shown, trainer.global_step)
