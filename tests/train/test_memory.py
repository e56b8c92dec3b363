"""What is freed stays with the process: the same block costs no pages the second time."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from vl.train.memory import keep_freed_memory
if sys.argv[1] == "keep":
    print("kept" if keep_freed_memory() else "no glibc")
for step in range(24):  # the first few leave splinters that only later join
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    command = [sys.executable, "-c", FAULTS, how]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.split()


def test_freed_memory_is_used_again():
    said, kept = faults("keep")[0], faults("keep")[-1]
    if said == "no":
        pytest.skip("no glibc: nothing to tell it")
    (released,) = faults("release")
    assert int(kept) < 50
    assert int(released) == 0 or int(kept) < int(released)
