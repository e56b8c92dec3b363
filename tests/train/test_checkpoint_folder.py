"""Which checkpoints of a run count: whole files, and whole folders of shards."""

import json

import pytest
import torch

from vl.train.checkpoint_folder import (
    MARKER,
    checkpoint_name,
    find_checkpoint,
    is_whole,
    list_checkpoints,
    publish,
    read_head,
    remove,
    tidy,
)


def write_folder(place, step):
    """What FSDP2 leaves under a temporary name, published."""
    temporary = place / f"step_{step:08d}.ckpt.tmp"
    temporary.mkdir(parents=True)
    for name in ("__0_0.distcp", "__1_0.distcp", ".metadata", "meta.pt"):
        (temporary / name).write_bytes(name.encode() * 10)
    publish(temporary, final := place / f"step_{step:08d}.ckpt")
    return final


def lose_marker(folder):
    (folder / MARKER).unlink()


def lose_shard(folder):
    (folder / "__1_0.distcp").unlink()


def cut_shard(folder):
    (folder / "__0_0.distcp").write_bytes(b"half")


def cut_marker(folder):
    (folder / MARKER).write_text((folder / MARKER).read_text()[:10])


@pytest.mark.parametrize("damage", [lose_marker, lose_shard, cut_shard, cut_marker])
def test_a_folder_copied_by_halves_does_not_count(tmp_path, damage):
    first, second = write_folder(tmp_path, 2), write_folder(tmp_path, 4)
    assert find_checkpoint("last", tmp_path) == second
    damage(second)
    assert find_checkpoint("last", tmp_path) == first
    with pytest.raises(ValueError, match=f"step_00000004.ckpt is not whole.*Whole ones: {first}"):
        find_checkpoint(str(second), tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_half_a_file_does_not_count(tmp_path, share):
    torch.save({"a": torch.rand(1000)}, path := tmp_path / "step_00000002.ckpt")
    assert is_whole(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert not is_whole(path)
    assert find_checkpoint("last", tmp_path) is None


def test_later_ones_that_are_not_whole_are_named(tmp_path):
    for step in (1, 2):
        torch.save({"loops": {}}, tmp_path / checkpoint_name(step))
    file = tmp_path / checkpoint_name(2)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.warns(UserWarning, match=r"left out: step_00000002\.ckpt; the last one is .*step_00000001\.ckpt"):
        assert find_checkpoint("last", tmp_path) == tmp_path / checkpoint_name(1)


def test_zeros_in_the_middle_are_found(tmp_path):
    file = tmp_path / checkpoint_name(1)
    torch.save({"loops": {}, "weights": torch.ones(10_000)}, file)
    assert "loops" in read_head(file)
    data = bytearray(file.read_bytes())
    middle = data.index(torch.ones(1).numpy().tobytes() * 100)
    data[middle + 4000 : middle + 8000] = bytes(4000)
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"is damaged in .*checksum differs"):
        read_head(file)


def test_what_a_kill_leaves_is_cleared_and_the_latest_are_kept(tmp_path):
    folders = [write_folder(tmp_path, step) for step in (2, 4, 6)]
    half = tmp_path / "step_00000008.ckpt.tmp"
    half.mkdir()
    (half / "__0_0.distcp").write_bytes(b"half")
    (tmp_path / "best.ckpt").write_bytes(b"")
    tidy(tmp_path, keep=2)
    assert list_checkpoints(tmp_path) == folders[1:]
    assert {path.name for path in tmp_path.iterdir()} == {"best.ckpt", *(folder.name for folder in folders[1:])}


def test_a_kill_while_one_is_removed_leaves_no_half_of_it(tmp_path, monkeypatch):
    folder = write_folder(tmp_path, 2)

    def killed(path, **_):
        if path.exists():
            next(path.iterdir()).unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr("vl.train.checkpoint_folder.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        remove(folder)
    assert not folder.exists()
    assert list_checkpoints(tmp_path) == []


def test_one_that_exists_is_replaced(tmp_path):
    write_folder(tmp_path, 2)
    again = write_folder(tmp_path, 2)
    assert is_whole(again)
    assert json.loads((again / MARKER).read_text()).keys() == {"__0_0.distcp", "__1_0.distcp", ".metadata", "meta.pt"}
    assert [path.name for path in tmp_path.iterdir()] == [again.name]
