"""GQA over a closed list of answers: arXiv:1902.09506; LXMERT's 1,842 answers, 12-in-1's 1,533."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vl.tasks.vqa import VQA


class GQA(VQA):
    """As VQA, with one right answer, which must be matched exactly.

    Args:
        file: JSON list of the answers.
        answers: classes of the head, which the list must not exceed.
    """

    def __init__(self, file: str, answers: int = 1842) -> None:
        super().__init__(file, answers)

    def judged(self, name: str, answer: str, people: Sequence[str]) -> dict[str, Any]:
        """One answer in the submission's form; scored where the right one is known."""
        return {"questionId": name, "prediction": answer} | ({"accuracy": float(answer in people)} if people else {})
