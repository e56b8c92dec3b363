"""Findings of text-to-image models."""

from __future__ import annotations

from dataclasses import dataclass

from vl.report.figures import Finding


@dataclass(frozen=True)
class Generated(Finding):
    """A finding of pictures made from prompts, of reconstructions, or of the real pictures that they are held against.

    `rerank` says which candidate of a prompt is judged: none (the first), or the best by clip or self; None where there
    are no candidates.
    """

    rerank: str | None = None
