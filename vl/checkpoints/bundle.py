"""A model with what it reads: saved in one folder, loaded from ours and from everybody else's checkpoints.

    folder/config.json         {schema, model, tokenizer, image}: trees of class_path and init_args
    folder/model.safetensors   the weights
    folder/vocab.txt ...       the tokenizer's files

A checkpoint needs neither start weights nor training data, and cannot name a class outside of VL.
"""

from __future__ import annotations

import json
import re
import tempfile
from argparse import ArgumentError
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, set_parsing_settings
from jsonargparse._common import parsing_settings
from safetensors.torch import save_file
from torch import Tensor

from vl.checkpoints.safe import load_tensors, local_path
from vl.checkpoints.state import find_weights, load_strict
from vl.data.stages import ImageStage
from vl.data.tokenizers import Tokenizer
from vl.models.base import VLModel

SCHEMA = 1
MAX_CONFIG_BYTES = 2**24
_BASES = {"model": VLModel, "tokenizer": Tokenizer, "image": ImageStage}

Tree = dict[str, Any]


@dataclass
class Bundle:
    """A model, its tokenizer and its image stage. `config` holds the tree of class_path and init_args of each, and
    `files` the tokenizer's files, by the names the tree calls them."""

    model: VLModel
    tokenizer: Tokenizer | None
    image: ImageStage | None
    config: Tree = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def build(cls, config: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> Bundle:
        """The parts that `config` describes, with fresh weights.

        Raises:
            ValueError: a tree names a class outside of VL or of another kind, or arguments the class does not take.
        """
        files = files or {}
        if "model" not in config:
            raise ValueError(f"the checkpoint describes no model; it holds {sorted(config)}")
        trees = {name: config[name] for name in _BASES if config.get(name) is not None}
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                Path(folder, Path(name).name).write_bytes(content)
            placed = trees | {"tokenizer": _place_files(trees.get("tokenizer"), files, folder)}
            parts = {name: _instantiate(name, tree) for name, tree in placed.items() if tree is not None}
        return cls(parts["model"], parts.get("tokenizer"), parts.get("image"), trees, files)

    def save(self, folder: str | Path) -> Path:
        """Write the folder described above; one that exists is overwritten file by file."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (folder / Path(name).name).write_bytes(content)
        weights = {name: value.detach().cpu().contiguous() for name, value in self.model.state_dict().items()}
        save_file(weights, folder / "model.safetensors")
        config = {"schema": SCHEMA, **self.config, "files": sorted(self.files)}
        (folder / "config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n")
        return folder

    def push_to_hub(self, repo: str, private: bool = True, token: str | None = None) -> str:
        """Upload the folder to a model repository of the Hugging Face hub, made if need be. Gives its address."""
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        address = api.create_repo(repo, private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            api.upload_folder(repo_id=repo, folder_path=self.save(folder))
        return str(address)


def load(name: str | Path) -> Bundle:
    """A bundle, in evaluation mode, from any checkpoint.

    Args:
        name: A folder of ours, a training run's `.ckpt` file or sharded folder, an open_clip checkpoint folder or
            `MODEL:FILE` or `MODEL:TAG` of open_clip, OpenAI's `.pt`, a Hugging Face CLIP folder, a URL of a file, or
            `org/name` of a repository on the Hugging Face hub.

    Raises:
        ValueError: there is no such checkpoint, it is damaged, or it asks for more than it may.
    """
    from vl.checkpoints.foreign import load_foreign, require_weights

    text = str(name)
    if not Path(text).exists() and re.fullmatch(r"(hf-hub:)?[\w.-]+/[\w.-]+", text):
        return from_pretrained(text.removeprefix("hf-hub:"))
    if not Path(text).exists() and "://" not in text and ":" in text:
        model, _, weights = text.partition(":")
        return load_foreign(weights, model)
    if not Path(text).exists():
        require_weights(text)
    path = local_path(name)
    if path.is_dir() and not (path / ".metadata").exists():
        config = _mapping(read_json(path / "config.json"), path) if (path / "config.json").is_file() else {}
        return _load_folder(path, config) if config.get("schema") else load_foreign(path)
    checkpoint = load_tensors(path)
    return _from_training(checkpoint, path) if "vl" in checkpoint else load_foreign(path)


def save_folder(bundle: Bundle, folder: str | Path) -> Path:
    """`Bundle.save`."""
    return bundle.save(folder)


def from_pretrained(repo: str, revision: str | None = None, token: str | None = None) -> Bundle:
    """A bundle from a repository of the Hugging Face hub, or from a local folder."""
    if Path(repo).is_dir():
        return load(repo)
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.txt", "*.gz", "*.safetensors"]
    return load(snapshot_download(repo, revision=revision, token=token, allow_patterns=patterns))


def read_json(path: Path) -> Any:
    """Raises a ValueError where the file is larger than any configuration, or no JSON."""
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise ValueError(f"{path} holds more than {MAX_CONFIG_BYTES:,} bytes")
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON, or cut short: {error}") from error


def portable(tree: Any) -> Any:
    """A tree whose `config` arguments hold the content of the JSON files they name, so that it needs no other file."""
    if isinstance(tree, list):
        return [portable(item) for item in tree]
    if not isinstance(tree, Mapping):
        return tree
    return {name: _content(item) if name == "config" else portable(item) for name, item in tree.items()}


def _content(config: Any) -> Any:
    """What a `config` argument names: the content of a JSON file or of a folder's `config.json`, or itself."""
    if not isinstance(config, str):
        return config
    path = Path(config, "config.json") if Path(config).is_dir() else Path(config)
    return read_json(path) if path.suffix == ".json" else config


def _load_folder(folder: Path, config: Tree) -> Bundle:
    _check_schema(config, folder)
    files = {}
    for name in config.get("files") or ():
        file = folder / Path(str(name)).name
        if not file.is_file():
            raise ValueError(f"{folder} lacks {file.name}, a file of its tokenizer")
        files[file.name] = file.read_bytes()
    return _filled(Bundle.build(config, files), load_tensors(folder / "model.safetensors"), folder)


def _from_training(checkpoint: Mapping[str, Any], path: Path) -> Bundle:
    own = _mapping(checkpoint["vl"], path)
    _check_schema(own, path)
    trees = {name: portable(tree) for name, tree in _mapping(own.get("config"), path).items()}
    contents = _mapping(own.get("files"), path)
    files = {name: bytes(content.tolist()) for name, content in contents.items() if isinstance(content, Tensor)}
    return _filled(Bundle.build(trees, files), find_weights(checkpoint), path)


def _filled(bundle: Bundle, weights: Mapping[str, Any], path: Path) -> Bundle:
    """The bundle with weights, as evaluation uses it: no dropout, and no chance in what happens to a picture."""
    load_strict(bundle.model, weights, path)
    bundle.model.eval()
    bundle.image = bundle.image.without_chance() if bundle.image else None
    return bundle


def _mapping(value: Any, path: Path) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{path} does not describe a model as VL's checkpoints do")
    return value


def _check_schema(config: Mapping[str, Any], path: Path) -> None:
    if config.get("schema") != SCHEMA:
        raise ValueError(f"{path} has schema {config.get('schema')!r}; this version of VL reads {SCHEMA}")


def _place_files(tree: Any, files: Mapping[str, bytes], folder: str) -> Tree | None:
    """The tokenizer's tree with the paths of its files moved to `folder`."""
    if tree is None:
        return None
    _check_tree("tokenizer", tree)
    arguments = {
        name: str(Path(folder, Path(value).name)) if isinstance(value, str) and Path(value).name in files else value
        for name, value in (tree.get("init_args") or {}).items()
    }
    return {**tree, "init_args": arguments}


def _instantiate(name: str, tree: Any) -> Any:
    """The object a tree describes: jsonargparse checks every argument, and every class against its type.

    Besides a class path, jsonargparse understands strings, JSON in strings, names of files and dotted keys. Whichever
    of them names a class, it asks before it imports.
    """
    _check_tree(name, tree)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(_BASES[name], name, required=True)
    try:
        with _imports_of_vl_alone():
            return parser.instantiate(parser.parse_object({name: deepcopy(tree)}))[name]  # parsing changes the tree
    except (ArgumentError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = str(error).partition("Given value type")[0].strip()  # what follows repeats the whole tree
        raise ValueError(f"the checkpoint's {name} cannot be built: {reason}") from error


@contextmanager
def _imports_of_vl_alone() -> Iterator[None]:
    """Meanwhile a value that is parsed can name classes of VL and no others."""
    before = dict(parsing_settings)
    set_parsing_settings(
        import_path_denylist=["*"], import_path_allowlist=["vl"], instantiate_subclass_spec_in_any=False
    )
    try:
        yield
    finally:
        parsing_settings.update(before)


def _check_tree(name: str, tree: Any) -> None:
    if not (isinstance(tree, Mapping) and tree.keys() <= {"class_path", "init_args"}):
        raise ValueError(f"the checkpoint's {name} is no tree of class_path and init_args")
    if not isinstance(tree.get("init_args") or {}, Mapping):
        raise ValueError(f"the checkpoint's {name} has init_args that are no mapping")
    _check_classes(tree)


def _check_classes(tree: Any) -> None:
    """Say plainly what is refused where a class is named in the ordinary way."""
    if isinstance(tree, Mapping):
        path = tree.get("class_path", "vl.")
        if not (isinstance(path, str) and path.startswith("vl.")):
            raise ValueError(f"the checkpoint names the class {path!r}; only classes of VL are built from a checkpoint")
    for item in tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list) else ():
        _check_classes(item)
