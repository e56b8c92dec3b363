"""Self-critical training of captions: sampled ones are rewarded for being better than a baseline.

"Self-critical Sequence Training for Image Captioning", arXiv:1612.00563, figure 1: REINFORCE with CIDEr-D as the
reward, and as its baseline that of the greedy caption; "A Better Variant of Self-Critical Sequence Training",
arXiv:2003.09971: the mean of the other samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vl.batch import Batch, Loss
from vl.draw import Draw
from vl.metrics.caption_reward import read_frequencies, rewards, words
from vl.metrics.cider import Frequencies
from vl.models.base import VLModel, evaluation
from vl.tasks.base import Task
from vl.tasks.beam_search import NextToken
from vl.tasks.captioning import Captioning


class SelfCritical(Task):
    """Fine-tunes a captioner by the reward of what it says; it answers as the captioner does.

    The loss of a caption is minus its log-probability times its advantage, the reward over the baseline; its mean over
    captions is trained on. Oscar's code takes the mean log-probability of a caption's words instead.

    Args:
        captioning: the captioner. Its head begins as another run's by `HeadWeights`, target
            `NAME.captioning.head` where this objective is called NAME.
        frequencies: of the training captions' n-grams in pictures, as `tools/count_ngrams.py` counts them. Only
            training and validation need it.
        samples: captions a picture.
        baseline: `greedy`, the caption that is likeliest word by word, without dropout; or `samples`, the mean of a
            picture's other samples, which costs nothing.

    Raises:
        ValueError: there are no other samples for the baseline.
    """

    needs = Captioning.needs
    steps_alone = True

    def __init__(
        self,
        captioning: Captioning,
        frequencies: str,
        samples: int = 5,
        baseline: Literal["greedy", "samples"] = "greedy",
    ) -> None:
        super().__init__()
        if samples < (2 if baseline == "samples" else 1):
            raise ValueError(f"samples is {samples}: at least 1, and 2 if the baseline is that of the other samples")
        self.captioning, self.file, self.samples, self.baseline = captioning, frequencies, samples, baseline
        self.metric = captioning.metric

    def setup(self, model: VLModel) -> None:
        self.captioning.setup(model)

    @cached_property
    def frequencies(self) -> Frequencies:
        """Read when they are first needed."""
        return read_frequencies(self.file)

    def step(self, model: VLModel, batch: Batch, draw: Draw) -> Loss:
        """The loss of sampled captions; every picture's depend on its own draw alone."""
        next_token, size = self.captioning.next_token(model, batch), len(batch)
        owners = torch.arange(size, device=draw.examples.device).repeat_interleave(self.samples)
        numbers = torch.arange(self.samples, device=owners.device).repeat(size)
        captions, logp = self.write(next_token, owners, draw.select(owners, numbers))
        if self.baseline == "greedy":
            with torch.no_grad(), evaluation(model):
                captions = torch.cat([captions, self.write(next_token, owners[:: self.samples])[0]])
            owners = torch.cat([owners, owners[:: self.samples]])
        found = self.rewards(captions, owners, batch).to(logp)
        reward, base = found[: len(logp)].view(size, -1), found[len(logp) :, None]
        if self.baseline == "samples":
            base = (reward.sum(1, keepdim=True) - reward) / (self.samples - 1)
        count = torch.tensor(len(logp), device=logp.device)
        means = {"reward": (reward.sum(), count), "baseline": (base.expand_as(reward).sum(), count)}
        return Loss(-((reward - base).flatten() * logp).sum(), count, means)

    def write(
        self, next_token: NextToken, owners: Int[Tensor, " r"], draw: Draw | None = None
    ) -> tuple[Int[Tensor, "r t"], Float[Tensor, " r"]]:
        """Captions of these pictures with the start, and their log-probabilities; greedy ones without a draw.

        On every rank the model runs equally often, forward and backward, as parameters sharded over ranks want it:
        when all captions have ended, the first goes on and does not count.
        """
        end = self.captioning.tokenizer.end_id
        ids = owners.new_full((len(owners), 1), self.captioning.tokenizer.start_id)
        total, open_ = torch.zeros(len(owners), device=owners.device), torch.ones_like(owners, dtype=torch.bool)
        for place in range(self.captioning.max_length + 1):
            rows = open_.nonzero().flatten() if open_.any() else owners.new_zeros(1)
            logp = next_token(ids[rows], owners[rows])
            token = logp.argmax(1) if draw is None else sample(logp, draw.fold(place).uniform().to(ids.device)[rows])
            total = total.index_add(0, rows, logp.gather(1, token[:, None])[:, 0] * open_[rows])
            column = ids.new_full((len(ids),), end).index_put((rows,), token).where(open_, end)
            ids, open_ = torch.cat([ids, column[:, None]], dim=1), open_ & (column != end)
        return ids, total

    def rewards(self, captions: Int[Tensor, "r t"], owners: Int[Tensor, " r"], batch: Batch) -> Float[Tensor, " r"]:
        """CIDEr-D, 0 to 10, of captions of these pictures; one that was cut off has no end."""
        tokenizer, said = self.captioning.tokenizer, []
        languages = batch.targets["language"]
        for ids, owner in zip(captions[:, 1:].tolist(), owners.tolist(), strict=True):
            length = ids.index(tokenizer.end_id) if tokenizer.end_id in ids else len(ids)
            text = tokenizer.decode(ids[: min(length, self.captioning.max_length)])
            said.append(words(text, languages[owner], ended=length < len(ids)))
        return torch.tensor(rewards(said, owners.tolist(), batch.targets["captions"], languages, self.frequencies))

    def predict(self, model: VLModel, batch: Batch) -> Sequence[Mapping[str, Any]]:
        return self.captioning.predict(model, batch)


def sample(logp: Float[Tensor, "r v"], uniform: Float[Tensor, " r"]) -> Int[Tensor, " r"]:
    """A token of each row: the first at which the cumulative probability is above a uniform number in [0, 1)."""
    cumulative = logp.detach().double().exp().cumsum(1)
    return torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)[:, 0]
