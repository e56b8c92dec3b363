"""Mismatched pairs: as often as asked, never true, and a function of the example alone."""

from dataclasses import replace

import pytest
import torch
from region_shards import THINGS, THINGS_ZH, record, shown, write_region_shards

from vl.data.collate import Collator
from vl.data.loader import EvalLoader, TrainLoader
from vl.data.mixture import Mixture, Source
from vl.data.negatives import Negatives
from vl.data.opposites import opposites_of
from vl.data.sample import Caption, Opposite, Record
from vl.data.tokenizers import CorpusTokenizer
from vl.data.views.base import Example
from vl.data.views.caption import CaptionView
from vl.data.views.caption_pair import CaptionPairView
from vl.data.views.regions import RegionView
from vl.data.vocabulary import train_tokenizer
from vl.draw import Draw


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_region_shards(tmp_path_factory.mktemp("shards"))


class Texts:
    """A tokenizer that keeps the texts as they are, in place of ids."""

    def encode(self, texts, languages, draw):
        self.seen = texts
        return None


def examples(source, epochs=1):
    """(key, text, regions' number, matched) of every example."""
    found = []
    for epoch in range(epochs):
        for number in range(len(source.opened)):
            draw = Draw.of(0, epoch, 0, torch.tensor([number]))
            one = _reader(source)._read(0, number, draw, ())
            found.append((one.key, one.text, int(one.images[0].features[0, 0]), one.matched))
    return found


def _reader(source):
    from vl.data.reader import Reader

    return Reader([source], 0, Collator(None, None))


def mentioned(text):
    return {i for i in range(8) if THINGS[i] in text or THINGS_ZH[i] in text}


def source(shards, view=None, **options):
    return Source(shards, RegionView(view or CaptionView()), negatives=Negatives(**options))


@pytest.mark.parametrize("swap", ["text", "picture"])
def test_texts_and_pictures_are_swapped_half_of_the_time(shards, swap):
    found = examples(source(shards, swap=swap), epochs=6)
    wrong = [row for row in found if not row[3]]
    assert abs(len(wrong) / len(found) - 0.5) < 4 * (0.25 / len(found)) ** 0.5
    for key, text, picture, matched in found:
        things = set(shown(picture))
        if matched:
            assert int(key) == picture
            assert mentioned(text) <= things
        else:
            assert not mentioned(text) <= things  # never true
            assert (int(key) == picture) == (swap == "text")
    partners = {(key, text if swap == "text" else picture) for key, text, picture, matched in wrong}
    assert len(partners) > 0.5 * len(wrong)  # over the whole source


def test_both_texts_of_a_picture_are_rows_of_the_batch(shards, tmp_path):
    texts = [caption["text"] for number in range(24) for caption in record(number)["captions"]]
    (tmp_path / "t.json").write_text(train_tokenizer(texts, 200).to_str())
    tokenizer = CorpusTokenizer(str(tmp_path / "t.json"))
    batch = next(iter(EvalLoader(source(shards, both=True, rate=0.0), Collator(tokenizer, None), 8, 0, 0, 1)))
    assert len(batch) == len(batch.visual.features) == 8
    assert batch.matched.tolist() == [True, False] * 8
    assert batch.pairs.tolist() == [[2 * i + j, i] for i in range(8) for j in (0, 1)]
    for row, key in enumerate(batch.keys):
        true, false = (mentioned(tokenizer.decode(batch.text.ids[2 * row + j].tolist())) for j in (0, 1))
        assert true <= set(shown(int(key)))
        assert not false <= set(shown(int(key)))
    chinese = [any(ord(c) > 0x3000 for c in tokenizer.decode(ids)) for ids in batch.text.ids.tolist()]
    assert [bool(language) for language in batch.text.language.tolist()] == chinese
    with pytest.raises(ValueError, match="both texts go with swap 'text'"):
        Negatives(swap="picture", both=True)


def test_the_same_number_of_objects(shards):
    for key, _, picture, matched in examples(source(shards, swap="picture", rate=1.0, same_count=True)):
        assert not matched
        assert int(key) != picture
        assert len(shown(picture)) == len(shown(int(key)))


def test_opposites_take_the_place_of_other_texts(shards):
    found = examples(source(shards, rate=1.0, opposites=1.0), epochs=3)
    for key, text, _, matched in found:
        own = record(int(key))
        stored = {opposite["text"] for opposite in own["opposites"] if opposite["of"].startswith("captions")}
        assert not matched
        assert text in stored or not any(o["of"] == "captions/2" for o in own["opposites"])
    share = sum("red" in text for _, text, _, _ in found) / len(found)
    assert 0.08 < share < 0.26  # one in three captions, of whose two opposites it is one
    preferred = examples(source(shards, rate=1.0, opposites=1.0, kinds=("attribute",)), epochs=3)
    for (_, before, _, _), (key, text, _, _) in zip(found, preferred, strict=True):
        first = {o["text"] for o in record(int(key))["opposites"] if o["of"] == "captions/0"}
        assert text == ("There is a red one." if before in first else before)


def test_opposites_of_a_sentence():
    texts = ("A cup is left of a dog. There is a red hat.", "杯子在狗的左边。图中有一顶红色的帽子。", "A red hat.")
    opposites = (
        Opposite("A cup is right of a dog. There is a red hat.", "captions/0", "relation"),
        Opposite("A cup is left of a dog. There is a blue hat.", "captions/0", "attribute"),
        Opposite("杯子在狗的右边。图中有一顶红色的帽子。", "captions/1", "relation"),
        Opposite("Two hats.", "captions/2", "count"),
        Opposite("A hat?", "statements/0", "relation"),
    )
    own = Record(captions=tuple(map(Caption, texts)), opposites=opposites)
    assert opposites_of(own, "A cup is left of a dog.") == {"relation": ["A cup is right of a dog."]}
    assert opposites_of(own, "There is a red hat.") == {"attribute": ["There is a blue hat."]}
    assert opposites_of(own, "杯子在狗的左边。") == {"relation": ["杯子在狗的右边。"]}
    assert opposites_of(own, texts[0]) == {"relation": [opposites[0].text], "attribute": [opposites[1].text]}
    assert opposites_of(own, texts[2]) == {"count": ["Two hats."]}
    view = CaptionView(choose="all", opposites=("relation",), sentences=True)
    assert view.texts(own) == [("A cup is left of a dog.",), ("杯子在狗的左边。",)]
    assert CaptionView(choose="all", sentences=True).count(own) == 5


def test_the_second_of_two_captions(shards):
    found = examples(source(shards, CaptionPairView(), swap="second text"), epochs=4)
    for key, (first, second), picture, matched in found:
        assert int(key) == picture
        assert mentioned(first) <= set(shown(picture))
        assert (mentioned(second) <= set(shown(picture))) == matched
    assert 0.4 < sum(row[3] for row in found) / len(found) < 0.6


def test_ranks_workers_and_companions_change_nothing(shards, tmp_path):
    texts = [caption["text"] for number in range(60) for caption in record(number)["captions"]]
    (tmp_path / "t.json").write_text(train_tokenizer(texts, 200).to_str())
    collator = Collator(CorpusTokenizer(str(tmp_path / "t.json")), None)

    def steps(ranks, workers):
        found = {}
        for rank in range(ranks):
            mixture = Mixture([source(shards)], seed=1, batch_size=12)
            loader = TrainLoader(mixture, collator, 1, workers, rank, ranks)
            for number, batches in zip(range(7), loader, strict=False):
                for batch in batches:
                    rows = zip(batch.keys, batch.matched.tolist(), batch.text.ids.tolist(), strict=True)
                    found |= {(number, key): (matched, [i for i in ids if i]) for key, matched, ids in rows}
        return found

    alone = steps(1, 0)
    assert 20 < sum(matched for matched, _ in alone.values()) < 64
    assert steps(2, 0) == alone
    assert steps(1, 1) == alone


def test_evaluation_repeats_its_negatives(shards, tmp_path):
    texts = [caption["text"] for number in range(60) for caption in record(number)["captions"]]
    (tmp_path / "t.json").write_text(train_tokenizer(texts, 200).to_str())
    collator = Collator(CorpusTokenizer(str(tmp_path / "t.json")), None)
    passes = [
        torch.cat([batch.matched for batch in EvalLoader(source(shards), collator, size, 0, 0, 1)]) for size in (7, 60)
    ]
    assert torch.equal(*passes)


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="rate is"):
        Negatives(rate=1.5)
    with pytest.raises(ValueError, match="go with swap 'text', not 'picture'"):
        Negatives(swap="picture", opposites=0.5)
    with pytest.raises(ValueError, match="kinds"):
        Negatives(kinds=("relation",))
    lonely = source(write_region_shards(tmp_path, count=1), rate=1.0)
    with pytest.raises(ValueError, match="sample 0000: no other sample has a text that is false of it"):
        examples(lonely)


def test_the_fingerprint_of_a_run_knows_its_negatives(shards):
    prints = [Mixture([source(shards, swap=swap)], 0, 4).fingerprint() for swap in ("text", "picture")]
    differing = {name for name in prints[0] if prints[0][name] != prints[1][name]}
    assert differing == {"negatives of source0"}
    assert replace(Example("a"), matched=True).matched
