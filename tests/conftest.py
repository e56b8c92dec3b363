"""What every test stands on: shape checks, requirements that may be missing, the line that says what did not run."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("vl", "beartype.beartype")

CPUINFO = Path("/proc/cpuinfo")
#: Requirement -> (is it here?, the command that brings it).
REQUIREMENTS = {
    "browser": (
        lambda: bool(find_spec("playwright")) and chromium() is not None,
        "install chromium, or `make browser`; then `make test`",
    ),
    "bf16": (
        lambda: "avx512_bf16" in CPUINFO.read_text() if CPUINFO.exists() else False,
        "`make test-slow` on a processor with bf16 instructions",
    ),
    "detectron2": (lambda: find_spec("detectron2") is not None, "`make detectron2`, then `make test`"),
}


def chromium() -> str | None:
    """A Chromium to drive: the system's, or the one Playwright installed."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if os.path.exists(path) else None


@pytest.fixture(scope="session")
def chromium_path() -> str:
    path = chromium()
    assert path is not None
    return path


def pytest_collection_modifyitems(config, items):
    required = set(filter(None, os.environ.get("VL_REQUIRE", "").split(",")))
    if unknown := required - REQUIREMENTS.keys():
        raise pytest.UsageError(f"VL_REQUIRE names {sorted(unknown)}; known are {sorted(REQUIREMENTS)}")
    missing = {name for name, (present, _) in REQUIREMENTS.items() if not present()}
    if missing & required:
        raise pytest.UsageError(f"VL_REQUIRE demands what is not installed: {sorted(missing & required)}")
    for item in items:
        for name in missing:
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"needs {name}"))


def pytest_terminal_summary(terminalreporter):
    """One visible line for what did not run, and how to run it."""
    skipped = [
        report.longrepr[2] for report in terminalreporter.stats.get("skipped", []) if isinstance(report.longrepr, tuple)
    ]
    for name, (_, command) in REQUIREMENTS.items():
        if count := sum(f"needs {name}" in reason for reason in skipped):
            terminalreporter.write_line(f"not run: {count} tests that need {name}, to run: {command}", yellow=True)
    expression = terminalreporter.config.getoption("markexpr")
    if expression == "not slow":
        terminalreporter.write_line("not run: the slow tests, to run: make test-slow", yellow=True)
