"""The index: what it reads, what it refuses, and that it costs nothing to open again."""

import io
import json
import os
import pickle
import tarfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import vl.data.shard_index
from vl.data.index import ShardSet
from vl.data.sample import MAX_TEXT_BYTES
from vl.data.shard_index import index_shard
from vl.data.shards import ShardWriter
from vl.data.stages import BadMember
from vl.data.tar import samples, scan
from vl.data.tokenizers import ClipTokenizer
from vl.data.views.caption import CaptionView
from vl.data.views.qa import QAView

ONE, ALL = CaptionView(), CaptionView(choose="all")


def tar(path: Path, members: dict[str, bytes] | list[tuple[str, bytes]], form: int = tarfile.USTAR_FORMAT) -> Path:
    """A tar as others write it: in the given order, with whatever names."""
    with tarfile.open(path, "w", format=form) as file:
        for name, data in members.items() if isinstance(members, dict) else members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def plain(count: int = 10, captions: int = 2) -> dict[str, bytes]:
    """Samples as img2dataset stores them, jpg and txt of 600 bytes each, with a json of several captions."""
    members = {}
    for number in range(count):
        record = {"captions": [{"text": f"{number} {n}"} for n in range(captions)], "sha256": "", "status": "success"}
        members |= {
            f"{number:05d}.jpg": bytes([number]) * 600,
            f"{number:05d}.json": json.dumps(record).encode(),
            f"{number:05d}.txt": b"caption ".ljust(600, b"x"),
        }
    return members


@pytest.fixture
def shard(tmp_path) -> Path:
    return tar(tmp_path / "train-000000.tar", plain())


def test_examples_are_found_and_read(shard):
    one, every = ShardSet(str(shard), ONE), ShardSet(str(shard), ALL)
    assert (len(one), len(every)) == (10, 20)
    assert [every.locate(example) for example in (0, 1, 2, 19)] == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 9, 1)]
    sample = every.read(7)
    assert (sample.key, every.key(7)) == ("00003", "00003")
    assert dict(sample.members) == {name.partition(".")[2]: data for name, data in plain().items() if "00003" in name}
    assert [caption.text for caption in sample.record.captions] == ["3 0", "3 1"]
    with pytest.raises(IndexError):
        every.read(20)


def test_several_shards_are_one_sequence(tmp_path):
    with ShardWriter(tmp_path, "train", max_count=4) as writer:
        for number in range(10):
            qa = [{"id": f"{number}", "question": "how many?", "answers": [str(number)]}] * (number % 3)
            writer.write(f"{number:02d}", {"jpg": b"x", "json": {"qa": qa}})
    shards = ShardSet(f"{tmp_path}/*.tar", QAView())
    assert shards.counts.tolist() == [3, 4, 2]
    keys = [shards.read(example).key for example in range(len(shards))]
    assert keys == [f"{number:02d}" for number in range(10) for _ in range(number % 3)]
    assert shards.locate(3) == (1, 0, 0)  # sample 04


def test_only_what_the_view_needs_is_read(tmp_path):
    path = tar(tmp_path / "a.tar", {"a.jpg": b"x", "a.txt": b"a dog", "a.regions.safetensors": b"y" * 1000})
    assert set(ShardSet(str(path), ONE).read(0).members) == {"jpg", "txt"}


def test_shards_of_others_load_unchanged(tmp_path):
    """open_clip users: jpg + txt, in folders of the tar, with captions of any kind; img2dataset: jpg + txt + json."""
    tar(tmp_path / "a.tar", {"./part1/img_1.JPG": b"x", "./part1/img_1.txt": b"ein Hund\n"})
    tar(tmp_path / "b.tar", {"000.json": b'{"caption": "two", "url": "http://x", "key": "000"}', "000.jpg": b"y",
                             "000.txt": b"two"})  # fmt: skip
    shards = ShardSet(f"{tmp_path}/*.tar", ONE)
    assert [(shards.read(n).key, shards.read(n).record.captions[0].text) for n in range(2)] == [
        ("./part1/img_1", "ein Hund"), ("000", "two"),
    ]  # fmt: skip


SHORT = ["plain", "a folder whose name is long/" * 4 + "short", "日本語/図", "Ünï/cödé"]
LONG = ["x" * 120, "a folder whose name is long/" * 9 + "long", "日本語" * 40]
FORMS = [(name, form) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT) for name in SHORT]
FORMS += [(name, form) for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT) for name in LONG]


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_headers_are_read_as_tarfile_reads_them(tmp_path, name, form):
    path = tar(tmp_path / "a.tar", {f"{name}.jpg": b"x" * 700, f"{name}.txt": b"a dog", "last.jpg": b""}, form)
    with tarfile.open(path) as file:
        expected = [(info.name, info.offset_data, info.size) for info in file]
    with open(path, "rb") as file:
        assert list(map(tuple, scan(file.fileno(), str(path)))) == expected


def test_headers_of_gnu_tar_itself(tmp_path):
    """Folders, links, a global PAX header and a size in a PAX header."""
    with tarfile.open(
        tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "made by hand"}
    ) as file:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE):
            info = tarfile.TarInfo("folder.jpg")
            info.type, info.linkname = kind, "elsewhere"
            file.addfile(info)
        info = tarfile.TarInfo("a.jpg")
        info.size, info.pax_headers = 3, {"size": "3", "mtime": "1.5"}
        file.addfile(info, io.BytesIO(b"abc"))
    with open(tmp_path / "a.tar", "rb") as file:
        (member,) = scan(file.fileno(), "a.tar")
        assert (member.name, os.pread(file.fileno(), member.size, member.offset)) == ("a.jpg", b"abc")


def whole(path: Path) -> bytes:
    return tar(path, plain()).read_bytes()


def offset_of(path: Path, name: str) -> int:
    with tarfile.open(path) as file:
        return file.getmember(name).offset


DAMAGES = {
    "cut inside a member": (lambda data, at: data[: at("00004.jpg") + 512 + 300], "cut short inside '00004.jpg'"),
    "cut inside a header": (lambda data, at: data[: at("00004.json") + 200], "cut short inside a tar header"),
    "cut between members": (lambda data, at: data[: at("00004.json")], "end-of-archive block is missing"),
    "cut between samples": (lambda data, at: data[: at("00004.jpg")], "end-of-archive block is missing"),
    "empty": (lambda data, at: b"", "it is empty"),
    "garbage": (lambda data, at: np.random.default_rng(0).bytes(20_000), "it is no tar"),
    "a short garbage": (lambda data, at: b"not a tar", "cut short inside a tar header"),
    "html": (lambda data, at: b"<!DOCTYPE html><html>404 not found</html>".ljust(5000), "HTML or XML page"),
    "garbage in the middle": (lambda data, at: data[: at("00004.jpg")] + b"\7" * 512 + data[at("00004.jpg") + 512 :],
                              "garbage from byte"),
    "gzipped": (lambda data, at: b"\x1f\x8b" + data, "compressed"),
    "a git lfs pointer": (lambda data, at: b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    "no member": (lambda data, at: bytes(10240), "without samples"),
    "two tars joined": (lambda data, at: data + data, "more data follow its end"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_shards_are_refused_by_name(tmp_path, name):
    path = tmp_path / "train-000007.tar"
    damage, message = DAMAGES[name]
    path.write_bytes(damage(whole(path), lambda member: offset_of(path, member)))
    with pytest.raises(ValueError, match=rf"train-000007\.tar.*{message}"):
        ShardSet(str(path), ONE)
    assert not (tmp_path / ".vlindex").exists()


def header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    """A tar header with a checksum that fits, whatever it says."""
    block = bytearray(name.ljust(124, b"\0") + size.ljust(12, b"\0") + b" " * 20 + kind).ljust(512, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


HOSTILE = {
    "a size below zero": header(b"__x", b"-0000001000"),
    "a long name below zero": header(b"././@LongLink", b"-0000001000", b"L"),
    "a PAX field of no length": header(b"x", b"%011o" % 8, b"x") + b"0 a=b\n".ljust(512, b"\0"),
    "a PAX size below zero": header(b"x", b"%011o" % 14, b"x")
    + b"14 size=-1024\n".ljust(512, b"\0")
    + header(b"a", b"0"),
    "a PAX size that is a word": header(b"x", b"%011o" % 12, b"x")
    + b"12 size=abc\n".ljust(512, b"\0")
    + header(b"a", b"0"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_end_the_reading(tmp_path, name):
    path = tmp_path / "a.tar"
    path.write_bytes(HOSTILE[name] + bytes(4096))
    with pytest.raises(ValueError, match=r"a\.tar cannot be used: (the size in its header|one of its PAX headers)"):
        index_shard(path, ONE)


def test_every_truncation_is_refused(tmp_path):
    """Whatever the place of the cut, up to the end-of-archive block."""
    path = tmp_path / "a.tar"
    data = tar(path, plain(2)).read_bytes()
    with open(path, "rb") as file:
        *_, last = scan(file.fileno(), "a.tar")
    end = last.offset + -(-last.size // 512) * 512
    for cut in range(0, end + 1, 128):
        path.write_bytes(data[:cut])
        with pytest.raises(ValueError, match=r"a\.tar"):
            index_shard(path, ONE)


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.tar"):
        index_shard(tmp_path / "none.tar", ONE)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.jpg", "b.jpg", "a.txt", "b.txt"], "members of 'a' do not stand together"),
        (["a.jpg", "a.txt", "b.jpg", "a.jpg", "a.txt"], "the key 'a' comes twice"),
        (["a.jpg", "a.txt", "a.txt"], "the key 'a' comes twice"),
    ],
)
def test_members_that_are_not_grouped_are_refused(tmp_path, names, message):
    path = tar(tmp_path / "a.tar", [(name, b"x") for name in names])
    with pytest.raises(ValueError, match=message):
        ShardSet(str(path), ONE)


@pytest.mark.parametrize("kind", ["pyd", "pkl", "pickle", "pt", "pth", "left.PKL"])
def test_pickles_are_listed_and_never_read(tmp_path, kind):
    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/executed",)

    path = tar(tmp_path / "a.tar", {"a.jpg": b"x", f"a.{kind}": pickle.dumps(Payload()), "a.txt": b"a dog"})
    with pytest.warns(UserWarning, match="never read"):
        shards = ShardSet(str(path), ONE)
    assert set(shards.read(0).members) == {"jpg", "txt"}
    assert shards.summaries[0].pickles == 1
    assert not (tmp_path / "executed").exists()


def test_a_huge_text_is_harmless(tmp_path):
    """2 GB in a txt member, most of them a hole of the file: not read, its sample counts as bad."""
    size, path = 2**31, tmp_path / "a.tar"
    first = tarfile.TarInfo("huge.txt")
    first.size = size
    with open(path, "wb") as file:
        file.write(first.tobuf())
        file.truncate(512 + size)
        file.seek(512 + size)
        file.write(tar(tmp_path / "rest.tar", {"huge.jpg": b"x", **plain(3)}).read_bytes())
    with pytest.warns(UserWarning, match="1 of 4 samples are malformed and left out"):
        shards = ShardSet(str(path), ONE, max_bad=0.5)
    assert (len(shards), shards.summaries[0].bad) == (3, 1)
    assert f"more than {MAX_TEXT_BYTES:,}" in shards.bad[0][1]


def test_a_huge_picture_is_a_bad_member(tmp_path, shard, monkeypatch):
    monkeypatch.setattr("vl.data.index.MAX_MEMBER_BYTES", 599)
    with pytest.raises(BadMember, match="600 bytes") as error:
        ShardSet(str(shard), ONE).read(3)
    assert error.value.key == "00003"


@pytest.mark.parametrize("key", ["../../etc/passwd", "/etc/passwd", "a\nb", "\udcff"])
def test_keys_are_names_only(tmp_path, key):
    path = tar(tmp_path / "a.tar", {f"{key}.jpg": b"x", f"{key}.txt": b"a dog"})
    shards = ShardSet(str(path), ONE)
    with open(path, "rb") as file:
        assert [found for found, _ in samples(file.fileno(), "a.tar")] == [shards.read(0).key]
    assert sorted(file.name for file in tmp_path.iterdir()) == [".vlindex", "a.tar"]


def test_malformed_samples_are_counted_and_reported(tmp_path):
    members = plain(20) | {"00003.json": b'{"captions": 3}', "00004.json": b'{"x":' + b"[" * 1_000_000}
    del members["00005.jpg"]
    path = tar(tmp_path / "a.tar", members)
    with pytest.raises(ValueError, match=r"3 of 20 samples are malformed, more than 5%"):
        ShardSet(str(path), ONE)
    with pytest.warns(UserWarning, match=r"3 of 20 samples are malformed and left out: sample 00003.*; sample 00004"):
        shards = ShardSet(str(path), ONE, max_bad=0.2)
    assert len(shards) == 17
    assert [reason.split()[1].rstrip(":") for _, reason in shards.bad] == ["00003", "00004", "00005"]
    assert shards.read(3).key == "00006"


def test_a_view_without_examples_is_an_error(shard):
    with pytest.raises(ValueError, match=r"none of \d+ samples has an example for QAView"):
        ShardSet(str(shard), QAView())


def count_builds(monkeypatch) -> Counter:
    built, build = Counter(), vl.data.shard_index._build
    monkeypatch.setattr(
        vl.data.shard_index, "_build", lambda path, view: built.update([str(path)]) or build(path, view)
    )
    return built


def test_an_index_is_built_once_for_a_view(shard, monkeypatch):
    built = count_builds(monkeypatch)
    assert {ShardSet(str(shard), ONE).digest for _ in range(3)} == {ShardSet(str(shard), ONE).digest}
    assert built.total() == 1
    ShardSet(str(shard), ALL)
    assert built.total() == 2


def test_an_index_that_no_longer_fits_is_built_again(shard, monkeypatch):
    built, digest = count_builds(monkeypatch), ShardSet(str(shard), ONE).digest
    os.utime(shard, ns=(0, 0))
    assert ShardSet(str(shard), ONE).digest == digest
    tar(shard, plain(30))
    os.utime(shard, ns=(0, 0))
    assert len(ShardSet(str(shard), ONE)) == 30
    monkeypatch.setattr(vl.data.shard_index, "INDEX_VERSION", 99)
    ShardSet(str(shard), ONE)
    assert built.total() == 4


@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("how", ["cut", "changed"])
def test_a_damaged_index_is_built_again(shard, where, how):
    whole_set = ShardSet(str(shard), ONE)
    expected = [whole_set.read(example) for example in range(len(whole_set))]
    (cached,) = (shard.parent / ".vlindex").iterdir()
    data = bytearray(cached.read_bytes())
    place = int(where * len(data))
    cached.write_bytes(data[:place] if how == "cut" else data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :])
    again = ShardSet(str(shard), ONE)
    assert [again.read(example) for example in range(len(again))] == expected
    assert len(cached.read_bytes()) == len(data)


def test_an_index_goes_where_it_can_be_written(shard, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (shard.parent / ".vlindex").write_text("a file in the way, as a read-only folder would be")
    built = count_builds(monkeypatch)
    for _ in range(2):
        assert len(ShardSet(str(shard), ONE)) == 10
    assert built.total() == 1
    assert len(list((tmp_path / "home/vl/index").iterdir())) == 1
    ShardSet(str(shard), ONE, cache=str(tmp_path / "mine"))
    assert len(list((tmp_path / "mine/index").iterdir())) == 1


def test_an_index_that_cannot_be_kept_is_a_warning(shard, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="cannot be written"):
        assert len(ShardSet(str(shard), ONE, cache=tmp_path / "file")) == 10


def test_a_shard_that_changes_in_use_is_an_error(shard):
    shards = ShardSet(str(shard), ONE)
    shards.read(0)
    os.truncate(shard, 700)
    with pytest.raises(ValueError, match="cut short while it was in use"):
        shards.read(9)
    late = ShardSet(str(tar(shard, plain(10))), ONE)
    tar(shard, plain(9, captions=1))
    os.utime(shard, ns=(1, 1))
    with pytest.raises(ValueError, match="has changed since it was indexed"):
        late.read(0)


def test_the_digest_names_the_content(shard, tmp_path):
    digest = ShardSet(str(shard), ONE).digest
    moved = tmp_path / "elsewhere" / shard.name
    moved.parent.mkdir()
    moved.write_bytes(shard.read_bytes())
    assert ShardSet(str(moved), ONE).digest == digest
    assert ShardSet(str(shard), ALL).digest != digest
    tar(moved, plain(10) | {"00009.txt": b"captiom ".ljust(600, b"x")})
    assert ShardSet(str(moved), ONE).digest != digest, "a text of the same length was changed"


def test_few_files_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr("vl.data.index._MAX_OPEN", 2)
    for number in range(5):
        tar(tmp_path / f"{number}.tar", {f"{number}.jpg": b"x", f"{number}.txt": b"a dog"})
    shards = ShardSet(f"{tmp_path}/*.tar", ONE)
    before = len(os.listdir("/proc/self/fd"))
    assert [shards.read(n % 5).key for n in range(10)] == [str(n % 5) for n in range(10)]
    assert len(os.listdir("/proc/self/fd")) <= before + 4  # a shard and its index each


def test_sets_travel_to_workers(shard):
    shards = ShardSet(str(shard), ONE)
    shards.read(0)
    assert pickle.loads(pickle.dumps(shards)).read(5) == shards.read(5)


def test_lengths_are_those_of_the_longest_text_and_kept_in_a_file(shard, monkeypatch):
    tokenizer = ClipTokenizer(context_length=16)
    every, one = ShardSet(str(shard), ALL).lengths(tokenizer), ShardSet(str(shard), ONE).lengths(tokenizer)
    expected = [tokenizer.lengths([f"{number} {n}" for n in range(2)]).tolist() for number in range(10)]
    assert every.tolist() == [length for pair in expected for length in pair]
    assert one.tolist() == [max(pair) for pair in expected]
    monkeypatch.setattr(ShardSet, "_texts", None)
    assert ShardSet(str(shard), ALL).lengths(tokenizer).tolist() == every.tolist()


def test_a_shard_without_a_warning_gives_none(shard):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ShardSet(str(shard), ONE)
