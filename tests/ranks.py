"""Run a function on N ranks of a gloo process group: `results = run_ranks(function, *args, ranks=2)`.

The processes come from a fork server that has made the slow imports: 10 s once, then 0.2 s a process. A
`Trainer(devices=N, strategy="ddp" or "fsdp2", accelerator="cpu")` in the function finds its group ready.
"""

import importlib.util
import multiprocessing
import os
import pickle
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["torch", "pytorch_lightning", "vl.train.module"])


class RanksFailed(Exception):
    """Some ranks raised, died or gave no answer in time; `errors` maps each to its traceback or its end."""

    def __init__(self, errors: dict[int, str]) -> None:
        self.errors = errors
        super().__init__("\n".join(f"rank {rank}: {error}" for rank, error in sorted(errors.items())))


def run_ranks(function: Callable[..., Any], *args: Any, ranks: int = 2, timeout: float = 200) -> list[Any]:
    """What `function(*args)` returns on each rank. The function must be at the top level of its file.

    Raises:
        RanksFailed: a rank raised, died, or had not answered after `timeout` seconds; no process is left behind.
    """
    job = (function.__module__, function.__code__.co_filename, pickle.dumps((function, args)))
    with tempfile.TemporaryDirectory() as folder:
        pipes = [_context.Pipe(duplex=False) for _ in range(ranks)]
        processes = [
            _context.Process(target=_rank, args=(job, rank, ranks, f"{folder}/store", pipe[1]))
            for rank, pipe in enumerate(pipes)
        ]
        try:
            for process, (_, sender) in zip(processes, pipes, strict=True):
                process.start()
                sender.close()
            answers = _collect([receiver for receiver, _ in pipes], time.monotonic() + timeout)
            for process, answer in zip(processes, answers, strict=True):
                process.join(timeout=10 if answer else 1)
            codes = [process.exitcode for process in processes]
        finally:
            for process in processes:
                process.kill()
    silent = [f"no answer in {timeout:g} s" if code is None else f"ended with exit code {code}" for code in codes]
    errors = {
        rank: answer[1] if answer else silent[rank] for rank, answer in enumerate(answers) if not (answer and answer[0])
    }
    if errors:
        raise RanksFailed(errors)
    return [answer[1] for answer in answers if answer]


def _collect(receivers: list[Connection], deadline: float) -> list[tuple[bool, Any] | None]:
    """(worked, result or traceback) of each rank; None for one that died or was late."""
    answers: dict[int, tuple[bool, Any]] = {}
    open_ends = list(receivers)
    while open_ends and (ready := wait(open_ends, max(0, deadline - time.monotonic()))):
        for end in ready:
            open_ends.remove(end)
            try:
                answers[receivers.index(end)] = pickle.loads(end.recv_bytes())
            except EOFError:
                continue
    return [answers.get(rank) for rank in range(len(receivers))]


def _rank(job: tuple[str, str, bytes], rank: int, ranks: int, store: str, sender: Connection) -> None:
    """The life of one process: join the group, load the test file, run, answer."""
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    os.environ.update(LOCAL_RANK=str(rank), RANK=str(rank), WORLD_SIZE=str(ranks), NODE_RANK="0")
    try:
        distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
        function, args = _load(*job)
        answer = (True, function(*args))
    except BaseException:
        answer = (False, traceback.format_exc())
    sender.send_bytes(pickle.dumps(answer))
    sender.close()


def _load(module: str, file: str, call: bytes) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The function and its arguments; its file is loaded by path, as pytest did, and needs no package."""
    if module not in sys.modules:
        spec = importlib.util.spec_from_file_location(module, file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[module])
    return pickle.loads(call)
