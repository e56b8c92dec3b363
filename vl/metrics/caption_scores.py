"""Caption metrics while a run validates: BLEU-4, ROUGE-L and CIDEr of all captions together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torchmetrics import Metric

from vl.batch import Batch
from vl.metrics.captions import bleu, rouge_l
from vl.metrics.cider import CiderD
from vl.metrics.consistency import percent
from vl.metrics.ptb import tokenize
from vl.ranks import gather_objects


class CaptionScores(Metric):
    """In percent, CIDEr (which is CIDEr-D) in hundredths of its 0 to 10; its document frequencies are those of the
    references seen. English is split into Penn Treebank words, Chinese into characters."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.captions: dict[str, tuple[list[str], list[list[str]]]] = {}

    def update(self, answers: Sequence[Mapping[str, Any]], batch: Batch) -> None:
        """Add the captions of a batch, whose targets have `captions` and `language`."""
        rows = zip(answers, batch.targets["captions"], batch.targets["language"], strict=True)
        for answer, references, language in rows:
            split = list if language == "zh" else tokenize
            self.captions[answer["image_id"]] = split(answer["caption"]), [split(text) for text in references]

    def compute(self) -> dict[str, float]:
        """The scores over all ranks."""
        merged = {name: pair for part in gather_objects(self.captions) for name, pair in part.items()}
        if not merged:
            return {}
        candidates, references = (list(side) for side in zip(*(merged[name] for name in sorted(merged)), strict=True))
        rouge = [rouge_l(candidate, texts) for candidate, texts in zip(candidates, references, strict=True)]
        cider = CiderD(references).scores(candidates)
        return {"BLEU-4": 100 * bleu(candidates, references)[3], "ROUGE-L": percent(rouge), "CIDEr": percent(cider)}

    def reset(self) -> None:
        super().reset()
        self.captions = {}
