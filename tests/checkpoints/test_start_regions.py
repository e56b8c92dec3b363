"""Heads of released region models begin heads of a run."""

import pytest
import torch
from torch import nn

from vl.checkpoints.start_regions import RegionHead


def test_uniters_row_for_a_match_begins_the_rank_head(tmp_path):
    released = {"itm_output.weight": torch.randn(2, 8), "itm_output.bias": torch.randn(2)}
    torch.save(released, tmp_path / "uniter-base.pt")
    objectives = nn.ModuleDict({"retrieval": nn.ModuleDict({"head": nn.Linear(8, 1)})})
    RegionHead(str(tmp_path / "uniter-base.pt"), "uniter", "retrieval.head", "itm", row=1)(objectives)
    head = objectives["retrieval"]["head"]
    assert torch.equal(head.weight, released["itm_output.weight"][1:])
    assert torch.equal(head.bias, released["itm_output.bias"][1:])
    with pytest.raises(ValueError, match=r"uniter-base\.pt"):
        RegionHead(str(tmp_path / "uniter-base.pt"), "uniter", "retrieval.head", "nce", row=1)(objectives)
