"""Captions: what is hidden, what sees what, and a tiny model that learns two of them by heart."""

from dataclasses import replace

import pytest
import torch
from pretraining import full
from streams import build

from vl.batch import Batch, Visual
from vl.data.sample import Caption, Record, Sample
from vl.data.shards import encode_members
from vl.data.tokenizers import CorpusTokenizer
from vl.data.views.captioning import CaptioningView
from vl.data.vocabulary import train_tokenizer
from vl.draw import Draw
from vl.metrics.caption_scores import CaptionScores
from vl.models.masks import SEQ2SEQ
from vl.tasks.captioning import Captioning

CAPTIONS = ("a red cat sits", "two dogs run here")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    file = tmp_path_factory.mktemp("tokenizer") / "corpus.json"
    file.write_text(train_tokenizer(CAPTIONS, 60).to_str())
    return CorpusTokenizer(str(file), 16)


def prepared(tokenizer, **options):
    torch.manual_seed(0)
    model, task = build("uniter"), Captioning(tokenizer, max_length=8, **options)
    task.setup(model)
    return model, task


def test_some_words_or_the_end_are_hidden_at_least_one_never_the_start(tokenizer):
    _, task = prepared(tokenizer, prob=0.3)
    batch = full()
    shares = []
    for epoch in range(40):
        corrupted, hidden = task.corrupt(batch, Draw.of(0, epoch, 0, torch.arange(6)))
        assert hidden.any(1).all()
        assert not hidden[:, 0].any()
        assert not (hidden & ~batch.text.mask).any()
        assert (corrupted.text.ids[hidden] == tokenizer.mask_id).all()
        assert torch.equal(corrupted.text.ids[~hidden], batch.text.ids[~hidden])
        assert corrupted.attention.tolist() == [SEQ2SEQ] * 6
        shares.append(hidden.float().sum() / (batch.text.mask.sum() - 6))
    assert torch.stack(shares).mean() == pytest.approx(0.34, abs=0.05)  # 0.3, and one where chance chose none


def test_a_hidden_word_is_told_by_what_stands_before_it(tokenizer):
    model, task = prepared(tokenizer)
    corrupted, _ = task.corrupt(full(), full().draw)
    output = model(corrupted)
    changed = corrupted.text.ids.clone()
    changed[1, 5] = 7
    other = model(replace(corrupted, text=replace(corrupted.text, ids=changed)))
    assert torch.allclose(other.text[1, :5], output.text[1, :5], atol=1e-6)
    assert (other.text[1, 5:] - output.text[1, 5:]).abs().amax(1).gt(1e-4).all()
    assert torch.allclose(other.visual, output.visual, atol=1e-6)


def test_two_captions_are_learnt_by_heart(tokenizer):
    model, task = prepared(tokenizer, prob=0.5, beams=3)
    features = torch.stack([torch.full((2, 10), -1.0), torch.full((2, 10), 1.0)])
    visual = Visual(features=features, boxes=torch.tensor([0, 0, 1, 1.0]).expand(2, 2, 4), mask=torch.ones(2, 2).bool())
    targets = {"id": ("one", "two"), "captions": tuple((text,) for text in CAPTIONS), "language": ("en", "en")}
    batch = Batch(text=tokenizer.encode(CAPTIONS), visual=visual, keys=("one", "two"), targets=targets)
    optimizer = torch.optim.AdamW({*model.parameters(), *task.parameters()}, lr=5e-3)  # the word table is in both
    for step in range(80):
        corrupted, hidden = task.corrupt(batch, Draw.of(0, step, 0, torch.arange(2)))
        loss = task(model(corrupted), corrupted, hidden)
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    with torch.no_grad():
        found = task.predict(model, replace(batch, text=None))
    assert found == [{"image_id": "one", "caption": CAPTIONS[0]}, {"image_id": "two", "caption": CAPTIONS[1]}]
    task.metric.update(found, batch)
    assert task.metric.compute() == pytest.approx({"BLEU-4": 100, "ROUGE-L": 100, "CIDEr": 1000}, rel=1e-3)


def test_a_picture_is_one_example_with_all_its_captions():
    captions = (Caption("a cat"), Caption("猫", "zh"), Caption("one cat"))
    sample = Sample("k", encode_members({"jpg": b"x", "json": Record(captions=captions)}))
    view = CaptioningView()
    assert view.count(sample.record) == 1
    seen = set()
    for epoch in range(20):
        example = view.example(sample, 0, Draw.of(0, epoch, 0, torch.arange(1)))
        assert example.targets == {"id": "k", "captions": ("a cat", "one cat"), "language": "en"}
        seen.add(example.text)
    assert seen == {"a cat", "one cat"}
    assert CaptioningView("fr").count(sample.record) == 0


def test_chinese_is_counted_by_characters():
    metric = CaptionScores()
    batch = Batch(targets={"captions": (("一只猫",), ("两只狗",)), "language": ("zh", "zh")})
    metric.update([{"image_id": "1", "caption": "一只狗"}, {"image_id": "2", "caption": "两只狗"}], batch)
    assert metric.compute()["ROUGE-L"] == pytest.approx(100 * (2 / 3 + 1) / 2)
