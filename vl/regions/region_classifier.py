"""Class and attribute distributions of regions, by multinomial logistic regression on their features.

What a detector would say of them: learned on training pictures, measured on held-out ones, wrong now and then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import safetensors
import safetensors.torch
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

BACKGROUND = "background"


@dataclass(frozen=True)
class Scaling:
    """Features to zero mean and unit deviation over the training regions.

    What all regions share would otherwise drown what tells them apart, and a model that starts from random weights
    learns many times slower to look at them.

    Args:
        mean, std: of each feature.
    """

    mean: Float[Tensor, " f"]
    std: Float[Tensor, " f"]

    @classmethod
    def of(cls, features: Float[Tensor, "n f"]) -> Scaling:
        """That of some regions."""
        return cls(features.mean(dim=0), features.std(dim=0).clamp(min=1e-6))

    def __call__(self, features: Float[Tensor, "n f"]) -> Float[Tensor, "n f"]:
        return (features - self.mean) / self.std


@dataclass(frozen=True)
class RegionClassifier:
    """A linear map to logits of `names`, of which the first is the background.

    Args:
        names: what the columns of its distributions stand for.
        weight, bias: of the map.
    """

    names: tuple[str, ...]
    weight: Float[Tensor, "c f"]
    bias: Float[Tensor, " c"]

    def __call__(self, features: Float[Tensor, "n f"]) -> Float[Tensor, "n c"]:
        """The distribution of each region, background first."""
        return F.linear(features, self.weight, self.bias).softmax(dim=1)

    def labels(self, names: Sequence[str]) -> Int[Tensor, " n"]:
        """The columns of some names, -1 for those it does not know."""
        columns = {name: column for column, name in enumerate(self.names)}
        return torch.tensor([columns.get(name, -1) for name in names])

    def accuracy(self, features: Float[Tensor, "n f"], names: Sequence[str]) -> Mapping[str, float]:
        """Percent right: of all regions, and of those that are not background. Unknown names count as wrong."""
        labels = self.labels(names)
        right = (self(features).argmax(dim=1) == labels).float() * 100
        things = torch.tensor([name != BACKGROUND for name in names])
        return {"all": round(float(right.mean()), 2), "objects": round(float(right[things].mean()), 2)}


def fit(
    features: Float[Tensor, "n f"], names: Sequence[str], decay: float = 1e-4, steps: int = 150
) -> RegionClassifier:
    """Fit a classifier to labelled regions, by L-BFGS on the whole of them.

    Args:
        features: of the regions, scaled.
        names: of what each shows; `BACKGROUND` is given the first column.
        decay: of the weights.
        steps: L-BFGS iterations.

    Raises:
        ValueError: there are no regions, or none that shows anything.
    """
    things = sorted(set(names) - {BACKGROUND})
    if not things:
        raise ValueError("the pictures name no objects, so that nothing can be learned of what regions show")
    vocabulary = (BACKGROUND, *things)
    labels = torch.tensor([vocabulary.index(name) for name in names])
    weight = torch.zeros(len(vocabulary), features.shape[1], requires_grad=True)
    bias = torch.zeros(len(vocabulary), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(F.linear(features, weight, bias), labels) + decay * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return RegionClassifier(vocabulary, weight.detach(), bias.detach())


def save(
    path: str | Path, scaling: Scaling, classifiers: Mapping[str, RegionClassifier], accuracy: Mapping[str, object]
) -> None:
    """Write classifiers by name with the scaling of what they read and what was measured of them, as safetensors;
    whole or not at all."""
    tensors = {"scaling.mean": scaling.mean, "scaling.std": scaling.std}
    metadata = {"accuracy": msgspec.json.encode(accuracy).decode()}
    for name, one in classifiers.items():
        tensors |= {f"{name}.weight": one.weight.contiguous(), f"{name}.bias": one.bias}
        metadata[name] = msgspec.json.encode(one.names).decode()
    temporary = Path(path).with_suffix(".tmp")
    temporary.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors, temporary, metadata)
    temporary.replace(path)


def load(path: str | Path) -> tuple[Scaling, dict[str, RegionClassifier], dict[str, object]]:
    """What `save` wrote."""
    with safetensors.safe_open(path, "pt") as file:
        metadata = {name: msgspec.json.decode(value) for name, value in file.metadata().items()}
        accuracy = metadata.pop("accuracy")
        scaling = Scaling(file.get_tensor("scaling.mean"), file.get_tensor("scaling.std"))
        found = {
            name: RegionClassifier(tuple(names), file.get_tensor(f"{name}.weight"), file.get_tensor(f"{name}.bias"))
            for name, names in metadata.items()
        }
    return scaling, found, accuracy
