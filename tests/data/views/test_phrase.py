"""Sentences with phrases become examples; expressions are phrases of their own."""

import torch
from pictures import picture

from vl.data.sample import Expression, Grounding, Phrase, Record, Sample
from vl.data.shards import encode_members
from vl.data.views.phrase import PhraseView
from vl.draw import Draw

DRAW = Draw.of(0, 0, 0, torch.arange(1))
BOX, OTHER = (0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 1.0)
PHRASES = (Phrase("p-0-0", "Two cats", 8, (BOX, OTHER), "animals"), Phrase("p-0-1", "a sofa", 24, (OTHER,)))
SENTENCE = Grounding("p-0", "Two cats sleep on a sofa", PHRASES)
EXPRESSION = Expression("e", "左边的猫", BOX, "zh", "place")


def sample(**fields):
    return Sample("pic", encode_members({"jpg": picture("p"), "json": Record(**fields)}))


def test_a_sentence_is_an_example_with_all_of_its_phrases():
    view = PhraseView()
    one = sample(groundings=(SENTENCE, Grounding("p-1", "Nothing", ())), expressions=(EXPRESSION,), width=40, height=20)
    assert view.count(one.record) == len(view.texts(one.record)) == 1
    found = view.example(one, 0, DRAW)
    assert (found.key, found.text, found.language) == ("pic", "Two cats sleep on a sofa", 0)
    assert (found.targets["id"], found.targets["phrases"]) == ("p-0", PHRASES)
    assert found.targets["size"].tolist() == [40, 20]


def test_an_expression_is_a_phrase_as_long_as_its_sentence():
    view = PhraseView()
    found = view.example(sample(expressions=(EXPRESSION,)), 0, DRAW)
    assert (found.text, found.language) == ("左边的猫", 1)
    assert found.targets["phrases"] == (Phrase("e", "左边的猫", 4, (BOX,), "place"),)
    assert found.targets["size"].tolist() == [1, 1]


def test_a_card_knows_how_many():
    view = PhraseView()
    assert view.count_from({"samples": 2, "groundings": 9}) == 9
    assert view.count_from({"samples": 2, "expressions": 20}) == 20
    assert view.count_from({"samples": 2, "groundings": 9, "expressions": 20}) is None  # some may have these alone
    assert view.count_from({"samples": 2}) is None
