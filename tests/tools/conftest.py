from importlib import import_module
from pathlib import Path

import pytest


@pytest.fixture
def run_tool(monkeypatch):
    """`run_tool("evaluate", "retrieval", ...)` runs `tools/evaluate.py` with these words in this process."""

    def run(name, *words):
        monkeypatch.syspath_prepend(Path(__file__).parents[2] / "tools")
        import_module(name).main([str(word) for word in words])

    return run
