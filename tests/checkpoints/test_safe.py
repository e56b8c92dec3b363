"""Every container a checkpoint comes in, with and without something that wants to be executed."""

import functools
import http.server
import os
import pickle
import threading

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

from vl.checkpoints.safe import check_sharded, load_tensors, read_dcp_metadata


class Payload:
    """Leaves a file behind if anything unpickles it."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def trap(tmp_path):
    yield tmp_path / "executed"
    assert not (tmp_path / "executed").exists()


STATE = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones((), dtype=torch.int64)}


@pytest.fixture
def sharded(tmp_path):
    folder = tmp_path / "step-1.ckpt"
    optimizer = {"state": {"w": {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1, "params": ["w", "v"]}]}
    dcp.save({"state_dict": STATE, "optimizer_0": optimizer}, checkpoint_id=folder, no_dist=True)
    torch.save({"global_step": 7}, folder / "meta.pt")
    return folder


@pytest.mark.parametrize("kind", ["weights.safetensors", "weights.pt", "legacy.pth"])
def test_files_are_read(tmp_path, kind):
    path = tmp_path / kind
    if kind == "weights.safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=kind == "weights.pt")
    found = load_tensors(path)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_sharded_folders_are_read(sharded):
    found = load_tensors(sharded)
    check_sharded(sharded)
    assert torch.equal(found["state_dict"]["a"], STATE["a"])
    assert found["global_step"] == 7
    assert found["optimizer_0"]["param_groups"] == [{"lr": 0.1, "params": ["w", "v"]}]
    assert found["optimizer_0"]["state"]["w"]["step"] == 1


def test_torchscript_archives_give_their_tensors(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).half().eval()
    torch.jit.script(module).save(tmp_path / "model.pt")
    found = load_tensors(tmp_path / "model.pt")
    assert found.keys() == module.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize("zipped", [True, False])
def test_a_payload_in_a_file_is_refused(tmp_path, trap, zipped):
    torch.save({"state_dict": STATE, "x": Payload(trap)}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"refused: loading it would run posix\.mkdir"):
        load_tensors(tmp_path / "x.pt")


def test_a_payload_in_a_sharded_folder_is_refused(sharded, trap):
    index = sharded / ".metadata"
    whole = index.read_bytes()
    index.write_bytes(pickle.dumps(Payload(trap)))
    for read in (load_tensors, read_dcp_metadata, check_sharded):
        with pytest.raises(ValueError, match=r"\.metadata is refused: loading it would run posix\.mkdir"):
            read(sharded)
    index.write_bytes(whole)
    torch.save({"x": Payload(trap)}, sharded / "meta.pt")
    for read in (load_tensors, check_sharded):
        with pytest.raises(ValueError, match=r"meta\.pt is refused"):
            read(sharded)


def test_a_payload_among_the_shards_values_is_refused(tmp_path, trap):
    dcp.save({"x": {"y": Payload(trap)}}, checkpoint_id=tmp_path / "folder", no_dist=True)
    for read in (load_tensors, check_sharded):
        with pytest.raises(ValueError, match=r"\.distcp is refused"):
            read(tmp_path / "folder")


def test_an_index_cannot_lead_out_of_its_folder(sharded):
    index = read_dcp_metadata(sharded)
    for info in index.storage_data.values():
        info.relative_path = "../elsewhere.distcp"
    (sharded / ".metadata").write_bytes(pickle.dumps(index))
    with pytest.raises(ValueError, match="outside the folder"):
        load_tensors(sharded)


def test_an_index_cannot_claim_more_than_there_is(sharded):
    index = read_dcp_metadata(sharded)
    index.state_dict_metadata["state_dict.a"].size = torch.Size([10**9, 10**9])
    (sharded / ".metadata").write_bytes(pickle.dumps(index))
    with pytest.raises(ValueError, match="more than all files hold"):
        load_tensors(sharded)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "legacy.pth", "script.pt"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_files_say_so(tmp_path, name, share):
    path = tmp_path / name
    state = {"a": torch.rand(100, 100)}
    if name == "weights.safetensors":
        save_file(state, path)
    elif name == "script.pt":
        torch.jit.script(torch.nn.Linear(100, 100)).save(path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=name == "weights.pt")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match="no checkpoint, or cut short"):
        load_tensors(path)


def test_truncated_folders_say_so(sharded):
    for file in sharded.glob("*.distcp"):
        file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cut short"):
        load_tensors(sharded)
    index = sharded / ".metadata"
    index.write_bytes(index.read_bytes()[:100])
    with pytest.raises(ValueError, match="cut short"):
        load_tensors(sharded)
    index.unlink()
    with pytest.raises(ValueError, match=r"has no \.metadata"):
        load_tensors(sharded / ".")


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"\x80\x04garbage", b"PK\x03\x04" + bytes(100)])
def test_other_content_is_no_checkpoint(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(ValueError, match="no checkpoint, or cut short"):
        load_tensors(tmp_path / "x.pt")


@pytest.fixture
def server(tmp_path):
    (tmp_path / "www").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "www")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", tmp_path / "www"
        running.shutdown()


def test_urls_are_downloaded_and_read_as_safely(server, tmp_path, trap, monkeypatch):
    monkeypatch.setenv("VL_CACHE", str(tmp_path / "cache"))
    address, folder = server
    torch.save(STATE, folder / "good.pt")
    torch.save({"x": Payload(trap)}, folder / "bad.pt")
    assert torch.equal(load_tensors(f"{address}/good.pt")["a"], STATE["a"])
    (folder / "good.pt").unlink()
    assert torch.equal(load_tensors(f"{address}/good.pt")["a"], STATE["a"])  # from the cache
    with pytest.raises(ValueError, match="refused"):
        load_tensors(f"{address}/bad.pt")
    with pytest.raises(ValueError, match="cannot download"):
        load_tensors(f"{address}/none.pt")
