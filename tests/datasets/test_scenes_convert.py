"""The command of the scenes: the same bytes whatever happens, and an end after every beginning."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vl.data.card import read_card, verify_shards
from vl.data.index import index_shard
from vl.data.views.qa import QAView

pytestmark = pytest.mark.slow
COMMAND = Path(__file__).parents[2] / "datasets" / "scenes" / "convert.py"
OPTIONS = ("--scenes", "90", "--held-out", "6", "--pairs", "30", "--judge", "12", "--shard", "12", "--seed", "3")


def start(out, *options):
    command = [sys.executable, str(COMMAND), "--out", str(out), *OPTIONS, *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def run(out, *options):
    process = start(out, *options)
    _, errors = process.communicate(timeout=250)
    return process.returncode, errors


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("scenes")
    assert run(out, "--processes", "2") == (0, "")
    return out


def test_card_and_counts(whole):
    card = read_card(whole)
    assert card.count("train") == 60 + 20
    assert card.count("judge") == 12
    assert all(card.count(split) == 6 + 2 for split in card.splits if split not in ("train", "judge"))
    assert not verify_shards(whole, card)
    assert (whole / "contact_sheet.png").stat().st_size > 100_000
    assert "一" in (whole / "contact_sheet.html").read_text(encoding="utf-8")


def test_the_views_of_the_library_read_it(whole, tmp_path):
    scenes = next(shard for shard in read_card(whole).shards if "train-scenes" in shard.file)
    index = index_shard(str(whole / scenes.file), QAView(), tmp_path)
    assert len(index) == scenes.counts["qa"]


def test_a_killed_run_is_finished_to_the_same_bytes(whole, tmp_path):
    """Killed with all its processes after the first shards; one process finishes what two began."""
    process = start(tmp_path, "--processes", "2")
    deadline = time.monotonic() + 200
    while len(list(tmp_path.glob("*.tar"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    begun = read_card(tmp_path)
    assert len(list(tmp_path.glob("*.tar"))) < len(read_card(whole).shards), "it ended before it was killed"
    assert begun is None or not verify_shards(tmp_path, begun)
    assert run(tmp_path, "--processes", "1") == (0, "")
    assert read_card(tmp_path) == read_card(whole)
    assert not verify_shards(tmp_path, read_card(tmp_path))
    assert sorted(path.name for path in tmp_path.glob(".*.tmp")) == []


def test_other_options_are_refused(whole):
    code, errors = run(whole, "--preset", "simple")
    assert code == 1
    assert "was made with another preset" in errors
    code, errors = run(whole / "new", "--held-out", "50")
    assert code == 1
    assert "--scenes 90 is less than 5 splits of --held-out 50" in errors
