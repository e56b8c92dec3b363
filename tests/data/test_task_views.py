"""Samples become the examples of downstream tasks, and those become rows of texts and pictures."""

import pytest
import torch
from pictures import picture

from vl.data.collate import Collator
from vl.data.sample import Choice, Entailment, Expression, Question, Record, Sample, Statement
from vl.data.shards import encode_members
from vl.data.stages import ImageStage
from vl.data.tokenizers import CorpusTokenizer
from vl.data.views.choices import ChoicesView
from vl.data.views.entailment import EntailmentView
from vl.data.views.expression import ExpressionView
from vl.data.views.qa import QAView
from vl.data.views.statement import StatementView
from vl.data.vocabulary import train_tokenizer
from vl.draw import Draw

DRAW = Draw.of(0, 0, 0, torch.arange(1))
RECORD = Record(
    statements=(Statement("s0", "both show a cat", True), Statement("s1", "only one shows a cat", False)),
    entailment=(Entailment("e0", "a cat", "entailment"), Entailment("e1", "a dog", "contradiction", type="object")),
    choices=(Choice("c0", "why", ("a", "b", "c", "d"), 2, ("e", "f", "g", "h"), 1), Choice("c1", "who", ("x", "y"), 0)),
    expressions=(Expression("r0", "left cat", (0.0, 0.25, 0.5, 1.0)),),
    width=40, height=20,
)  # fmt: skip


@pytest.fixture(scope="module")
def collator(tmp_path_factory):
    file = tmp_path_factory.mktemp("tokenizer") / "corpus.json"
    file.write_text(train_tokenizer(["both show only one a cat dog left why who b c d e f g h x y"], 200).to_str())
    return Collator(CorpusTokenizer(str(file), 16), ImageStage(8))


@pytest.fixture
def sample():
    members = {"jpg": picture("p"), "left.jpg": picture("left"), "right.png": picture("right", "PNG"), "json": RECORD}
    return Sample("pic", encode_members(members))


def examples(view, sample, collator):
    assert view.count(sample.record) == len(view.texts(sample.record))
    return [collator.read(view, sample, inner, DRAW) for inner in range(view.count(sample.record))]


def test_a_statement_meets_both_pictures(sample, collator):
    found = examples(StatementView(), sample, collator)
    assert [(one.text, one.targets["label"]) for one in found] == [("both show a cat", 1), ("only one shows a cat", 0)]
    batch = collator(found)
    assert batch.pairs.tolist() == [[0, 0], [0, 1], [1, 2], [1, 3]]
    assert batch.group.tolist() == [0, 0, 1, 1]
    assert batch.visual.pixels.shape == (4, 3, 8, 8)
    assert not torch.equal(batch.visual.pixels[0], batch.visual.pixels[1])
    alone = Sample("pic", {name: data for name, data in sample.members.items() if name != "right.png"})
    with pytest.raises(ValueError, match="sample pic has no two pictures"):
        StatementView().example(alone, 0, DRAW)


def test_entailment_has_three_labels(sample, collator):
    found = examples(EntailmentView(), sample, collator)
    assert [(one.text, one.targets["label"]) for one in found] == [("a cat", 2), ("a dog", 0)]
    assert found[1].targets["type"] == "object"
    assert collator(found).pairs is None
    odd = Sample("odd", encode_members({"json": Record(entailment=(Entailment("e", "x", "maybe"),))}))
    with pytest.raises(ValueError, match="the label 'maybe' is not one of contradiction, neutral, entailment"):
        EntailmentView().example(odd, 0, DRAW)


def test_choices_are_texts_of_one_picture(sample, collator):
    found = examples(ChoicesView(), sample, collator)
    assert [(one.targets["id"], one.targets["subtask"], one.targets["label"]) for one in found] == [
        ("c0", "answer", 2), ("c0", "rationale", 1), ("c1", "answer", 0)]  # fmt: skip
    assert found[0].texts[3] == ("why", "d")
    assert found[1].texts[1] == ("why c", "f")  # the rationale of the right answer
    batch = collator(found[:2])
    assert batch.pairs.tolist() == [[row, row // 4] for row in range(8)]
    assert batch.group.tolist() == [0] * 4 + [1] * 4
    assert batch.text.segment[1].unique().tolist() == [0, 1]
    assert len(batch) == 2
    with pytest.raises(TypeError, match="equally many texts"):
        collator(found)
    assert ChoicesView("answer").count(RECORD) == 2
    assert ChoicesView("rationale").count(RECORD) == 1


def test_a_second_stage_reads_questions_with_their_answers(sample, collator):
    found = examples(ChoicesView(answered=True), sample, collator)
    assert [one.text for one in found] == [("why", "c"), ("why c", "f"), ("who", "x")]
    asked = Question("q0", "why", ("b", "c", "c")), Question("q1", "who", ())
    sample = Sample("pic", encode_members({"jpg": picture("p"), "json": Record(qa=asked)}))
    (found,) = examples(QAView(answered=True), sample, collator)
    assert found.text == ("why", "c")
    batch = collator([found])
    assert batch.text.segment[0].tolist() == [0, 0, 0, 1, 1]
    assert QAView().count(Record(qa=asked)) == 2


def test_expressions_say_which_box(sample, collator):
    (found,) = examples(ExpressionView(), sample, collator)
    assert found.text == "left cat"
    batch = collator([found])
    assert batch.targets["box"].tolist() == [[0.0, 0.25, 0.5, 1.0]]
    assert batch.targets["size"].tolist() == [[40, 20]]
