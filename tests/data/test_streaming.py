"""Streaming: every sample once, divided over workers, and the same damages and dangers refused."""

import gzip
import io
import os
import pickle
import tarfile
from itertools import islice
from pathlib import Path

import fsspec
import pytest
from torch.utils.data import DataLoader

from vl.data.sample import MAX_TEXT_BYTES
from vl.data.shards import ShardWriter
from vl.data.streaming import StreamedShards
from vl.data.views.caption import CaptionView

VIEW = CaptionView()


@pytest.fixture
def shards(tmp_path) -> str:
    with ShardWriter(tmp_path, "train", max_count=10) as writer:
        for number in range(40):
            writer.write(f"{number:02d}", {"jpg": b"x" * number, "txt": f"number {number}", "npy": b"not asked for"})
    return f"{tmp_path}/train-*.tar"


def keys(stream) -> list[str]:
    return [sample.key for sample in stream]


ALL = [f"{number:02d}" for number in range(40)]


def test_in_order_without_a_buffer(shards):
    samples = list(StreamedShards(shards, VIEW, shuffle=0, endless=False))
    assert keys(samples) == ALL
    assert dict(samples[3].members) == {"jpg": b"xxx", "txt": b"number 3"}
    assert VIEW.count(samples[3].record) == 1


def test_shuffled_by_the_seed(shards):
    one, two, other = (keys(StreamedShards(shards, VIEW, 20, endless=False, seed=seed)) for seed in (1, 1, 2))
    assert one == two != other
    assert sorted(one) == sorted(other) == ALL


def test_endless_streams_change_their_order(shards):
    first, second = (keys(islice(iter(StreamedShards(shards, VIEW, 20)), 40 * n, 40 * n + 40)) for n in (0, 1))
    assert sorted(first) == sorted(second) == ALL
    assert first != second


@pytest.mark.filterwarnings("ignore:This DataLoader will create 6")
@pytest.mark.parametrize("num_workers", [2, 6])
def test_workers_share_the_samples(shards, num_workers):
    """Also when there are more workers than shards."""
    stream = StreamedShards(shards, VIEW, 20, endless=False)
    assert sorted(keys(DataLoader(stream, batch_size=None, num_workers=num_workers))) == ALL


def test_ranks_share_the_samples(shards, monkeypatch):
    found = []
    for rank in range(3):
        monkeypatch.setattr("vl.data.streaming.pytorch_worker_info", lambda rank=rank: (rank, 3, 0, 1))
        found += keys(StreamedShards(shards, VIEW, 20, endless=False))
    assert sorted(found) == ALL


def test_urls(shards):
    system = fsspec.filesystem("memory")
    system.pipe("/stream/a.tar", Path(shards.replace("*", "000000")).read_bytes())
    assert keys(StreamedShards("memory://stream/a.tar", VIEW, 0, endless=False)) == ALL[:10]
    system.rm("/stream", recursive=True)


def test_pipes_only_behind_their_flag(shards, tmp_path):
    command = f"pipe:touch {tmp_path}/ran; cat {shards.replace('*', '{000000..000001}')}"
    with pytest.raises(ValueError, match="would run a shell: set allow_pipes"):
        StreamedShards(command, VIEW)
    assert not (tmp_path / "ran").exists()
    assert keys(StreamedShards([command], VIEW, 0, endless=False, allow_pipes=True)) == ALL[:20]


def test_pickles_are_never_read(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/executed",)

    with ShardWriter(tmp_path, "a") as writer:
        writer.write("0", {"jpg": b"x", "txt": "a dog", "pyd": pickle.dumps(Payload()), "pkl": pickle.dumps(Payload())})

    class Greedy(CaptionView):
        members = frozenset({"jpg", "txt", "pyd", "pkl"})

    (sample,) = StreamedShards(f"{tmp_path}/*.tar", Greedy(), endless=False)
    assert set(sample.members) == {"jpg", "txt"}
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kept", [0.0, 0.2, 0.4, 0.6, 0.8])
def test_truncated_shards_are_refused(shards, tmp_path, kept):
    whole = Path(shards.replace("*", "000001"))
    with tarfile.open(whole) as file:
        starts = [member.offset for member in file]
    for cut in (starts[int(kept * 30)], starts[int(kept * 30)] + 100, starts[int(kept * 30)] + 513):
        (tmp_path / "cut.tar").write_bytes(whole.read_bytes()[:cut])
        with pytest.raises(ValueError, match=r"cut\.tar"):
            keys(StreamedShards(f"{tmp_path}/cut.tar", VIEW, endless=False))


def test_garbage_is_refused(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"<html>not here</html>" * 100)
    with pytest.raises(ValueError, match=r"a\.tar cannot be read"):
        keys(StreamedShards(f"{tmp_path}/a.tar", VIEW, endless=False))


def test_compressed_shards_can_be_streamed(shards, tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(Path(shards.replace("*", "000000")).read_bytes()))
    assert keys(StreamedShards(f"{tmp_path}/a.tar.gz", VIEW, 0, endless=False)) == ALL[:10]


def test_a_huge_text_is_left_out(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        for name, size in (("0.jpg", 5), ("0.txt", MAX_TEXT_BYTES + 1)):
            info = tarfile.TarInfo(name)
            info.size = size
            file.addfile(info, io.BytesIO(bytes(size)))
    (sample,) = StreamedShards(f"{tmp_path}/a.tar", VIEW, endless=False)
    assert set(sample.members) == {"jpg"}
