"""VQA accuracy against the official rules written out, and cases computed by hand."""

import random
import re

import pytest

from vl.metrics.vqa_accuracy import normalize_answer, score_of, soft_labels, vqa_accuracy

PAIRS = """
aint ain't|arent aren't|cant can't|couldve could've|couldnt couldn't|couldn'tve couldn't've|couldnt've
couldn't've|didnt didn't|doesnt doesn't|dont don't|hadnt hadn't|hadnt've hadn't've|hadn'tve hadn't've|hasnt
hasn't|havent haven't|hed he'd|hed've he'd've|he'dve he'd've|hes he's|howd how'd|howll how'll|hows how's|isnt
isn't|itd it'd|itd've it'd've|it'dve it'd've|itll it'll|let's let's|maam ma'am|mightnt mightn't|mightnt've
mightn't've|mightn'tve mightn't've|mightve might've|mustnt mustn't|mustve must've|neednt needn't|notve
not've|oclock o'clock|oughtnt oughtn't|ow's'at 'ow's'at|'ows'at 'ow's'at|'ow'sat 'ow's'at|shant shan't|shed've
she'd've|she'dve she'd've|she's she's|shouldve should've|shouldnt shouldn't|shouldnt've shouldn't've|shouldn'tve
shouldn't've|somebody'd somebodyd|somebodyd've somebody'd've|somebody'dve somebody'd've|somebodyll
somebody'll|somebodys somebody's|someoned someone'd|someoned've someone'd've|someone'dve someone'd've|someonell
someone'll|someones someone's|somethingd something'd|somethingd've something'd've|something'dve
something'd've|somethingll something'll|thats that's|thered there'd|thered've there'd've|there'dve
there'd've|therere there're|theres there's|theyd they'd|theyd've they'd've|they'dve they'd've|theyll
they'll|theyre they're|theyve they've|twas 'twas|wasnt wasn't|wed've we'd've|we'dve we'd've|weve we've|werent
weren't|whatll what'll|whatre what're|whats what's|whatve what've|whens when's|whered where'd|wheres
where's|whereve where've|whod who'd|whod've who'd've|who'dve who'd've|wholl who'll|whos who's|whove who've|whyll
why'll|whyre why're|whys why's|wont won't|wouldve would've|wouldnt wouldn't|wouldnt've wouldn't've|wouldn'tve
wouldn't've|yall y'all|yall'll y'all'll|y'allll y'all'll|yall'd've y'all'd've|y'alld've y'all'd've|y'all'dve
y'all'd've|youd you'd|youd've you'd've|you'dve you'd've|youll you'll|youre you're|youve you've
"""
CONTRACTIONS = dict(pair.split() for pair in PAIRS.split("|"))
NUMBERS = dict(
    zip(
        ["none", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"],
        ["0", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"],
        strict=True,
    )
)
MARKS = [";", "/", "[", "]", '"', "{", "}", "(", ")", "=", "+", "\\", "_", "-", ">", "<", "@", "`", ",", "?", "!"]


def slow_punctuation(text):
    out = text
    for mark in MARKS:
        near_space = mark + " " in text or " " + mark in text
        out = out.replace(mark, "" if near_space or re.search(r"(\d)(\,)(\d)", text) else " ")
    return re.compile(r"(?!<=\d)(\.)(?!\d)").sub("", out, 32)


def slow_words(text):
    words = [NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ("a", "an", "the"))


def slow_accuracy(answer, people):
    """Leave one of ten out at a time."""
    answer = slow_words(slow_punctuation(answer.replace("\n", " ").replace("\t", " ").strip()))
    if len(set(people)) > 1:
        people = [slow_punctuation(one) for one in people]
    scores = []
    for left_out in range(len(people)):
        others = [one for number, one in enumerate(people) if number != left_out]
        scores.append(min(1, sum(one == answer for one in others) / 3))
    return sum(scores) / len(scores)


@pytest.mark.parametrize("lost", CONTRACTIONS)
def test_contractions_get_their_apostrophes_back(lost):
    assert normalize_answer(lost) == CONTRACTIONS[lost]


def test_equals_the_rules_written_out():
    """Answers of few words, digits, marks and spaces, so that every rule meets every other."""
    draw = random.Random(0)
    words = ["yes", "The", "a", "none", "Ten", "dont", "it's", "somebody'd", "1,000", "3.5", "5.", "u.s", "x" * 3, "2"]
    joins = [" ", ", ", "-", "/", ".", " . ", "; ", '"', "\n", "\t", "'", "? ", "", "@", "_"]

    def text():
        return "".join(draw.choice(words) + draw.choice(joins) for _ in range(draw.randint(1, 4)))

    agreed = 0
    for _ in range(600):
        pool = [text() for _ in range(3)]
        people = [draw.choice(pool) for _ in range(10)]
        answer = draw.choice([*pool, text(), normalize_answer(pool[0])])
        assert vqa_accuracy(answer, people) == pytest.approx(slow_accuracy(answer, people))
        agreed += vqa_accuracy(answer, people) > 0
    assert 30 < agreed < 570


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("The Dog.", "dog"),
        ("none", "0"),
        ("red, white", "red white"),
        ("red/white", "red white"),
        ("1,000 people", "1000 people"),
        ("3.5", "3.5"),
        ("5.", "5"),
        ("t-shirt", "t shirt"),
        ("t-shirt - red", "tshirt red"),
        ("dont\nknow", "don't know"),
        ("somebody'd", "somebodyd"),
        (".a" * 40, "a" * 32 + ".a" * 8),
    ],
)
def test_normalised_by_hand(answer, normal):
    assert normalize_answer(answer) == normal


def test_hand_computed_accuracy():
    assert vqa_accuracy("yes", ["yes"] * 10) == 1
    assert vqa_accuracy("Yes", ["yes"] * 3 + ["no"] * 7) == pytest.approx((3 * 2 / 3 + 7) / 10)
    assert vqa_accuracy("maybe", ["yes"] * 10) == 0
    # people agree on what is no normal form: nothing equals it
    assert vqa_accuracy("The dog", ["the dog"] * 10) == 0
    assert vqa_accuracy("red, blue", ["red, blue"] * 9 + ["red"]) == 1
    assert vqa_accuracy("red", ["red"]) == 1
    assert vqa_accuracy("blue", ["red"]) == 0


def test_soft_labels():
    people = ["yes"] * 4 + ["no"] * 3 + ["The  two"] * 2 + ["three"]
    assert soft_labels(people) == {
        "yes": 1.0,
        "no": pytest.approx(0.9),
        "2": pytest.approx(0.6),
        "3": pytest.approx(0.3),
    }
    assert [score_of(n, 10) for n in (0, 5, 10)] == [0, 1, 1]
    assert soft_labels(["circle"]) == {"circle": 1.0}
