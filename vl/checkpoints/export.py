"""A bundle for others: as an open_clip folder, or as a folder of Hugging Face's `CLIPModel`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tokenizers import Regex, normalizers
from tokenizers import Tokenizer as Core

from vl.checkpoints.bundle import Bundle
from vl.checkpoints.clip import Config, State, to_open_clip
from vl.checkpoints.hf_clip import hugging_face_config, to_hugging_face
from vl.data.stages import CenterCrop, ImageStage, Squash
from vl.data.tokenizers import ClipTokenizer, Tokenizer
from vl.models.heads import LinearHead
from vl.models.hf_text import HFText
from vl.models.open_clip_image import OpenClipImage
from vl.models.open_clip_text import OpenClipText
from vl.models.text_transformer import TextTransformer
from vl.models.timm_image import TimmImage
from vl.models.two_tower import TwoTower


def write_open_clip(bundle: Bundle, folder: str | Path) -> Path:
    """Write a folder that open_clip loads as `local-dir:FOLDER`, tokenizer and pixel settings included.

    Raises:
        ValueError: open_clip has no such model; names the part.
    """
    folder = Path(folder).absolute()
    config, prefixes = open_clip_form(bundle, folder)
    weights = to_open_clip(bundle.model.state_dict(), prefixes)
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(bundle.model.text, HFText):
        (folder / "text").mkdir(exist_ok=True)
        bundle.model.text.encoder.config.save_pretrained(folder / "text")
    if bundle.tokenizer and not isinstance(bundle.tokenizer, ClipTokenizer):
        _write_tokenizer(bundle.tokenizer, folder)
    whole = {"model_cfg": config, "preprocess_cfg": _pixels(bundle)}
    (folder / "open_clip_config.json").write_text(json.dumps(whole, indent=1) + "\n")
    save_file(_plain(weights), folder / "open_clip_model.safetensors")
    return folder


def write_hugging_face(bundle: Bundle, folder: str | Path) -> Path:
    """Write a folder for `CLIPModel.from_pretrained`, `AutoTokenizer` and `CLIPImageProcessor`.

    Raises:
        ValueError: `CLIPModel` cannot be that; names the part.
    """
    folder = Path(folder)
    config, _ = open_clip_form(bundle, folder)
    config, weights = hugging_face_config(config), to_hugging_face(bundle.model.state_dict())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    save_file(_plain(weights), folder / "model.safetensors", metadata={"format": "pt"})
    pixels, size = _pixels(bundle), bundle.model.image_size
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": size} if pixels["resize_mode"] == "shortest" else {"height": size, "width": size},
        "crop_size": {"height": size, "width": size},
        "image_mean": pixels["mean"],
        "image_std": pixels["std"],
        "resample": {"bilinear": 2, "bicubic": 3}[pixels["interpolation"]],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=1) + "\n")
    if bundle.tokenizer:
        _write_tokenizer(bundle.tokenizer, folder)
    return folder


def open_clip_form(bundle: Bundle, folder: Path) -> tuple[Config, dict[str, str]]:
    """The open_clip configuration of a bundle's model, and what its names of weights start with there.

    Raises:
        ValueError: open_clip has no such model.
    """
    model = bundle.model
    if not isinstance(model, TwoTower):
        raise ValueError(f"open_clip has no {type(model).__name__}, only two-tower models")
    vision, prefixes = _vision(model)
    text, text_prefixes = _text(model, bundle.tokenizer, folder)
    activations = {tower.quick_gelu for tower in (model.image, model.text) if hasattr(tower, "quick_gelu")}
    if len(activations) > 1:
        raise ValueError("open_clip has one activation for both towers, but one of these has QuickGELU and one GELU")
    config: Config = {"embed_dim": model.width, "quick_gelu": activations == {True}}
    config |= {"vision_cfg": vision, "text_cfg": text}
    if "text.tower." not in text_prefixes or text_prefixes["text.tower."]:
        config["custom_text"] = True
    if model.logit_bias is not None:
        config["init_logit_bias"] = -10.0
    return config, prefixes | text_prefixes


def _vision(model: TwoTower) -> tuple[Config, dict[str, str]]:
    image, head = model.image, model.image_head
    if isinstance(image, OpenClipImage) and head is None:
        return image.settings, {"image.tower.": "visual."}
    if isinstance(image, TimmImage) and (head is None or isinstance(head, LinearHead)):
        bias = head is not None and head.proj.bias is not None
        config = {"timm_model_name": image.name, "timm_pool": image.pool or "", "image_size": image.image_size}
        config |= {"timm_proj": "linear" if head else "none", "timm_proj_bias": bias}
        return config, {"image.backbone.": "visual.trunk.", "image_head.": "visual.head."}
    raise ValueError(f"open_clip has no {type(image).__name__} with {type(head).__name__} as image_head")


def _text(model: TwoTower, tokenizer: Tokenizer | None, folder: Path) -> tuple[Config, dict[str, str]]:
    text, head = model.text, model.text_head
    own = {} if tokenizer is None or isinstance(tokenizer, ClipTokenizer) else {"hf_tokenizer_name": folder.name}
    if isinstance(text, OpenClipText) and head is None:
        pooling = {}
        if isinstance(text, TextTransformer) and tokenizer and tokenizer.end_id != tokenizer.vocab_size - 1:
            pooling = {"pool_type": "eos", "eos_id": tokenizer.end_id}
        return text.settings | pooling | own, {"text.tower.": "text." if text.custom_text else ""}
    linear = head is None or (isinstance(head, LinearHead) and head.proj.bias is None)
    if isinstance(text, HFText) and linear and text.extra is None:
        pooler = {"mean": "mean_pooler", "first": "cls_last_hidden_state_pooler"}[text.pooling]
        config = {"hf_model_name": str(folder / "text"), "hf_model_pretrained": False, "hf_pooler_type": pooler}
        config |= {"hf_proj_type": "linear" if head else None, "context_length": text.context_length}
        return config | own, {"text.encoder.": "text.transformer.", "text_head.": "text."}
    extra = " and extra_tokens" if getattr(text, "extra", None) is not None else ""
    raise ValueError(f"open_clip has no {type(text).__name__} with {type(head).__name__} as text_head{extra}")


def _pixels(bundle: Bundle) -> dict[str, Any]:
    tower: Any = bundle.model.image
    stage = bundle.image or ImageStage(tower.image_size)
    if stage.crop not in (CenterCrop(), Squash()):
        raise ValueError(f"only CenterCrop and Squash of whole pictures can be exported, not {stage.crop}")
    return {
        "size": stage.size,
        "mean": list(tower.mean),
        "std": list(tower.std),
        "interpolation": stage.interpolation,
        "resize_mode": "squash" if stage.crop == Squash() else "shortest",
    }


def _write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """The tokenizer as `AutoTokenizer` and open_clip's `HFTokenizer` read it."""
    core = Core.from_str(tokenizer.to_json())
    if isinstance(tokenizer, ClipTokenizer):  # what its `clean` does, as far as a core can
        steps = [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        core.normalizer = normalizers.Sequence(steps)
    core.no_padding()
    core.no_truncation()
    core.save(str(folder / "tokenizer.json"))
    # Padding is masked, or stands behind the end: CLIP's own pads with the end token too, not with its id 0, "!".
    ids = {"pad_token": tokenizer.end_id if isinstance(tokenizer, ClipTokenizer) else tokenizer.pad_id}
    ids |= {"bos_token": tokenizer.start_id, "eos_token": tokenizer.end_id, "unk_token": tokenizer.unknown_id}
    names = {name: core.id_to_token(index) for name, index in ids.items() if index is not None}
    settings = {**names, "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": tokenizer.context_length}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n")


def _plain(state: State) -> State:
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}
