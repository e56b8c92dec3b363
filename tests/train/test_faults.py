"""A fault on one of two ranks ends both with its message; started as a user would, by the command line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import write_run

TESTS = Path(__file__).parents[1]


def fit(file, *words, timeout=280):
    command = [sys.executable, "-m", "vl.train.cli", "fit", "--config", str(file), *words]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"class_path": "runs.Fail", "init_args": {"step": 2, "rank": 1}}, "rank 1 failed: ValueError: rank 1 ran out"),
        ({"class_path": "runs.Kill", "init_args": {"step": 2, "rank": 1}}, "rank 1 ended without a word"),
        pytest.param(
            {"class_path": "runs.Kill", "init_args": {"step": 2, "rank": 0}},
            "rank 0 ended without a word",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["exception", "kill", "kill of rank 0"],
)
def test_a_fault_on_one_rank_ends_both(tmp_path, fault, message):
    ended = fit(write_run(tmp_path, fault), "--trainer.strategy=ddp", "--trainer.devices=2")
    survivor = 1 - fault["init_args"]["rank"]
    assert f"[rank {survivor}] {message}" in ended.stderr
    assert ended.returncode == (-signal.SIGKILL if survivor == 1 else 1)
    assert time.time() - (tmp_path / "run/steps.jsonl").stat().st_mtime < 60
    assert not (tmp_path / "run/checkpoints/step_00000008.ckpt").exists()
