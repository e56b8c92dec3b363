"""Other people's CLIP checkpoints as bundles: open_clip's, OpenAI's, Hugging Face's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH

from vl.checkpoints.bundle import Bundle, Tree, read_json
from vl.checkpoints.clip import Config, from_open_clip, infer_config
from vl.checkpoints.hf_clip import from_hugging_face, open_clip_config
from vl.checkpoints.safe import load_tensors, local_path
from vl.checkpoints.state import find_weights, load_strict
from vl.models.open_clip_config import read_config


def load_foreign(source: str | Path, model: str | None = None) -> Bundle:
    """A bundle from an open_clip or Hugging Face folder, or from a file of weights.

    Args:
        source: The folder or file; for a `model`, a tag of open_clip's pretrained weights is good too.
        model: Name or JSON of the open_clip model; None where the folder says it, or OpenAI's shapes do.

    Raises:
        ValueError: it is none of these, or the weights do not fit the model.
    """
    pretrained: Mapping[str, Any] = {}
    if model is not None and not Path(source).exists():
        source, pretrained = _download(model, str(source))
    path = local_path(source)
    if path.is_dir():
        return _from_folder(path)
    state = find_weights(load_tensors(path))
    config = read_config(model) if model else infer_config(state)
    return _bundle(config, from_open_clip(state), path, pretrained)


def require_weights(name: str) -> None:
    """Refuse the name of an open_clip model alone.

    Raises:
        ValueError: it is one; lists its pretrained weights.
    """
    if name in open_clip.list_models():
        tags = ", ".join(list_pretrained_tags_by_model(name)) or "none"
        raise ValueError(
            f"{name} is a model of open_clip: name its weights too, as {name}:TAG or {name}:FILE; tags: {tags}"
        )


def _from_folder(folder: Path) -> Bundle:
    if (folder / "open_clip_config.json").is_file():
        whole = read_json(folder / "open_clip_config.json")
        state = from_open_clip(find_weights(load_tensors(_weights(folder, "open_clip_"))))
        return _bundle(read_config(whole), state, folder, whole.get("preprocess_cfg", {}))
    if (folder / "config.json").is_file():
        config = read_json(folder / "config.json")
        if config.get("model_type") != "clip":
            raise ValueError(f"{folder} holds a {config.get('model_type')!r} model; of Hugging Face's, VL loads clip")
        state = from_hugging_face(find_weights(load_tensors(_weights(folder))))
        return _bundle(open_clip_config(config), state, folder, _hf_pixels(folder))
    raise ValueError(f"{folder} is no checkpoint: it has neither config.json nor open_clip_config.json nor .metadata")


def _weights(folder: Path, prefix: str = "") -> Path:
    names = [f"{prefix}model.safetensors", f"{prefix}pytorch_model.safetensors", f"{prefix}pytorch_model.bin"]
    names += ["pytorch_model.bin"]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"{folder} has no weights; looked for {', '.join(names)}")


def _download(model: str, tag: str) -> tuple[str, Mapping[str, Any]]:
    config = get_pretrained_cfg(model, tag)
    if not config:
        tags = ", ".join(list_pretrained_tags_by_model(model)) or "none"
        raise ValueError(f"there is no file {tag}, nor such weights of open_clip's {model}; tags: {tags}")
    return download_pretrained(config), config


def _hf_pixels(folder: Path) -> Mapping[str, Any]:
    file = folder / "preprocessor_config.json"
    settings = read_json(file) if file.is_file() else {}
    return {name: settings[f"image_{name}"] for name in ("mean", "std") if f"image_{name}" in settings}


def _bundle(config: Config, state: Mapping[str, Any], source: Path, pixels: Mapping[str, Any]) -> Bundle:
    text = config["text_cfg"]
    tokenizer: Tree = {}
    files: Mapping[str, bytes] = {}
    if text.get("hf_tokenizer_name"):
        tokenizer, files, pad_id = _hugging_face_tokenizer(text, source)
        # SigLIP's tower attends to the padding, so it has to be the tokenizer's.
        config = {**config, "text_cfg": {**text, "pad_id": pad_id}}
    bundle = Bundle.build(clip_trees(config, pixels) | tokenizer, files)
    load_strict(bundle.model, {name: value.float() for name, value in state.items()}, source)
    bundle.model.eval()
    return bundle


def clip_trees(config: Config, pixels: Mapping[str, Any]) -> Tree:
    """The trees of a CLIP model by its open_clip configuration; `pixels` may hold mean, std and interpolation."""
    colours = {name: list(pixels[name]) for name in ("mean", "std") if pixels.get(name)}
    towers = {"config": dict(config)}
    size = config["vision_cfg"].get("image_size", 224)
    bias = {"logit_bias": float(config["init_logit_bias"])} if config.get("init_logit_bias") is not None else {}
    image = {"class_path": "vl.models.open_clip_image.OpenClipImage", "init_args": towers | colours}
    text = {"class_path": "vl.models.open_clip_text.OpenClipText", "init_args": towers}
    # open_clip and OpenAI decode in full before they resize.
    stage: Tree = {"size": size, "oversample": float("inf"), "interpolation": pixels.get("interpolation", "bicubic")}
    if pixels.get("resize_mode") == "squash":
        stage["crop"] = {"class_path": "vl.data.stages.Squash"}
    length = config["text_cfg"].get("context_length", DEFAULT_CONTEXT_LENGTH)
    return {
        "model": {"class_path": "vl.models.two_tower.TwoTower", "init_args": {"image": image, "text": text, **bias}},
        "tokenizer": {"class_path": "vl.data.tokenizers.ClipTokenizer", "init_args": {"context_length": length}},
        "image": {"class_path": "vl.data.stages.ImageStage", "init_args": stage},
    }


def _hugging_face_tokenizer(text: Mapping[str, Any], source: Path) -> tuple[Tree, Mapping[str, bytes], int]:
    """The tree, the file and the padding id of a text tower's tokenizer, from beside its weights or from the hub.

    Raises:
        ValueError: it cannot be had, or the tower's settings ask of it what VL's has not.
    """
    from transformers import AutoTokenizer

    place = source if (source / "tokenizer_config.json").is_file() else text["hf_tokenizer_name"]
    settings = {"clean": "whitespace", **text.get("tokenizer_kwargs", {})}
    if unknown := settings.keys() - {"clean"}:
        raise ValueError(f"VL has no tokenizer with {', '.join(sorted(unknown))}, which this model needs")
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    except Exception as error:  # the library raises all kinds
        raise ValueError(f"the tokenizer {place} cannot be had: {str(error).splitlines()[0]}") from error
    arguments = {"file": "tokenizer.json", "pad_token": tokenizer.pad_token, **settings}
    arguments["context_length"] = text.get("context_length", DEFAULT_CONTEXT_LENGTH)
    tree = {"class_path": "vl.data.hugging_face_tokenizer.HuggingFaceTokenizer", "init_args": arguments}
    files = {"tokenizer.json": tokenizer.backend_tokenizer.to_str().encode()}
    return {"tokenizer": tree}, files, tokenizer.pad_token_id
