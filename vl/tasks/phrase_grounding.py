"""Phrase grounding: which regions does each phrase of a sentence mean? Flickr30k Entities, arXiv:1505.04870.

VisualBERT's head, arXiv:1908.03557, section 4.4: one more self-attention, whose weights are the answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from vl.batch import Batch, Encoded, Loss
from vl.metrics.grounding import iou
from vl.metrics.phrases import LEAST, PhraseMeans, phrase_scores
from vl.models.base import VLModel
from vl.models.bert import init_weights
from vl.tasks.base import Task

#: A logit of what is not there: exactly 0 after a softmax, and finite, so that its gradient is too.
_NEVER = -1e4


@dataclass(frozen=True)
class Phrases:
    """All p phrases of a batch: the row of each, its last token, and which regions it means."""

    rows: Int[Tensor, " p"]
    tokens: Int[Tensor, " p"]
    meant: Bool[Tensor, "p lv"]


class PhraseGrounding(Task):
    """Attention from the last token of a phrase to the regions, against a uniform distribution over those it means.

    A region is meant if it overlaps any of the phrase's boxes by one half or more. A phrase that means none of the
    regions has no loss, and counts as not found. The loss is the Kullback-Leibler divergence, summed over phrases and
    divided by the number of sentences, as in the released code. (`PhraseView` in a `RegionView`.)

    Args:
        heads: whose mean is the distribution: 1 in the released code, several in the paper.
        head_width: of queries and keys.
    """

    needs = frozenset({"text", "visual"})

    def __init__(self, heads: int = 1, head_width: int = 64) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.metric = PhraseMeans()

    def setup(self, model: VLModel) -> None:
        width = self.heads * self.head_width
        self.query, self.key = nn.Linear(model.width, width), nn.Linear(model.visual_width, width)
        init_weights(self.query, model.width)
        init_weights(self.key, model.visual_width)

    def logp(self, output: Encoded, batch: Batch, phrases: Phrases) -> Float[Tensor, "p lv"]:
        """The log-probability of every region for every phrase."""
        queries = self.query(output.text[phrases.rows, phrases.tokens]).unflatten(-1, (self.heads, -1))
        keys = self.key(output.visual).unflatten(-1, (self.heads, -1))[phrases.rows]
        scores = torch.einsum("phe,plhe->phl", queries, keys).float() * self.head_width**-0.5
        scores = scores.masked_fill(~batch.visual.mask[phrases.rows, None], _NEVER)
        return scores.log_softmax(2).logsumexp(1) - log(self.heads)

    def forward(self, output: Encoded, batch: Batch, target: Any = None) -> Loss:
        phrases = find_phrases(batch)
        logp, meant = self.logp(output, batch, phrases), phrases.meant
        number = meant.sum(1).clamp(min=1)
        loss = -logp.masked_fill(~meant, 0.0).sum(1) / number - number.log()
        found = meant.gather(1, logp.argmax(1, keepdim=True)).sum().float()
        count = torch.tensor(len(batch), device=logp.device)
        return Loss(loss.sum(), count, {"R@1": (found, torch.tensor(len(meant), device=logp.device))})

    def answer(self, output: Encoded, batch: Batch) -> Sequence[Mapping[str, Any]]:
        """Of each sentence its phrases, each with all boxes from the best on (corners in pixels) and their worth."""
        phrases, answers = find_phrases(batch), []
        best = iter(self.logp(output, batch, phrases).argsort(1, descending=True).cpu())
        boxes, counts, sizes = batch.visual.boxes.cpu(), batch.visual.mask.sum(1).tolist(), batch.targets["size"].cpu()
        for row, (name, spoken) in enumerate(zip(batch.targets["id"], batch.targets["phrases"], strict=True)):
            size, said = sizes[row].repeat(2), []
            for one in spoken:
                ranked = boxes[row, next(best)[: counts[row]]]
                pixels = [[round(x, 2) for x in box] for box in (ranked * size).tolist()]
                scores = phrase_scores(ranked, torch.tensor(one.boxes))
                said.append({"id": one.id, "boxes": pixels, "type": one.type, **scores})
            answers.append({"id": name, "phrases": said})
        return answers

    def submission(self, answers: Sequence[Mapping[str, Any]]) -> str:
        """A JSON list of phrases with their boxes, which `tools/score.py phrase_grounding` takes; there is no
        official format."""
        phrases = [phrase for answer in answers for phrase in answer["phrases"]]
        return json.dumps([{"id": one["id"], "boxes": one["boxes"]} for one in phrases]) + "\n"


def find_phrases(batch: Batch) -> Phrases:
    """Where the phrases of a batch end, and what they mean; of a sentence that was cut, its last token stands in.

    Raises:
        ValueError: the tokenizer does not say where its tokens end.
    """
    if batch.text.ends is None:
        raise ValueError("phrases need a tokenizer that says where tokens end, such as WordPieceTokenizer")
    device, spoken = batch.text.ends.device, batch.targets["phrases"]
    rows = torch.tensor([row for row, several in enumerate(spoken) for _ in several], device=device)
    last = torch.tensor([one.end for several in spoken for one in several], device=device)
    boxes = [torch.tensor(one.boxes) for several in spoken for one in several]
    ends = batch.text.ends[rows]
    places = torch.arange(ends.shape[1], device=device)
    tokens = places.where((ends > 0) & (ends <= last[:, None]), 0).amax(1)
    # Phrases with fewer boxes than others get empty ones, which overlap nothing.
    right = pad_sequence(boxes, batch_first=True).to(device)
    overlap = iou(batch.visual.boxes[rows, :, None], right[:, None]).amax(2)
    return Phrases(rows, tokens, (overlap >= LEAST) & batch.visual.mask[rows])
