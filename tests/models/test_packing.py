import torch
from torch.testing import assert_close

from vl.models.packing import Packing

MASK = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]).bool()


def test_pad_undoes_pack():
    packing = Packing.of(MASK)
    x = torch.randn(3, 4, 5)
    packed = packing.pack(x)
    assert_close(packed, torch.cat([x[0, :2], x[1], x[2, :1]]))
    assert_close(packing.pad(packed), x * MASK[..., None])


def test_rows_at_finds_tokens_in_packed_and_in_full_batches():
    positions = torch.tensor([1, 2, 0])
    packed = Packing.of(MASK)
    assert packed.rows_at(positions).tolist() == [1, 4, 6]
    full = Packing.of(torch.ones(3, 4).bool())
    assert full.index is None
    assert full.rows_at(positions).tolist() == [1, 6, 8]


def test_gradients_flow_through_real_tokens_alone():
    x = torch.randn(3, 4, 5, requires_grad=True)
    packing = Packing.of(MASK)
    packing.pad(packing.pack(x)).sum().backward()
    assert_close(x.grad, MASK[..., None].expand_as(x).float())


def test_groups_hold_every_row_once_and_no_gap():
    mask = torch.rand(13, 9) < torch.rand(13, 1)
    mask[:, 4] = True
    packing = Packing.of(mask)
    x = packing.pack(torch.randn(13, 9, 5))
    rows = []
    for tokens, part in packing.groups:
        lengths = part.mask.sum(1).tolist() if part.mask is not None else [part.length] * part.batch
        assert part.length == max(lengths)
        rows += list(x[tokens].split(lengths))
    whole = list(x.split(mask.sum(1).tolist()))
    assert len(packing.groups) == 3
    assert Packing.of(torch.ones(3, 4).bool()).groups == Packing.of(torch.zeros(3, 4).bool()).groups == []
    assert sorted(map(len, rows)) == sorted(map(len, whole))
    assert {float(row.sum()) for row in rows} == {float(row.sum()) for row in whole}
    assert_close(torch.cat(rows)[packing.ungroup], x)
