"""Start weights: named in a run's YAML, loaded into a part of the model when `fit` starts."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from vl.checkpoints.foreign import load_foreign
from vl.checkpoints.safe import load_tensors, local_path
from vl.checkpoints.state import find_weights, load_strict

PACKAGE = "package:"


def find(path: str) -> Path:
    """A path, a URL, or `package:NAME/FILE` inside an installed package, which is not imported.

    Raises:
        ValueError: there is no such package or file.
    """
    if not path.startswith(PACKAGE):
        return local_path(path)
    name, _, file = path.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"{path}: there is no package {name}; install it, or give a file")
    return local_path(Path(spec.submodule_search_locations[0]) / file)


class StartWeights:
    """Weights for the part `target` of a model (a dotted attribute path; empty for all of it).

    Args:
        path: A file, a folder, a URL, or `package:NAME/FILE`.
        target: The part they are for.
    """

    #: What has the part: the `model` of a run, or its `objectives`.
    of = "model"

    def __init__(self, path: str, target: str) -> None:
        self.path, self.target = path, target

    def __call__(self, model: nn.Module) -> None:
        """Load the weights into the model, all of them.

        Raises:
            ValueError: the model has no such part, the file is missing, or a weight does not fit.
        """
        try:
            part = model.get_submodule(self.target)
        except AttributeError as error:
            parts = ", ".join(name for name, _ in model.named_children())
            raise ValueError(f"init: the model has no part {self.target!r}; its parts are {parts}") from error
        load_strict(part, self.read(part), self.path)

    def read(self, part: nn.Module) -> Mapping[str, Tensor]:
        """A state dict with the names of `part`."""
        return find_weights(load_tensors(find(self.path)))


class TimmWeights(StartWeights):
    """A backbone's weights. A file with other names is matched by order, if all shapes agree; a classifier at its end
    is left out."""

    def __init__(self, path: str, target: str = "image.backbone") -> None:
        super().__init__(path, target)

    def read(self, part: nn.Module) -> Mapping[str, Tensor]:
        own = part.state_dict()
        state = {k: v for k, v in super().read(part).items() if k in own or not k.startswith(_CLASSIFIERS)}
        return state if set(own) & set(state) else _by_order(state, own, self.path)


class HFWeights(StartWeights):
    """A Hugging Face encoder's weights (a folder or a file); its pooler and pretraining heads are left out."""

    def __init__(self, path: str, target: str = "text.encoder") -> None:
        super().__init__(path, target)

    def read(self, part: nn.Module) -> Mapping[str, Tensor]:
        path = find(self.path)
        if path.is_dir():
            path = next((path / name for name in _HF_FILES if (path / name).is_file()), path)
        state = find_weights(load_tensors(path))
        prefix = next((f"{name}." for name in ("bert", "roberta") if any(key.startswith(name) for key in state)), "")
        found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        return {name: value for name, value in found.items() if not name.startswith(_HF_EXTRAS)}


class OpenClipWeights(StartWeights):
    """CLIP weights of open_clip, OpenAI or Hugging Face.

    Args:
        path: A folder or file, or a tag of open_clip's pretrained weights.
        target: The part they are for: the whole model, or one tower of it.
        model: Name or JSON of the open_clip model; None where the folder or OpenAI's shapes say it.
    """

    def __init__(self, path: str, target: str = "", model: str | None = None) -> None:
        super().__init__(path, target)
        self.model = model

    def read(self, part: nn.Module) -> Mapping[str, Tensor]:
        return _part(load_foreign(self.path, self.model).model.state_dict(), self.target)


class VLWeights(StartWeights):
    """The weights of a VL checkpoint (folder, `.ckpt` or sharded), or of a part of its model.

    Args:
        path: The checkpoint.
        target: The part of this model they are for.
        part: The part of that model they are taken from; None for the same.
    """

    def __init__(self, path: str, target: str = "", part: str | None = None) -> None:
        super().__init__(path, target)
        self.part = target if part is None else part

    def read(self, part: nn.Module) -> Mapping[str, Tensor]:
        path = find(self.path)
        weights = path / "model.safetensors"
        return _part(find_weights(load_tensors(weights if weights.is_file() else path)), self.part)


class HeadWeights(StartWeights):
    """A head of an objective of another VL run, for one of this run's.

    Args:
        path: The `.ckpt` of that run.
        target: The head they are for, such as `vqa.head`.
        part: The head they are taken from, such as `answers.head`.
        row: The one output of a linear head that is taken; None for the whole head. UNITER's rank head begins as the
            output of its matching head that says "they match" (row 1).
    """

    of = "objectives"

    def __init__(self, path: str, target: str, part: str, row: int | None = None) -> None:
        super().__init__(path, target)
        self.part, self.row = part, row

    def state(self) -> Mapping[str, Tensor]:
        """Every head of the checkpoint, by name."""
        return _part(load_tensors(find(self.path)).get("state_dict", {}), "objectives")

    def read(self, part: nn.Module) -> Mapping[str, Tensor]:
        head = _part(self.state(), self.part)
        return head if self.row is None else {name: value[self.row : self.row + 1] for name, value in head.items()}


_CLASSIFIERS = ("classifier.", "fc.", "head.")
_HF_FILES = ("model.safetensors", "pytorch_model.bin")
_HF_EXTRAS = ("pooler.", "cls.", "lm_head.", "embeddings.position_ids")


def _part(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}." if name else ""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _by_order(state: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The tensors of `state` under the names of `own`, one after the other."""
    if not 0 <= len(state) - len(own) <= 2:
        raise ValueError(f"{source} has {len(state)} tensors, the backbone {len(own)}: not the same architecture")
    renamed = {}
    for (name, wanted), (other, value) in zip(own.items(), state.items(), strict=False):
        if wanted.shape != value.shape:
            shapes = f"{tuple(value.shape)}, not {tuple(wanted.shape)}"
            raise ValueError(f"{source}: {other} stands where {name} should, but its shape is {shapes}")
        renamed[name] = value
    return renamed
