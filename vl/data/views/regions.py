"""Pictures as stored regions: any view, with the member `regions.safetensors` in the place of pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from vl.data.regions_member import REGIONS, Regions, read_regions
from vl.data.sample import IMAGE_MEMBERS, Record, Sample
from vl.data.views.base import Example, View
from vl.draw import Draw

_KINDS = (REGIONS, f"left.{REGIONS}", f"right.{REGIONS}")


@dataclass(frozen=True)
class RegionView(View):
    """The examples of another view, their pictures as regions.

    Published systems keep the regions a detector is sure of: UNITER those above 0.2, but 10 to 100; LXMERT and ViLBERT
    the first 36.

    Args:
        view: makes the examples.
        max_regions: no more are kept, the most confident ones.
        min_regions: so many are kept even if their confidence is low.
        min_confidence: what others need.
    """

    view: View
    max_regions: int = 100
    min_regions: int = 10
    min_confidence: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.min_regions <= self.max_regions:
            raise ValueError(
                f"min_regions is {self.min_regions}, max_regions {self.max_regions}: at least 1 and in this order"
            )

    @property
    def members(self) -> frozenset[str]:  # type: ignore[override]
        return self.view.members.difference(IMAGE_MEMBERS).union(_KINDS)

    def count(self, record: Record) -> int:
        return self.view.count(record)

    def count_from(self, counts: Mapping[str, int]) -> int | None:
        return self.view.count_from(counts)

    def texts(self, record: Record) -> list[tuple[str, ...]]:
        return self.view.texts(record)

    def unread(self, sample: Sample, inner: int, draw: Draw) -> Example:
        # The view finds the regions where the picture would be.
        members = {name.replace(REGIONS, IMAGE_MEMBERS[0]): data for name, data in sample.members.items()}
        return self.view.example(sample.with_members(members), inner, draw)

    def example(self, sample: Sample, inner: int, draw: Draw) -> Example:
        example = self.unread(sample, inner, draw)
        found = [read_regions(data) for data in example.images if isinstance(data, bytes)]
        return replace(example, images=tuple(map(self._keep, found)))

    def _keep(self, regions: Regions) -> Regions:
        order = regions.confidence.argsort(descending=True, stable=True)
        sure = int((regions.confidence > self.min_confidence).sum())
        kept = order[: min(max(sure, self.min_regions), self.max_regions)]
        return regions if len(kept) == len(regions) else regions.rows(torch.sort(kept).values)
