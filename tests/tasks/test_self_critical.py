"""Self-critical training: its gradient by hand, its draws, and captions that earn more after some steps."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from vl.batch import Batch
from vl.draw import Draw
from vl.metrics.caption_reward import END, read_frequencies, rewards, words, write_frequencies
from vl.metrics.cider import CiderD, Frequencies
from vl.models.base import VLModel
from vl.tasks.base import Task
from vl.tasks.captioning import Captioning
from vl.tasks.self_critical import SelfCritical, sample

#: The first two are the start, which a model may also say again, and the end.
WORDS = ("so", "end", "red", "cat", "dog", "sits")
REFERENCES = (("red cat sits", "cat sits"), ("dog sits",), ("red dog",), ("cat",))
CORPUS = Frequencies.of([[words(text) for text in texts] for texts in REFERENCES])
LENGTH = 3


class Table(VLModel):
    """Its captions are Markov chains: logits by picture, last word and next word, and dropout to tell modes apart."""

    provides = frozenset({"text", "word_embedding"})

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.logits = nn.Parameter(torch.randn(len(REFERENCES), len(WORDS), len(WORDS)))
        self.dropout, self.frozen = nn.Dropout(0.0), nn.Dropout(0.0).eval()


class Captioner(Captioning):
    """One that reads such a table, in words of its own."""

    def __init__(self):
        Task.__init__(self)
        self.tokenizer = SimpleNamespace(start_id=0, end_id=1, decode=lambda ids: " ".join(WORDS[i] for i in ids))
        self.max_length = LENGTH

    def next_token(self, model, batch):
        self.modes = []
        pictures = torch.tensor([int(key) for key in batch.keys])

        def score(ids, owners):
            self.modes.append(model.training)
            return model.logits[pictures[owners], ids[:, -1]].log_softmax(1)

        return score


def batch_of(*pictures, epoch=0):
    targets = {"captions": tuple(REFERENCES[i] for i in pictures), "language": ("en",) * len(pictures)}
    keys, draw = tuple(map(str, pictures)), Draw.of(0, epoch, 0, torch.tensor(pictures))
    return Batch(keys=keys, draw=draw, targets={**targets, "id": keys})


@pytest.fixture
def task(tmp_path):
    def make(**options):
        write_frequencies(tmp_path / "ngrams.json", CORPUS)
        return SelfCritical(Captioner(), str(tmp_path / "ngrams.json"), **options)

    return make


def reward(ids, picture):
    """CIDEr-D of tokens up to their end, which is a word."""
    cut = ids.index(1) if 1 in ids else None
    said = [WORDS[i] for i in ids[:cut]][:LENGTH] + ([] if cut is None else [END])
    return CiderD([[words(text) for text in REFERENCES[picture]]], CORPUS).score(said, 0)


@pytest.mark.parametrize("baseline", ["greedy", "samples"])
def test_the_gradient_is_that_of_reinforce_by_hand(task, baseline):
    model, task, batch = Table(), task(samples=3, baseline=baseline), batch_of(2, 0, 3)
    said = []
    write = task.write
    task.write = lambda *args: said.append(write(*args)) or said[-1]
    loss = task.step(model, batch, batch.draw)
    loss.total.backward()
    expected, total, rewarded = torch.zeros_like(model.logits), 0.0, 0.0
    for row, picture in enumerate((2, 0, 3)):
        samples = [ids[1:].tolist() for ids in said[0][0][3 * row : 3 * row + 3]]
        earned = [reward(ids, picture) for ids in samples]
        for number, ids in enumerate(samples):
            if baseline == "greedy":
                base = reward(said[1][0][row, 1:].tolist(), picture)
            else:
                base = sum(earned[:number] + earned[number + 1 :]) / 2
            advantage, last, ended = earned[number] - base, 0, False
            rewarded += earned[number]
            for token in ids:
                if not ended:  # d log softmax = one-hot - p
                    probs = model.logits[picture, last].detach().softmax(0)
                    expected[picture, last] -= advantage * (torch.eye(len(WORDS))[token] - probs)
                    total -= advantage * probs[token].log().item()
                last, ended = token, ended or token == 1
    assert loss.total.item() == pytest.approx(total, rel=1e-4)
    assert loss.count == 9
    assert loss.metrics["reward"][0].item() == pytest.approx(rewarded, rel=1e-5)
    assert expected.abs().max() > 0.1
    assert torch.allclose(model.logits.grad, expected, atol=1e-5)


def test_parts_of_a_batch_sum_up_to_the_whole(task):
    model, task = Table(), task()
    whole, parts = batch_of(0, 1, 2, 3), (batch_of(3, 1), batch_of(2, 0))
    losses = [task.step(model, batch, batch.draw) for batch in (whole, *parts)]
    assert losses[0].total.item() == pytest.approx(losses[1].total.item() + losses[2].total.item(), rel=1e-5)
    assert losses[0].count == losses[1].count + losses[2].count == 20
    other = replace(whole, draw=batch_of(0, 1, 2, 3, epoch=1).draw)
    assert task.step(model, other, other.draw).total.item() != pytest.approx(losses[0].total.item())


def test_samples_follow_the_probabilities_and_the_greedy_caption_the_likeliest(task):
    model, task = Table(), task()
    next_token = task.captioning.next_token(model, batch_of(1))
    rows = torch.zeros(4000, dtype=torch.long)
    found, _ = task.write(next_token, rows, Draw.of(0, 0, 0, torch.arange(4000)))
    shares = torch.bincount(found[:, 1], minlength=len(WORDS)) / 4000
    assert torch.allclose(shares, model.logits[1, 0].detach().softmax(0), atol=0.03)
    assert (found[:, 1:].cummax(1).values[found[:, 1:] == 1] >= 1).all()
    greedy, logp = task.write(next_token, rows[:1])
    assert greedy[0, 1] == model.logits[1, 0].argmax()
    assert logp.item() < 0
    never = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0]).log().expand(3, -1)
    assert sample(never, torch.tensor([0.0, 0.5, 1 - 2**-24])).tolist() == [1, 3, 3]


def test_every_rank_runs_the_model_equally_often_and_the_greedy_caption_without_dropout(task):
    model, task = Table().train(), task(samples=2)
    model.frozen.eval()
    with torch.no_grad():
        model.logits[:, 0, 1] = 50.0  # all captions end at once
    loss = task.step(model, batch_of(0, 1), batch_of(0, 1).draw)
    assert task.captioning.modes == [True] * (LENGTH + 1) + [False] * (LENGTH + 1)
    assert model.training
    assert model.dropout.training
    assert not model.frozen.training
    loss.total.backward()
    assert model.logits.grad.abs().max() < 1e-6


@pytest.mark.parametrize("baseline", ["greedy", "samples"])
def test_steps_raise_the_reward(task, baseline):
    model, task = Table(), task(samples=8, baseline=baseline)
    optimizer, seen = torch.optim.Adam(model.parameters(), lr=0.1), []
    for step in range(40):
        batch = batch_of(0, 1, 2, 3, epoch=step)
        loss = task.step(model, batch, batch.draw)
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
        seen.append(float(loss.metrics["reward"][0] / loss.count))
    assert sum(seen[:5]) / 5 < 1.5
    assert sum(seen[-5:]) / 5 > 4


def test_a_caption_without_its_end_earns_less():
    said = [words("dog sits"), words("dog sits", ended=False)]
    found = rewards(said, [0, 0], [("dog sits",)], ["en"], CORPUS)
    assert found[0] > found[1] > 0
    assert words("一只猫", "zh") == ["一", "只", "猫", END]


def test_frequencies_of_a_file_weigh_as_those_of_the_corpus(tmp_path):
    file = tmp_path / "ngrams.json"
    number = write_frequencies(file, CORPUS)
    table = json.loads(file.read_text())
    assert table["pictures"] == 4
    assert len(table["counts"]) == number
    assert table["counts"]["cat"] == 2
    assert table["counts"]["sits <end>"] == 2
    assert "dog sits" not in table["counts"]  # of one picture alone
    grams = {("cat",): 1, ("dog", "sits"): 2, ("never",): 1}
    assert read_frequencies(file).weigh(grams) == CORPUS.weigh(grams)
    file.write_text("[]")
    with pytest.raises(ValueError, match=r"ngrams\.json does not hold what tools/count_ngrams\.py writes"):
        read_frequencies(file)
    with pytest.raises(ValueError, match=r"tools/count_ngrams\.py makes one"):
        read_frequencies(tmp_path / "none.json")


def test_the_other_samples_need_others():
    with pytest.raises(ValueError, match="samples is 1: at least 1, and 2"):
        SelfCritical(Captioner(), "ngrams.json", samples=1, baseline="samples")
