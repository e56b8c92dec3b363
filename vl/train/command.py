"""`vl fit`, `validate`, `test` and `predict`: Lightning's command line with VL's training module and data."""

from __future__ import annotations

import sys
from argparse import ArgumentError
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse.typing import PositiveInt
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from vl.data.module import ShardData
from vl.report.figures import has_bf16
from vl.tasks.base import Task
from vl.train import strategies
from vl.train.checkpoint_folder import find_checkpoint, list_checkpoints, read_head
from vl.train.checkpointing import Checkpoints, describe_changes
from vl.train.faults import Watch
from vl.train.logging import Answers, CsvLog
from vl.train.memory import keep_freed_memory
from vl.train.messages import check_empty_keys, shorten
from vl.train.module import Training
from vl.train.progress import Progress

_TRAINER_DEFAULTS = {
    # The data module splits batches by rank itself; Lightning's sampler on top would split them again, silently.
    "use_distributed_sampler": False,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 10,
}
_SECTIONS: dict[str, type] = {"trainer": Trainer, "model": Training, "data": ShardData, "checkpoint": Checkpoints}


class UsageError(Exception):
    """What is written on the command line or in a configuration file cannot be meant; the message is for the user."""


class Command(LightningCLI):
    """Parses, builds, runs.

    Args:
        args: The words of the command line.
        files: The configuration files among them; errors name their lines.
    """

    def __init__(self, args: list[str], files: list[str]) -> None:
        self.chosen, self.files = args[0], files
        strategies.register()
        raising, threads = {"exit_on_error": False}, torch.get_num_threads()
        try:
            super().__init__(
                Training,
                ShardData,
                save_config_callback=None,
                trainer_defaults=_TRAINER_DEFAULTS,
                seed_everything_default=0,
                parser_kwargs={**raising, self.chosen: raising},
                args=args,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
            )
        finally:  # what runs after it in this process, such as a report, has its threads back
            torch.set_num_threads(threads)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The one that was chosen, with the arguments of the trainer's method that are no options: a parser of each
        would take a third of a second."""
        ours = {"model", "datamodule", "dataloaders", "train_dataloaders", "val_dataloaders"}
        return {self.chosen: ours | {"weights_only", "return_predictions"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(Checkpoints, "checkpoint")
        parser.add_argument(
            "--threads",
            type=PositiveInt | None,
            default=None,
            help="Of each training process on the CPU, all cores by default; a loading worker wants a core of its own.",
        )
        parser.add_argument(
            "--native_bf16",
            type=bool,
            default=False,
            help="Compute in bf16-mixed where the processor has instructions for it, else as trainer.precision says.",
        )
        parser.add_argument("--wandb", type=str | None, default=None, help="Also log to this Weights & Biases project.")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            chosen = self._subcommand_parsers.get(args[0], parser)
            raise UsageError(shorten(str(error), (action.dest for action in chosen._actions), self.files)) from error
        for file in self.files:
            for section, tree in yaml.safe_load(Path(file).read_text()).items():
                if section in _SECTIONS:
                    try:
                        check_empty_keys(tree, signature(_SECTIONS[section]).parameters, f"{file}: {section}")
                    except ValueError as error:
                        raise UsageError(str(error)) from error
        seed = self.config[self.chosen].seed_everything
        if not 0 <= seed < 2**32:
            raise UsageError(f"seed_everything must be from 0 to {2**32 - 1}, not {seed}")

    def _parse_ckpt_path(self) -> None:
        """Nothing: the YAML and the command line win over what a checkpoint holds."""

    def before_instantiate_classes(self) -> None:
        """Settle the run's memory, threads, precision and folder, and what Lightning's options must not do here."""
        keep_freed_memory()
        torch.set_flush_denormal(True)  # a CPU is slow at probabilities near 1e-40
        if threads := self._get(self.config, "threads"):
            torch.set_num_threads(threads)
        trainer = self._get(self.config, "trainer")
        if self._get(self.config, "native_bf16") and trainer.accelerator == "cpu" and has_bf16():
            trainer.precision = "bf16-mixed"
        if trainer.use_distributed_sampler:
            raise ValueError("trainer.use_distributed_sampler must stay false: `data` splits batches by rank itself")
        if trainer.accumulate_grad_batches != 1:
            raise ValueError("trainer.accumulate_grad_batches must stay 1; set data.accumulate instead")
        if trainer.val_check_interval == 0:
            raise ValueError("trainer.val_check_interval must not be 0; set trainer.limit_val_batches to 0 instead")
        if trainer.default_root_dir is None:
            trainer.default_root_dir = f"runs/{Path(self.files[0]).stem}" if self.files else "runs/unnamed"

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self._get(self.config_init, "trainer")
        root = config["default_root_dir"]
        if config["logger"] in (None, True):
            kwargs["logger"] = self._loggers(root)
        callbacks: list[Callback] = [Watch(), Answers()]
        if config["enable_progress_bar"] is not False:
            callbacks.append(Progress())
        checkpoints = self._get(self.config_init, "checkpoint")
        checkpoints.run = self._parser(self.subcommand).dump(self.config[self.subcommand], skip_unset=False)
        self.trainer_defaults = {"callbacks": callbacks}
        try:
            return super().instantiate_trainer(**kwargs)
        except (TypeError, MisconfigurationException) as error:
            raise ValueError(f"trainer: {error}") from error

    def before_validate(self) -> None:
        if not self.datamodule.val:
            raise ValueError("there is nothing to validate on: name sources in data.val")

    def before_test(self) -> None:
        if not self.datamodule.test:
            raise ValueError("there is nothing to test on: name sources in data.test, or run vl validate")

    def before_predict(self) -> None:
        if not any(isinstance(objective, Task) for objective in self.model.objectives.values()):
            raise ValueError(f"none of the objectives ({', '.join(self.model.objectives)}) is a task that could answer")

    def _loggers(self, root: str) -> list[Logger]:
        loggers: list[Logger] = [TensorBoardLogger(root, name="tensorboard", version=""), CsvLog(root)]
        if project := self._get(self.config, "wandb"):
            from pytorch_lightning.loggers import WandbLogger

            try:
                loggers.append(WandbLogger(project=project, save_dir=root))
            except ModuleNotFoundError as error:
                raise ValueError(f"--wandb {project} needs the package wandb: pip install wandb") from error
        return loggers

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        # Set on the trainer, the path is known when start weights would be loaded; as an argument only later.
        self.trainer.ckpt_path = self._find_checkpoint(kwargs.pop("ckpt_path", None))
        if subcommand != "fit" and self.trainer.ckpt_path is None and self.trainer.is_global_zero:
            sys.stderr.write(f"vl {subcommand}: no --ckpt_path is given: the weights are fresh, without model.init\n")
        # Lightning reads remote files without it as arbitrary pickles.
        kwargs["weights_only"] = True
        if subcommand == "predict":
            kwargs["return_predictions"] = False
        return kwargs

    def _find_checkpoint(self, name: str | None) -> str | None:
        """The checkpoint to start from, checked for what must not be executed; differing settings are printed."""
        folder = Path(self.trainer.default_root_dir) / "checkpoints"
        path = find_checkpoint(name, folder) if name else None
        if path is None:
            if name and self.subcommand != "fit":
                raise ValueError(f"--ckpt_path {name}: {folder} holds no whole checkpoint")
            if self.subcommand == "fit" and (saved := list_checkpoints(folder)) and not name:
                raise ValueError(
                    f"{folder.parent} holds a run already ({saved[-1].name}): continue it with --ckpt_path last, or "
                    "give another --trainer.default_root_dir"
                )
            return None
        saved_run = read_head(path).get("vl", {}).get("run", "")
        changes = describe_changes(saved_run, self._get(self.config_init, "checkpoint").run) if saved_run else []
        if changes and self.subcommand == "fit" and self.trainer.is_global_zero:
            sys.stderr.write("\n  ".join(["settings that differ from the checkpoint's:", *changes]) + "\n")
        seeds = [change for change in changes if change.startswith(("seed_everything:", "model.seed:"))]
        if seeds and self.subcommand == "fit" and not self.datamodule.allow_changes:
            raise ValueError(
                "this run's seed differs from the checkpoint's, so its dropout could not follow on; undo the change, "
                "or set data.allow_changes to true:\n  " + "\n  ".join(seeds)
            )
        return str(path)
