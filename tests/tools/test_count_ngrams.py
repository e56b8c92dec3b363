"""Document frequencies of shards, as a file that self-critical training reads."""

import importlib.util
from collections import Counter
from pathlib import Path

import pytest
from region_shards import record, write_region_shards

from vl.metrics.caption_reward import read_frequencies

TOOL = Path(__file__).parents[2] / "tools/count_ngrams.py"


@pytest.fixture
def main():
    spec = importlib.util.spec_from_file_location("count_ngrams", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_each_ngram_counts_once_a_picture(main, tmp_path, capsys):
    main(["--data", write_region_shards(tmp_path, count=30), "--out", str(tmp_path / "out/ngrams.json")])
    counted = Counter()
    for number in range(30):
        texts = [one["text"] for one in record(number)["captions"] if one["language"] == "en"]
        said = [[*text.lower().rstrip(".").split(), "<end>"] for text in texts]
        counted.update({tuple(t[i : i + n]) for t in said for n in range(1, 5) for i in range(len(t) - n + 1)})
    found = read_frequencies(tmp_path / "out/ngrams.json")
    assert found.images == 30
    assert found.counts == {gram: count for gram, count in counted.items() if count > 1}
    assert "n-grams of two pictures and more; 30 pictures" in capsys.readouterr().out


def test_shards_without_captions_are_an_error(main, tmp_path):
    with pytest.raises(SystemExit, match="count_ngrams"):
        main(["--data", str(tmp_path / "none-*.tar"), "--out", str(tmp_path / "ngrams.json")])
