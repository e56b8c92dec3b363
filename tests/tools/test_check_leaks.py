"""Test pictures are found in training data, by name, by bytes, and through a third data set."""

import importlib.util
from pathlib import Path

import pytest
from pictures import picture

from vl.data.sample import Record
from vl.data.shards import ShardWriter

TOOL = Path(__file__).resolve().parents[2] / "tools" / "check_leaks.py"


@pytest.fixture
def main():
    spec = importlib.util.spec_from_file_location("check_leaks", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def check(main, tmp_path):
    def run(train, test):
        def words(kind, sets):
            return [f"{name}={write(tmp_path / kind / name, sources)}" for name, sources in sets.items()]

        out = tmp_path / "leaks.tsv"
        main(["--train", *words("train", train), "--test", *words("test", test), "--list", str(out)])

    return run


def write(folder, sources):
    """One sample a source; its picture is the name before a colon, or else its own."""
    with ShardWriter(folder, "part") as writer:
        for number, source in enumerate(sources):
            name, _, shown = source.partition(":")
            data = picture(shown or f"{folder}{number}")
            writer.write(f"{folder.name}-{number}", {"jpg": data, "json": Record(source=name)})
    return f"{folder}/part-*.tar"


def test_clean_sets_pass(check, capsys):
    check({"vqa": ["coco/1", "coco/2"]}, {"captions": ["coco/3"], "vg": ["visual_genome/2"]})
    assert "no test picture is trained on" in capsys.readouterr().out


def test_leaks_are_counted_and_listed(check, tmp_path, capsys):
    with pytest.raises(SystemExit, match="3 leaks, the first: vqa-1 of vqa"):
        check(
            {
                "vqa": ["coco/1", "coco/3"],
                "gqa": ["visual_genome/7"],
                "vg": ["visual_genome/7 coco/3"],
            },
            {"captions": ["coco/9", "coco/3"]},
        )
    assert "1 training samples of gqa show test pictures of captions" in capsys.readouterr().out
    rows = [line.split("\t") for line in (tmp_path / "leaks.tsv").read_text().splitlines()]
    assert rows[0] == ["vqa", "vqa-1", "captions", "captions-1", "coco/3"]


def test_the_same_bytes_are_the_same_picture(check):
    with pytest.raises(SystemExit, match="1 leaks, the first: web-1 of web"):
        check({"web": ["cc3m", "cc3m:same"]}, {"captions": ["coco/3:same"]})


def test_a_set_without_a_name_is_refused(main):
    with pytest.raises(SystemExit, match="has no name; write NAME=SHARDS"):
        main(["--train", "x.tar", "--test", "a=b.tar"])
