"""Start weights of region models: a whole pretrained trunk, or BERT for the words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor, nn

from vl.checkpoints.bert import BERT, BERT_TEXT
from vl.checkpoints.lxmert import from_lxmert
from vl.checkpoints.names import Names, State, heads, rename, trunk
from vl.checkpoints.safe import load_tensors
from vl.checkpoints.start import HeadWeights, StartWeights, find
from vl.checkpoints.state import find_weights
from vl.checkpoints.uniter import from_uniter
from vl.checkpoints.vilbert import from_vilbert
from vl.checkpoints.visualbert import from_visualbert
from vl.models.dual_stream import DualStream
from vl.models.visual_bert_regions import VisualBertRegions

System = Literal["uniter", "vilbert", "lxmert", "visualbert"]
_FILES = ("model.safetensors", "pytorch_model.bin")
_FROM: dict[str, Callable[[Mapping[str, Tensor]], State]] = {
    "uniter": from_uniter,
    "vilbert": from_vilbert,
    "lxmert": from_lxmert,
    "visualbert": from_visualbert,
}


def _read(source: str) -> dict[str, Tensor]:
    path = find(source)
    if path.is_dir():
        path = next((path / name for name in _FILES if (path / name).is_file()), path)
    return find_weights(load_tensors(path))


class RegionWeights(StartWeights):
    """The trunk of a pretrained region model; its heads are left out.

    Args:
        path: A file of the release, or a Hugging Face folder.
        system: Whose layout it has.
        target: The part of the model it is for.
    """

    def __init__(self, path: str, system: System, target: str = "") -> None:
        super().__init__(path, target)
        self.system = system

    def read(self, part: nn.Module) -> Mapping[str, Tensor]:
        return trunk(_FROM[self.system](_read(self.path)))


class RegionHead(HeadWeights):
    """A head that a region model was pretrained with, for one of this run's.

    Args:
        path: A file of the release, or a Hugging Face folder.
        system: Whose layout it has.
        target: The head it is for, such as `retrieval.head`.
        part: The head that is taken, such as `itm`.
        row: The one output of a linear head that is taken; None for the whole head.
    """

    def __init__(self, path: str, system: System, target: str, part: str, row: int | None = None) -> None:
        super().__init__(path, target, part, row)
        self.system = system

    def state(self) -> Mapping[str, Tensor]:
        return heads(_FROM[self.system](_read(self.path)))


class BertWeights(StartWeights):
    """BERT for the words of a region model: embeddings, as many layers as the model has, the pooler where it is BERT's.

    VisualBERT's segments and positions of regions become copies of those of the words. All else keeps its start.

    Args:
        path: A Hugging Face folder or a file of BERT.
        target: The region model; empty for all of the model.
    """

    def __init__(self, path: str, target: str = "") -> None:
        super().__init__(path, target)

    def read(self, part: nn.Module) -> Mapping[str, Tensor]:
        """The model's own state with BERT's weights in it.

        Raises:
            ValueError: BERT has fewer layers than the model, or its weights are not there.
        """
        names = BERT_TEXT if isinstance(part, DualStream) else BERT
        found = trunk(names.to_ours(_with_prefix(_read(self.path))))
        if isinstance(getattr(part, "visual", None), VisualBertRegions):
            found |= {f"visual.{table}.weight": found[f"text.{table}.weight"] for table in ("segment", "position")}
        own = part.state_dict()
        missing = [name for name in own if _is_berts(names, name) and name not in found]
        if missing:
            raise ValueError(f"{self.path} lacks {', '.join(missing[:4])}: it is no BERT, or has fewer layers")
        return own | {name: value for name, value in found.items() if name in own}


def _with_prefix(state: Mapping[str, Tensor]) -> State:
    return rename(state, {f"{part}.": f"bert.{part}." for part in ("embeddings", "encoder", "pooler")})


def _is_berts(names: Names, name: str) -> bool:
    try:
        return bool(names.to_theirs({name: Tensor()}))
    except ValueError:
        return False
