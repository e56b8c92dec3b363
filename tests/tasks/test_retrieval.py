"""Triplets: who meets whom, the hinge by hand, and the hardest of a pool."""

from dataclasses import replace

import pytest
import pytorch_lightning as pl
import torch
from pretraining import full, prepared
from region_shards import record, write_region_shards
from streams import FEATURES, VOCABULARY, build

from vl.data.mixture import Source
from vl.data.module import ShardData
from vl.data.pool import Pool
from vl.data.tokenizers import CorpusTokenizer
from vl.data.views.caption import CaptionView
from vl.data.views.regions import RegionView
from vl.data.vocabulary import train_tokenizer
from vl.tasks.retrieval import MinedTripletRetrieval, TripletRetrieval, partners
from vl.train.module import Training
from vl.train.optim import AdamW


def test_partners_are_other_pictures():
    batch = replace(full(), keys=("a", "a", "b", "c", "c", "c"))
    seen = set()
    for epoch in range(50):
        found = partners(batch, replace(batch.draw, key=epoch)).tolist()
        assert all(batch.keys[other] != batch.keys[row] for row, other in enumerate(found))
        seen |= set(enumerate(found))
    assert len(seen) == 2 * 4 + 5 + 3 * 3
    alone = replace(batch, keys=("a",) * 6)
    assert partners(alone, batch.draw).tolist() == list(range(6))


def test_the_hinge_by_hand():
    model, task = prepared(TripletRetrieval(margin=0.2))
    batch = replace(full(), matched=None)
    corrupted, target = task.corrupt(batch, batch.draw)
    scores = task.scores(model(corrupted)).view(6, 3).tolist()
    total = 0.0
    for row, (pair, text, picture) in enumerate(scores):
        block = corrupted.pairs.view(6, 3, 2)[row].tolist()
        assert block[0] == [row, row]
        assert block[1] == [block[2][1], row]
        assert block[1][0] != row == block[2][0]
        total += (max(0.0, 0.2 + text - pair) + max(0.0, 0.2 + picture - pair)) / 2
    loss = task(model(corrupted), corrupted, target)
    assert loss.total.item() == pytest.approx(total, rel=1e-4)
    assert loss.count == 6


def test_a_batch_of_one_picture_has_no_loss():
    model, task = prepared(TripletRetrieval())
    batch = replace(full(), keys=("a",) * 6, matched=None)
    corrupted, target = task.corrupt(batch, batch.draw)
    loss = task(model(corrupted), corrupted, target)
    assert (loss.total.item(), loss.count.item()) == (0, 0)


def pools(of):
    """Two examples: one text or picture of each, and a pool of two in which the pair comes first."""
    batch, own, pool = full(), torch.tensor([0, 3]), torch.arange(6)
    pairs = [pool, own.repeat_interleave(3)] if of == "text" else [own.repeat_interleave(3), pool]
    matched = torch.tensor([True, False, False] * 2)
    return replace(batch, pairs=torch.stack(pairs, 1), group=pool // 3, matched=matched, keys=("a", "b"))


@pytest.mark.parametrize("name", ["uniter", "vilbert"])
@pytest.mark.parametrize("of", ["text", "picture"])
def test_the_hardest_of_a_pool_are_trained_on(of, name):
    model, task = prepared(MinedTripletRetrieval(hardest=1, margin=0.2), name)
    batch = pools(of)

    def score(row):
        """Of the pair alone, by a forward of its own."""
        text, picture = batch.pairs[row].tolist()
        one = full()
        one = replace(one, text=one.text.rows(torch.tensor([text])), visual=one.visual.rows(torch.tensor([picture])))
        return task.scores(model(replace(one, keys=("x",)))).item()

    total, rows = 0.0, []
    for first in (0, 3):
        pair, *others = map(score, range(first, first + 3))
        rows.append([first, first + 1 + others.index(max(others))])
        total += max(0.0, 0.2 + max(others) - pair)
    assert task.mine(model, batch).tolist() == rows
    loss = task.step(model, batch, batch.draw)
    assert loss.total.item() == pytest.approx(total, rel=1e-4)
    assert loss.count == 2


def test_mining_has_no_gradient_and_no_dropout():
    model, task = prepared(MinedTripletRetrieval(hardest=1, margin=3.0))
    batch = pools("text")
    calm = task.mine(model, batch)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.6
    model.train()
    state = torch.get_rng_state()
    assert torch.equal(task.mine(model, batch), calm)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    model.eval()
    task.step(model, batch, batch.draw).total.backward()
    # With this margin nothing is clamped: the gradient is that of the two scores' difference.
    mined = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    scores = task.scores(model(batch)).gather(0, calm.flatten()).view(2, 2)
    (3.0 + scores[:, 1] - scores[:, 0]).sum().backward()
    assert len(mined) > 20
    for name, parameter in model.named_parameters():
        if name in mined:
            assert torch.allclose(parameter.grad, mined[name], rtol=1e-3, atol=1e-6), name


def test_a_small_pool_is_trained_on_whole_and_none_is_refused():
    model, task = prepared(MinedTripletRetrieval(hardest=31))
    assert task.mine(model, pools("text")).sort(1).values.tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ValueError, match="give the source a Pool"):
        task.step(model, full(), full().draw)


def test_it_is_trained_on_pools_of_texts_and_of_pictures(tmp_path):
    shards = write_region_shards(tmp_path, features=FEATURES)
    texts = [caption["text"] for number in range(60) for caption in record(number)["captions"]]
    (tmp_path / "tokenizer.json").write_text(train_tokenizer(texts, VOCABULARY).to_str())
    sources = [Source(shards, RegionView(CaptionView()), name=of, negatives=Pool(5, of)) for of in ("text", "picture")]
    tokenizer = CorpusTokenizer(str(tmp_path / "tokenizer.json"))
    data = ShardData(sources, tokenizer, None, 8, val={"val": sources[0]}, accumulate=2)
    training = Training(build("uniter"), {"retrieval": MinedTripletRetrieval(hardest=2)}, AdamW(lr=1e-3))
    before = training.objectives["retrieval"].head.weight.clone()
    trainer = pl.Trainer(
        max_steps=4, val_check_interval=4, limit_val_batches=1, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(training, datamodule=data)
    assert {data.mixture.plan(step).source for step in range(4)} == {0, 1}
    assert not torch.equal(training.objectives["retrieval"].head.weight, before)
    assert {"val/val/retrieval/loss", "train/retrieval/accuracy"} <= trainer.callback_metrics.keys()
