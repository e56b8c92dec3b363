"""Writing shards and cards, naming lists of shards, and what recipes share."""

import hashlib
import multiprocessing
import os
import pickle
import signal
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from recipe import CARD, fail, parts

from vl.data.card import read_card, verify_shards, write_card
from vl.data.convert import Part, convert
from vl.data.sample import Caption, Record
from vl.data.shards import ShardWriter, expand_shards


def write(folder: Path, numbers: Iterable[int] = range(5), **options) -> ShardWriter:
    with ShardWriter(folder, "train-toy", **options) as writer:
        for number in numbers:
            record = Record(captions=(Caption(f"number {number}"), Caption(f"数{number}", "zh")))
            writer.write(f"{number:03d}", {"txt": f"number {number}", "json": record, "jpg": bytes([number]) * 100})
    return writer


def test_shards_are_plain_tars_of_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        write(tmp_path / folder, max_count=2)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == [f"train-toy-{number:06d}.tar" for number in range(3)]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    with tarfile.open(tmp_path / "a" / names[0]) as tar:
        assert tar.getnames() == ["000.jpg", "000.json", "000.txt", "001.jpg", "001.json", "001.txt"]
        assert {(member.mtime, member.uid, member.gid) for member in tar} == {(0, 0, 0)}


def test_the_writer_counts_what_it_wrote(tmp_path):
    first, last = write(tmp_path, max_count=3).shards
    assert (first.split, first.counts, last.counts) == (
        "train", {"samples": 3, "captions": 6}, {"samples": 2, "captions": 4},
    )  # fmt: skip
    assert hashlib.sha256((tmp_path / first.file).read_bytes()).hexdigest() == first.sha256


def test_a_shard_is_closed_by_its_bytes(tmp_path):
    assert len(write(tmp_path, max_bytes=2500).shards) > 1


@pytest.mark.parametrize("key", ["a.b", "", "/etc/passwd", "../../etc/passwd", "__meta__", "folder/"])
def test_keys_that_would_not_come_back_are_refused(tmp_path, key):
    with ShardWriter(tmp_path, "train") as writer, pytest.raises(ValueError, match="cannot be a sample's key"):
        writer.write(key, {"txt": "x"})


def test_a_key_is_written_once(tmp_path):
    with ShardWriter(tmp_path, "train") as writer:
        writer.write("a", {"txt": "x"})
        with pytest.raises(ValueError, match="'a' was written before"):
            writer.write("a", {"txt": "y"})


def test_a_malformed_record_is_refused(tmp_path):
    with ShardWriter(tmp_path, "train") as writer, pytest.raises(ValueError, match=r"sample a: .*captions"):
        writer.write("a", {"json": {"captions": "a dog"}})


def test_an_exception_leaves_whole_shards_only(tmp_path):
    with pytest.raises(ValueError, match="'000' was written before"):
        write(tmp_path, [0, 1, 2, 0], max_count=2)
    assert os.listdir(tmp_path) == ["train-toy-000000.tar"]


def test_cards_come_back_and_name_what_is_wrong(tmp_path):
    card = msgspec.structs.replace(CARD, shards=tuple(write(tmp_path, max_count=2).shards))
    write_card(tmp_path, card)
    assert read_card(tmp_path) == card
    assert card.count("train", "captions") == 10
    assert verify_shards(tmp_path, card) == []
    one, two, three = (tmp_path / name for name in card.files("train"))
    one.unlink()
    two.write_bytes(two.read_bytes()[:-1])
    three.write_bytes(three.read_bytes().replace(b"number 4", b"number 5"))
    problems = verify_shards(tmp_path, card)
    assert ["missing" in problems[0], "bytes" in problems[1], "sha256" in problems[2]] == [True] * 3


def test_a_broken_card_is_named(tmp_path):
    (tmp_path / "dataset.json").write_text('{"name": 3}')
    with pytest.raises(ValueError, match=r"dataset\.json is not a card"):
        read_card(tmp_path)


def test_lists_of_shards(tmp_path):
    for name in ("a-0", "a-1", "b-0"):
        (tmp_path / f"{name}.tar").touch()
    names = [f"{tmp_path}/{name}.tar" for name in ("a-0", "a-1", "b-0")]
    assert expand_shards(f"{tmp_path}/a-{{0..1}}.tar") == names[:2]
    assert expand_shards(f"{tmp_path}/*.tar") == names
    assert expand_shards([names[2], f"{tmp_path}/a-*.tar"]) == [names[2], *names[:2]]
    assert expand_shards("s3://bucket/{0..1}.tar") == ["s3://bucket/0.tar", "s3://bucket/1.tar"]


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        ("{}/c-{{0..1}}.tar", "no shard is named .*c-0.tar; there are a-0.tar"),
        ("{}/none/*.tar", "there is no .tar in"),
        ("{}", "is a folder; name its shards"),
        (["{}/a-0.tar", "{}/a-*.tar"], "a-0.tar is named twice"),
        ("pipe:cat {}/a-0.tar", "would run a shell"),
        ([], "names no shards"),
    ],
)
def test_lists_that_cannot_be_meant(tmp_path, shards, message):
    (tmp_path / "a-0.tar").touch()
    filled = [s.format(tmp_path) for s in shards] if isinstance(shards, list) else shards.format(tmp_path)
    with pytest.raises(ValueError, match=message):
        expand_shards(filled)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize("workers", [1, 2])
def test_conversions_are_the_same_for_any_number_of_processes(tmp_path, workers):
    card = convert(tmp_path / "one", CARD, parts(), workers=1)
    convert(tmp_path / "two", CARD, parts(), workers=workers)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert card.count("train") == 2 * 54


def test_a_complete_conversion_is_recognised_and_a_damaged_one_repaired(tmp_path, capsys):
    convert(tmp_path, CARD, parts(), workers=1)
    before = content(tmp_path)
    capsys.readouterr()
    convert(tmp_path, CARD, parts(), workers=1)
    assert "is complete" in capsys.readouterr().out
    (tmp_path / "train-a-000001.tar").write_bytes(b"cut short")
    convert(tmp_path, CARD, parts(), workers=1)
    assert content(tmp_path) == before


def test_a_smaller_conversion_leaves_no_shard_of_the_larger_one(tmp_path):
    convert(tmp_path, CARD, parts(), workers=1)
    convert(tmp_path, msgspec.structs.replace(CARD, settings={"limit": 10}), parts(10), workers=1)
    assert sorted(content(tmp_path)) == ["dataset.json", "train-a-000000.tar", "train-b-000000.tar"]


def test_errors_of_rows_come_through(tmp_path):
    with pytest.raises(ValueError, match=r"rows\.json, line 0"):
        convert(tmp_path, CARD, [Part("train", "train", range(40), fail)], workers=2)
    assert content(tmp_path) == {}


def test_a_killed_conversion_goes_on_and_ends_the_same(tmp_path):
    convert(tmp_path / "whole", CARD, parts(400), workers=1)
    process = multiprocessing.get_context("spawn").Process(
        target=convert, args=(tmp_path / "killed", CARD, parts(400), 1)
    )
    process.start()
    # Killed in the middle of the second part, when the first is done.
    while not (tmp_path / "killed" / "train-b-000000.tar").exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not (tmp_path / "killed" / "dataset.json").exists()
    first = (tmp_path / "killed" / "train-a-000000.tar").stat().st_mtime_ns
    convert(tmp_path / "killed", CARD, parts(400), workers=1)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    assert (tmp_path / "killed" / "train-a-000000.tar").stat().st_mtime_ns == first


def test_a_record_gives_the_same_bytes_wherever_it_was_made(tmp_path):
    """Also after pickling, which makes another string of a default."""
    record = Record(captions=(Caption("a dog"),), source="made up")
    for name, one in (("a", record), ("b", pickle.loads(pickle.dumps(record)))):
        with ShardWriter(tmp_path / name, "train") as writer:
            writer.write("0", {"json": one})
    assert (tmp_path / "a/train-000000.tar").read_bytes() == (tmp_path / "b/train-000000.tar").read_bytes()
    with tarfile.open(tmp_path / "a/train-000000.tar") as tar:
        assert tar.extractfile("0.json").read() == b'{"captions":[{"text":"a dog"}],"source":"made up"}'
