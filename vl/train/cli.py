"""The console command `vl`: what can be said before the heavy imports, then `vl.train.command`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import yaml

USAGE = """\
vl: pretrain, fine-tune and apply vision-language models

  vl fit      --config RUN.yaml [--config OVERLAY.yaml] [--ckpt_path last] [--trainer.max_steps 100 ...]
  vl validate --config RUN.yaml --ckpt_path CHECKPOINT    every objective's and task's metrics on the val sources
  vl test     --config RUN.yaml --ckpt_path CHECKPOINT    the same on the test sources
  vl predict  --config RUN.yaml --ckpt_path CHECKPOINT    a task's answers, as JSON lines (answers.jsonl)

A RUN.yaml has the sections seed_everything, threads, native_bf16, trainer, model, data and checkpoint; every key is a
constructor's argument, also on the command line (--data.batch_size 256). A later --config wins over an earlier one, and
the command line over both; a list or a mapping of objectives is replaced as a whole, never merged.

  vl fit --help                           all options of the trainer, the model, the data and the checkpoints
  vl fit --model.model.help CLASS         the arguments of a class, e.g. vl.models.two_tower.TwoTower
  vl fit --config RUN.yaml --print_config the resolved run
  VL_DEBUG=1 vl ...                       errors with their traceback"""

SUBCOMMANDS = ("fit", "validate", "test", "predict")
TREES = ("trainer", "model", "data", "checkpoint")
SECTIONS = (
    "seed_everything",
    *TREES,
    "threads",
    "native_bf16",
    "wandb",
    "ckpt_path",
    "verbose",
)


def main(args: list[str] | None = None) -> None:
    """Run one command line.

    Raises:
        SystemExit: 2 for a command line or configuration that cannot be meant, 1 for a run that its data, model or
            checkpoint does not permit, 143 after SIGTERM (the checkpoint is saved).
    """
    words = sys.argv[1:] if args is None else args
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return
    try:
        files = config_files(words)
        check_usage(words, files)
        from pytorch_lightning.utilities.exceptions import MisconfigurationException

        from vl.train.command import Command, UsageError
        from vl.train.tally import NonFinite
    except ValueError as error:
        _stop(words, error, 2)
    try:
        Command(words, files)
    except UsageError as error:
        _stop(words, error, 2)
    except (ValueError, OSError, NonFinite, MisconfigurationException) as error:
        _stop(words, error, 1)


def config_files(words: list[str]) -> list[str]:
    """The configuration files that a command line names, in order."""
    files = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, _, value = word.partition("=")
        if name in ("--config", "-c"):
            files.append(value or following)
    return files


def check_usage(words: list[str], files: list[str]) -> None:
    """Refuse what can be seen without building a parser.

    Raises:
        ValueError: an unknown subcommand, a file that is missing or no YAML mapping, an unknown section of one
            (the parser itself would take an unknown section that is empty), or a section that should hold keys and
            does not.
    """
    from vl.train.messages import suggest

    if words[0] not in SUBCOMMANDS:
        raise ValueError(f"'{words[0]}' is no subcommand; {suggest(words[0], SUBCOMMANDS)}")
    for file in files:
        if not Path(file).is_file():
            raise ValueError(f"the configuration file {file!r} does not exist")
        try:
            tree = yaml.safe_load(Path(file).read_text())
        except yaml.YAMLError as error:
            raise ValueError(f"{file} is no YAML: {' '.join(str(error).split())}") from error
        if not isinstance(tree, dict):
            raise ValueError(f"{file} is no run: expected a mapping of sections ({', '.join(SECTIONS)})")
        for section, content in tree.items():
            if section not in SECTIONS:
                raise ValueError(f"{file}: unknown section '{section}'; {suggest(str(section), SECTIONS)}")
            if section in TREES and not isinstance(content, dict | str):  # a string names a file
                found = "empty" if content is None else f"a {type(content).__name__}"
                raise ValueError(f"{file}: the section '{section}' is {found}; give it keys, or leave it out")


def _stop(words: list[str], error: Exception, code: int) -> None:
    """One message instead of a traceback, and the exit code."""
    if os.environ.get("VL_DEBUG"):
        raise error
    rank = os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or "0"
    place = f" [rank {rank}]" if rank != "0" else ""
    sys.stderr.write(f"vl {words[0]}:{place} error: {error}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
