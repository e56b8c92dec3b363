"""Phrase grounding: the token that asks, what is lost, and Hugging Face's attention."""

import json
import math
from dataclasses import replace

import pytest
import torch
from pretraining import full, prepared
from streams import WIDTH
from transformers import VisualBertConfig
from transformers.models.visual_bert.modeling_visual_bert import VisualBertRegionToPhraseAttention

from vl.data.sample import Phrase
from vl.data.tokenizers import CorpusTokenizer
from vl.data.vocabulary import train_tokenizer
from vl.tasks.phrase_grounding import PhraseGrounding, find_phrases

LEFT, RIGHT, NOWHERE = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0), (0.4, 0.4, 0.41, 0.41)
COUNTS = (4, 1, 8, 3, 5, 6)


def phrase(end, *boxes, name="x"):
    return Phrase(name, "", end, boxes, "thing")


def asked():
    """Six pictures of 200 x 100, whose tokens end at 3, 6, 9, ...; odd regions lie on the left, even on the right."""
    batch = full()
    places = torch.arange(batch.visual.mask.shape[1])
    batch.visual.boxes[:] = torch.where((places % 2 == 1)[:, None], torch.tensor(LEFT), torch.tensor(RIGHT))
    inside = batch.text.words >= 0
    ends = torch.where(inside, 3 * torch.arange(inside.shape[1]), 0)
    spoken = (
        (phrase(3, LEFT, name="a"), phrase(7, RIGHT, NOWHERE, name="b")),
        (phrase(99, RIGHT),),
        (phrase(6, LEFT, RIGHT),),
        (phrase(3, NOWHERE),),
        (phrase(3, LEFT),),
        (phrase(9, LEFT),),
    )
    targets = {"phrases": spoken, "id": tuple("stuvwx"), "size": torch.tensor([[200, 100]] * 6)}
    return replace(batch, text=replace(batch.text, ends=ends), targets=targets)


def test_what_asks_and_what_is_meant():
    found = find_phrases(asked())
    assert found.rows.tolist() == [0, 0, 1, 2, 3, 4, 5]
    assert found.tokens.tolist() == [1, 2, 7, 2, 1, 1, 3]  # the sentence of 9 tokens has its last word at 7
    meant = [[place for place, one in enumerate(row) if one] for row in found.meant.tolist()]
    assert meant == [[1, 3], [0, 2], [0], [*range(8)], [], [1, 3], [1, 3, 5]]


@pytest.mark.parametrize("heads", [1, 3])
def test_the_loss_of_every_phrase_by_hand(heads):
    model, task = prepared(PhraseGrounding(heads=heads, head_width=5), "visual_bert")
    batch = asked()
    output, found = model(batch), find_phrases(batch)
    total = 0.0
    for row, token, meant in zip(found.rows.tolist(), found.tokens.tolist(), found.meant, strict=True):
        regions = output.visual[row, : COUNTS[row]]
        queries, keys = task.query(output.text[row, token]).chunk(heads), task.key(regions).chunk(heads, dim=1)
        shares = [(key @ query / math.sqrt(5)).softmax(0) for query, key in zip(queries, keys, strict=True)]
        probs, right = sum(shares) / heads, meant[: COUNTS[row]].nonzero().flatten().tolist()
        total += sum(1 / len(right) * math.log(1 / len(right) / probs[place].item()) for place in right)
    loss = task(output, batch)
    assert loss.total.item() == pytest.approx(total, rel=1e-4)
    assert loss.count == 6  # sentences
    loss.total.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


def test_hugging_faces_attention_and_loss():
    model, task = prepared(PhraseGrounding(head_width=8), "visual_bert")
    theirs = VisualBertRegionToPhraseAttention(VisualBertConfig(hidden_size=WIDTH, num_attention_heads=WIDTH // 8))
    theirs.query.load_state_dict(task.query.state_dict())
    theirs.key.load_state_dict(task.key.state_dict())
    batch = asked()
    output, found = model(batch), find_phrases(batch)
    total = 0.0
    for row in range(6):
        own = found.rows == row
        words = output.text[row, found.tokens[own]][None]
        mask = batch.visual.mask[row][None]
        logp = theirs(words, output.visual[row][None], mask).log_softmax(-1)
        ours = task.logp(output, batch, found)[own]
        assert torch.allclose(ours[:, mask[0]], logp[0][:, mask[0]], atol=1e-5)
        labels = found.meant[own].float()
        labels = labels / labels.sum(1, keepdim=True).clamp(min=1)
        total += torch.nn.functional.kl_div(logp[0][:, mask[0]], labels[:, mask[0]], reduction="sum").item()
    assert task(output, batch).total.item() == pytest.approx(total, rel=1e-4)


def test_answers_rank_the_regions_there_are():
    model, task = prepared(PhraseGrounding(), "lxmert")
    batch = asked()
    output = model(batch)
    logp = task.logp(output, batch, find_phrases(batch))
    answers = task.predict(model, batch)
    assert [one["id"] for one in answers] == list("stuvwx")
    first, second = answers[0]["phrases"]
    assert [len(first["boxes"]), len(answers[1]["phrases"][0]["boxes"])] == [4, 1]
    best = logp[0, :4].argmax().item()
    assert first["boxes"][0] == ([0, 0, 100, 100] if best % 2 else [100, 0, 200, 100])
    assert first["R@1"] == first["pointing"] == best % 2
    assert (first["R@5"], first["upper_bound"], second["upper_bound"]) == (1, 1, 1)
    assert answers[3]["phrases"][0]["upper_bound"] == 0
    task.metric.update(answers, batch)
    hits = [one["R@1"] for answer in answers for one in answer["phrases"]]
    assert task.metric.compute()["R@1"] == pytest.approx(100 * sum(hits) / 7)
    rows = json.loads(task.submission(answers))
    assert rows[1] == {"id": "b", "boxes": second["boxes"]}
    assert len(rows) == 7


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("A man's T-shirt dries .", "A man's T-shirt"),
        ("Two unbelievables sleep", "Two unbelievables"),  # several sub-words
        ("左边的猫在睡", "左边的猫"),
        ("Déjà vu here", "Déjà vu"),
    ],
)
def test_behind_the_last_sub_word_of_a_phrase_stands_the_rest(tmp_path, sentence, said):
    texts = ["A man ' s T - shirt dries . Two unbelievable sleep deja vu here", "左边的猫在睡", "##s"]
    (tmp_path / "t.json").write_text(train_tokenizer(texts, 300).to_str())
    tokenizer = CorpusTokenizer(str(tmp_path / "t.json"))
    text = tokenizer.encode([sentence, "Two " * 20])  # the shorter one is padded
    batch = replace(full(), text=text)
    batch.targets["phrases"] = ((phrase(len(said), LEFT),), (phrase(3, LEFT),))
    place = int(find_phrases(batch).tokens[0])
    before, after = text.ids[0, : place + 1].tolist(), text.ids[0, place + 1 :].tolist()
    assert tokenizer.unknown_id not in before
    assert tokenizer.decode(after).replace(" ", "") == sentence[len(said) :].lower().replace(" ", "")


def test_a_tokenizer_that_says_nothing_is_refused():
    batch = asked()
    with pytest.raises(ValueError, match="says where tokens end"):
        find_phrases(replace(batch, text=replace(batch.text, ends=None)))
