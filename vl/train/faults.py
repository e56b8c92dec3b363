"""A fault on one rank ends all ranks, at once and with that rank's message.

A rank that waits in a collective for one that has failed would wait for half an hour. So every rank runs a thread that
watches a small store beside the process group: a failing rank writes its message there, and the others print it and
end. A rank that dies without a word (`kill -9`, out of memory) is noticed by its missing heartbeat, a local one sooner
by its launcher.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from datetime import timedelta
from subprocess import Popen

from pytorch_lightning import Callback, LightningModule, Trainer
from torch.distributed import TCPStore

_PERIOD = 0.5
#: Seconds without a heartbeat after which a rank counts as dead.
_SILENCE = 30.0
#: Seconds a failing rank leaves the others to read its message, and then itself to end in order.
_GRACE = 2.0
_LINGER = 20.0
#: What collectives say when another rank is gone: never the fault itself.
_CONSEQUENCES = ("Connection closed by peer", "Connection reset by peer", "Connection refused", "Broken pipe")


class Watch(Callback):
    """Ends this rank when another one fails, and tells the others when this one does. Nothing to do on one rank."""

    def __init__(self) -> None:
        self._watcher: _Watcher | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.world_size > 1 and self._watcher is None:
            self._watcher = _Watcher(_open_store(trainer), trainer.global_rank, trainer.world_size, _children(trainer))
            self._watcher.start()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._watcher is not None and self._watcher.failure is None:
            self._watcher.finish()
            self._watcher = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._watcher is None:
            return
        if isinstance(exception, SystemExit | KeyboardInterrupt):
            self._watcher.finish(wait=isinstance(exception, SystemExit))
        else:
            self._watcher.fail(f"{type(exception).__name__}: {exception}")


class _Watcher(threading.Thread):
    def __init__(self, store: TCPStore, rank: int, ranks: int, children: list[Popen]) -> None:
        super().__init__(daemon=True, name="fault-watch")
        self.store, self.rank, self.ranks, self.children = store, rank, ranks, children
        self.failure: str | None = None
        self._done = threading.Event()
        self._heard: dict[int, tuple[bytes, float]] = {}

    def run(self) -> None:
        while not self._done.wait(_PERIOD):
            try:
                self._look()
            except RuntimeError:  # The store is gone, and with it rank 0.
                time.sleep(_GRACE)
                if not self._done.is_set() and self.failure is None:
                    self._end("rank 0 ended without a word (killed, or out of memory?)")

    def fail(self, message: str) -> None:
        """Tell the others, and make sure that this process ends too."""
        if any(words in message for words in _CONSEQUENCES):
            # The thread may learn the cause, and then ends the process.
            self._done.wait(2 * _GRACE)
            message = f"another rank ended without a word (killed, or out of memory?): {message}"
        self.failure = message
        threading.Thread(target=_end_later, daemon=True).start()
        try:
            self.store.compare_set("failure", "", f"rank {self.rank} failed: {message}")
        except RuntimeError:
            return
        time.sleep(_GRACE)

    def finish(self, wait: bool = True) -> None:
        """Stop watching; rank 0, which holds the store, waits until the others have."""
        try:
            self.store.set(f"beat{self.rank}", "done")
            deadline = time.monotonic() + _LINGER
            while wait and self.rank == 0 and time.monotonic() < deadline and not self._all_done():
                time.sleep(_PERIOD / 10)
        except RuntimeError:
            pass
        self._done.set()

    def _look(self) -> None:
        self.store.set(f"beat{self.rank}", str(time.monotonic()))
        if self.rank == 0:
            for number, child in enumerate(self.children, start=1):
                if child.poll():
                    self._report(f"rank {number} ended without a word (exit code {child.returncode})")
            for rank in range(1, self.ranks):
                self._listen(rank)
        if self.failure is None and self.store.check(["failure"]):
            self._end(self.store.get("failure").decode())

    def _listen(self, rank: int) -> None:
        beat = self.store.get(f"beat{rank}") if self.store.check([f"beat{rank}"]) else b""
        last, since = self._heard.get(rank, (None, 0.0))
        if beat != last:
            self._heard[rank] = (beat, time.monotonic())
        elif beat != b"done" and time.monotonic() - since > _SILENCE:
            self._report(f"rank {rank} has not been heard of for {_SILENCE:.0f} s (killed, or out of memory?)")

    def _report(self, message: str) -> None:
        self.store.compare_set("failure", "", message)

    def _all_done(self) -> bool:
        beats = [f"beat{rank}" for rank in range(1, self.ranks)]
        return self.store.check(beats) and all(beat == b"done" for beat in self.store.multi_get(beats))

    def _end(self, message: str) -> None:
        """End the process from this thread: the main thread may be waiting in a collective for ever."""
        if self.rank == 0:
            time.sleep(2 * _PERIOD)  # The store is here: let the others read first.
        sys.stderr.write(f"[rank {self.rank}] {message}\n")
        sys.stderr.flush()
        sys.stdout.flush()
        for child in self.children:
            child.kill()
        os._exit(1)


def _end_later() -> None:
    time.sleep(_LINGER)
    os._exit(1)


def _open_store(trainer: Trainer) -> TCPStore:
    """A store of its own: the process group's is one connection, which a waiting collective may hold."""
    host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    timeout = timedelta(seconds=60)
    if trainer.is_global_zero:
        store = TCPStore(host, 0, is_master=True, timeout=timeout, wait_for_workers=False)
        trainer.strategy.broadcast(store.port)
        return store
    return TCPStore(host, trainer.strategy.broadcast(0), is_master=False, timeout=timeout)


def _children(trainer: Trainer) -> list[Popen]:
    """The processes this one has launched. Lightning's observer, which would kill this process before it can say
    why, is relieved of them."""
    for thread in threading.enumerate():
        if thread.name == "child-process-observer":
            thread._child_processes = []  # type: ignore[attr-defined]
    return list(getattr(trainer.strategy.launcher, "procs", []))
