"""Remote shards: fetched once, whole, and no more than fit. fsspec's memory and a real http server stand in for s3."""

import http.server
import json
import multiprocessing
import os
import threading
from functools import partial
from pathlib import Path

import fsspec
import pytest

from vl.data.card import Card, write_card
from vl.data.index import ShardSet
from vl.data.remote import ShardCache, remote_counts
from vl.data.shards import ShardWriter
from vl.data.stages import BadMember
from vl.data.views.caption import CaptionView

VIEW = CaptionView()


def write(folder: Path, count: int = 12) -> Card:
    with ShardWriter(folder, "train", max_count=4) as writer:
        for number in range(count):
            writer.write(f"{number:02d}", {"jpg": bytes([number]) * 3000, "txt": f"number {number}"})
    card = Card(name="toy", source="", licence="", splits={"train": ""}, shards=tuple(writer.shards))
    write_card(folder, card)
    return card


@pytest.fixture
def memory(tmp_path):
    """Shards with their card in fsspec's memory, as a bucket would hold them."""
    write(tmp_path / "local")
    system = fsspec.filesystem("memory")
    for path in (tmp_path / "local").iterdir():
        system.pipe(f"/bucket/{path.name}", path.read_bytes())
    yield system
    system.rm("/bucket", recursive=True)


@pytest.fixture
def server(tmp_path):
    """(url, paths asked for) of an http server over tmp_path/local that does not know ranges."""
    write(tmp_path / "local")
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path / "local")) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}", asked
        found.shutdown()


def fetched(cache: Path) -> list[Path]:
    return sorted((cache / "shards").glob("*.tar"))


URLS = "memory://bucket/train-{000000..000002}.tar"


def test_remote_shards_read_as_local_ones(memory, tmp_path):
    local = ShardSet(f"{tmp_path}/local/*.tar", VIEW)
    remote = ShardSet(URLS, VIEW, cache=tmp_path / "cache")
    assert remote.counts.tolist() == local.counts.tolist() == [4, 4, 4]
    assert fetched(tmp_path / "cache") == []  # the card gave the counts
    assert [remote.read(n) for n in (0, 5, 11)] == [local.read(n) for n in (0, 5, 11)]
    assert len(fetched(tmp_path / "cache")) == 3


def test_http(server, tmp_path):
    url, asked = server
    remote = ShardSet(f"{url}/train-{{000000..000002}}.tar", VIEW, cache=tmp_path / "cache")
    assert [remote.read(n).key for n in range(12)] == [f"{n:02d}" for n in range(12)]
    again = ShardSet(f"{url}/train-{{000000..000002}}.tar", VIEW, cache=tmp_path / "cache")
    assert again.read(3).key == "03"
    assert [path for path in asked if path.endswith(".tar")] == [f"/train-00000{n}.tar" for n in range(3)]


def test_counts_of_open_clip_and_img2dataset(memory):
    memory.rm("/bucket/dataset.json")
    urls = [f"memory://bucket/train-00000{n}.tar" for n in range(3)]
    assert remote_counts(urls) == {}
    for number in range(3):
        stats = {"count": 5, "successes": 4, "status_dict": {"success": 4}}
        memory.pipe(f"/bucket/train-00000{number}_stats.json", json.dumps(stats).encode())
    assert [remote_counts(urls)[url].counts["samples"] for url in urls] == [4, 4, 4]
    memory.pipe("/bucket/sizes.json", json.dumps({f"train-00000{n}.tar": n for n in range(3)}).encode())
    assert [remote_counts(urls)[url].counts["samples"] for url in urls] == [0, 1, 2]


def test_without_counts_the_shards_are_fetched_and_that_is_said(memory, tmp_path, capsys):
    memory.rm("/bucket/dataset.json")
    assert len(ShardSet(URLS, VIEW, cache=tmp_path)) == 12
    assert "3 remote shards have no counts" in capsys.readouterr().out
    assert len(fetched(tmp_path)) == 3


def test_a_shard_that_was_removed_keeps_its_counts(memory, tmp_path, monkeypatch):
    memory.rm("/bucket/dataset.json")
    cache = ShardCache(tmp_path, max_bytes=memory.info("/bucket/train-000000.tar")["size"])
    digest = ShardSet(URLS, VIEW, cache=cache).digest
    assert len(fetched(tmp_path)) == 1
    asked, fetch = [], ShardCache.fetch
    monkeypatch.setattr(ShardCache, "fetch", lambda self, url, *rest: asked.append(url) or fetch(self, url, *rest))
    shards = ShardSet(URLS, VIEW, cache=cache)
    assert (shards.digest, asked) == (digest, [])
    assert shards.read(4).key == "04"


def test_a_protocol_without_its_package_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere://bucket.* cannot be read: .*nowhere"):
        ShardSet("nowhere://bucket/a.tar", VIEW, cache=tmp_path)


def test_a_shard_with_fewer_examples_than_promised_has_bad_members(memory, tmp_path):
    memory.rm("/bucket/dataset.json")
    memory.pipe("/bucket/sizes.json", json.dumps({f"train-00000{n}.tar": 5 for n in range(3)}).encode())
    shards = ShardSet(URLS, VIEW, cache=tmp_path)
    assert (len(shards), shards.read(3).key, shards.read(5).key) == (15, "03", "04")
    with pytest.raises(BadMember, match="holds 4 examples, 5 were promised"):
        shards.read(4)


def test_a_shard_with_more_examples_than_promised_is_an_error(memory, tmp_path):
    memory.rm("/bucket/dataset.json")
    memory.pipe("/bucket/sizes.json", json.dumps({f"train-00000{n}.tar": 3 for n in range(3)}).encode())
    with pytest.raises(ValueError, match="holds 4 examples, its counts say 3"):
        ShardSet(URLS, VIEW, cache=tmp_path).read(0)


def test_the_digest_does_not_depend_on_what_was_fetched(memory, tmp_path):
    shards = ShardSet(URLS, VIEW, cache=tmp_path)
    before = shards.digest
    shards.read(0)
    assert ShardSet(URLS, VIEW, cache=tmp_path).digest == before


def test_the_least_recently_used_shards_make_room(memory, tmp_path):
    size = memory.info("/bucket/train-000000.tar")["size"]
    cache = ShardCache(tmp_path, max_bytes=2 * size)
    one, two, three = (f"memory://bucket/train-00000{n}.tar" for n in range(3))
    first, second = cache.fetch(one), cache.fetch(two)
    cache.fetch(one)
    third = cache.fetch(three)
    assert fetched(tmp_path) == sorted([first, third])
    assert second not in fetched(tmp_path)


def test_a_shard_in_use_survives_its_removal(memory, tmp_path):
    size = memory.info("/bucket/train-000000.tar")["size"]
    shards = ShardSet(URLS, VIEW, cache=ShardCache(tmp_path, max_bytes=size))
    assert [shards.read(n).key for n in (0, 4, 8, 1, 5, 9)] == ["00", "04", "08", "01", "05", "09"]
    assert len(fetched(tmp_path)) == 1


def test_a_wrong_checksum_or_size_is_never_kept(memory, tmp_path):
    url, cache = "memory://bucket/train-000000.tar", ShardCache(tmp_path, retries=1, backoff=0.01)
    with pytest.raises(ValueError, match=r"train-000000\.tar cannot be fetched after 2 attempts: its sha256 differs"):
        cache.fetch(url, checksum="0" * 64)
    with pytest.raises(ValueError, match="bytes came of 7"):
        cache.fetch(url, size=7)
    assert fetched(tmp_path) == []
    assert not list((tmp_path / "shards").glob("*.part"))


def test_a_missing_shard_is_named_at_once(memory, tmp_path):
    with pytest.raises(ValueError, match=r"memory://bucket/none\.tar cannot be fetched"):
        ShardCache(tmp_path, backoff=1000.0).fetch("memory://bucket/none.tar")


def test_an_html_answer_is_refused_and_not_kept(server, tmp_path):
    url, _ = server
    (tmp_path / "local" / "dataset.json").unlink()
    shard = tmp_path / "local" / "train-000001.tar"
    whole = shard.read_bytes()
    shard.write_text("<html>please log in</html>")
    with pytest.raises(ValueError, match=rf"shard {url}/train-000001.tar cannot be used: it is an HTML or XML page"):
        ShardSet(f"{url}/train-000001.tar", VIEW, cache=tmp_path / "cache")
    shard.write_bytes(whole)
    assert len(ShardSet(f"{url}/train-000001.tar", VIEW, cache=tmp_path / "cache"))


def flaky(monkeypatch, failures: int, after: int) -> list[int]:
    """Let the first `failures` reads of a file break off; returns where each attempt began."""
    from fsspec.implementations.memory import MemoryFile

    began: list[int] = []
    read = MemoryFile.read

    def breaking(self, length=-1):
        if length != 2**22:  # not one of ours
            return read(self, length)
        start = self.tell()
        if start in (0, after):
            began.append(start)
        if len(began) <= failures and start == 0:
            return read(self, after)
        if len(began) <= failures:
            raise OSError("connection reset")
        return read(self, length)

    monkeypatch.setattr(MemoryFile, "read", breaking)
    return began


def test_a_broken_download_is_resumed(memory, tmp_path, monkeypatch):
    began = flaky(monkeypatch, failures=2, after=5000)
    data = memory.cat("/bucket/train-000000.tar")
    path = ShardCache(tmp_path, backoff=0.01).fetch("memory://bucket/train-000000.tar")
    assert path.read_bytes() == data
    assert began == [0, 5000, 5000]  # once from the start, broken off, then from where it stopped


def test_urls_are_never_paths(memory, tmp_path):
    memory.pipe("/bucket/a/../../../etc/x.tar", memory.cat("/bucket/train-000000.tar"))
    path = ShardCache(tmp_path).fetch("memory://bucket/a/../../../etc/x.tar")
    assert path.parent == tmp_path / "shards"
    assert path.stem.isalnum()


def fetch(url: str, folder: Path) -> None:
    ShardCache(folder).fetch(url)


def test_processes_fetch_a_shard_once(server, tmp_path):
    url, asked = server
    processes = [
        multiprocessing.get_context("fork").Process(target=fetch, args=(f"{url}/train-000000.tar", tmp_path / "cache"))
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert asked.count("/train-000000.tar") == 1
    assert fetched(tmp_path / "cache")[0].read_bytes() == (tmp_path / "local/train-000000.tar").read_bytes()


def test_what_is_left_of_a_killed_download_is_harmless(memory, tmp_path):
    cache, url = ShardCache(tmp_path), "memory://bucket/train-000000.tar"
    path = cache.fetch(url)
    data = path.read_bytes()
    path.unlink()
    path.with_suffix(".part").write_bytes(data[:700])
    assert cache.fetch(url).read_bytes() == data
    assert sorted(os.listdir(tmp_path / "shards")) == sorted([path.name, path.with_suffix(".lock").name])
