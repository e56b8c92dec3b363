"""Where the workers of loaders come from: a process that imports what they need once, and forks."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import BaseContext


def fork_server(*modules: str) -> BaseContext:
    """Workers fork from a process that has imported `modules` but started no thread: plain fork may hang."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", *modules])
    # Python 3.11 does not hand on sys.path (gh-117378), and would look in the current folder first.
    with _environment(PYTHONSAFEPATH="1", PYTHONPATH=os.pathsep.join(path or os.getcwd() for path in sys.path)):
        forkserver.ensure_running()
    return context


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """With these variables, for a process that is started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
