"""Masks fall where and as often as they should, and depend on the example alone."""

import json
from dataclasses import replace
from math import sqrt

import pytest
import torch
from torch.testing import assert_close

from vl.batch import Text, Visual
from vl.corrupt import RegionMasking, TokenMasking, box_iou, spread
from vl.draw import Draw

MASK, FIRST, VOCABULARY = 3, 5, 4000


def texts(count=3000, words=18, seed=0):
    """[CLS], one to `words` words of one to three tokens, [SEP]; lengths are ragged."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 4, (count, words), generator=generator)
    used = torch.arange(words) < torch.randint(1, words + 1, (count, 1), generator=generator)
    rows = [[-1, *(w for w in range(words) if u[w] for _ in range(s[w])), -1] for s, u in zip(sizes, used, strict=True)]
    length = max(map(len, rows))
    mask = torch.tensor([[True] * len(row) + [False] * (length - len(row)) for row in rows])
    index = torch.tensor([row + [-1] * (length - len(row)) for row in rows])
    ids = torch.randint(FIRST, VOCABULARY, mask.shape, generator=generator)
    return Text(torch.where(index >= 0, ids, 1) * mask, mask, words=index)


def draw(count, epoch=0):
    return Draw.of(7, epoch, 0, torch.arange(count))


def share(part, whole, expected):
    """A share lies within four standard errors of what it should be."""
    assert abs(part / whole - expected) < 4 * sqrt(expected * (1 - expected) / whole), (part / whole, expected)


@pytest.mark.parametrize("whole_word", [False, True])
def test_rates_of_words(whole_word):
    text = texts()
    masked, chosen = TokenMasking(MASK, FIRST, whole_word=whole_word)(text, draw(3000), VOCABULARY)
    plain = text.mask & (text.words >= 0)
    assert not (chosen & ~plain).any()
    if not whole_word:
        share(int(chosen.sum()), int(plain.sum()), 0.15)
    hidden, kept = masked.ids == MASK, masked.ids == text.ids
    share(int((chosen & hidden).sum()), int(chosen.sum()), 0.8)
    share(int((chosen & ~hidden & ~kept).sum()), int(chosen.sum()), 0.1 * (1 - 1 / (VOCABULARY - FIRST)))
    assert_close(masked.ids[~chosen], text.ids[~chosen])
    swapped = masked.ids[chosen & ~hidden & ~kept]
    assert swapped.min() >= FIRST
    assert abs(float(swapped.float().mean()) - (FIRST + VOCABULARY) / 2) < 4 * VOCABULARY / sqrt(12 * len(swapped))


def test_content_words_are_chosen_more_often(tmp_path):
    file, text = tmp_path / "content.json", texts()
    file.write_text(json.dumps(list(range(100, 900))))
    masking = TokenMasking(MASK, FIRST, prob=0.1, content=str(file), content_prob=0.6)
    _, chosen = masking(text, draw(3000), VOCABULARY)
    plain, content = text.mask & (text.words >= 0), (text.ids >= 100) & (text.ids < 900)
    share(int(chosen[plain & content].sum()), int((plain & content).sum()), 0.6)
    share(int(chosen[plain & ~content].sum()), int((plain & ~content).sum()), 0.1)
    _, whole = replace(masking, whole_word=True)(text, draw(3000), VOCABULARY)
    for row, words in zip(whole[:50], text.words[:50], strict=True):
        assert all(len(set(row[words == word].tolist())) == 1 for word in set(words.tolist()) - {-1})
    file.write_text("[4000]")
    with pytest.raises(ValueError, match="vocabulary of 3,999"):
        masking(text, draw(3000), VOCABULARY - 1)


def test_random_words_are_alternatives_of_the_one_they_replace(tmp_path):
    file, text = tmp_path / "content.json", texts()
    file.write_text(json.dumps([500, [100, 101], [102, 103, 104]]))
    text.ids[:, ::3] = 100 + text.ids[:, ::3] % 5  # enough of them
    masking = TokenMasking(MASK, FIRST, prob=0.0, content=str(file), content_prob=1.0, mask=0.0, random=1.0)
    shown, chosen = masking(text, draw(3000), VOCABULARY)
    for words in ([100, 101], [102, 103, 104]):
        for word in words:
            became = shown.ids[chosen & (text.ids == word)]
            assert set(became.tolist()) == set(words)
            share(int((became == word).sum()), len(became), 1 / len(words))
    assert len(set(shown.ids[chosen & (text.ids == 500)].tolist())) > 5  # of the whole vocabulary
    assert_close(shown.ids[~chosen], text.ids[~chosen])


def test_whole_words_are_chosen_together():
    text = texts()
    _, chosen = TokenMasking(MASK, FIRST, whole_word=True)(text, draw(3000), VOCABULARY)
    words = [
        set(row[text.words[i] == word].tolist())
        for i, row in enumerate(chosen)
        for word in range(int(text.words[i].max()) + 1)
    ]
    assert all(len(fates) == 1 for fates in words)
    share(sum(True in fates for fates in words), len(words), 0.15)
    _, single = TokenMasking(MASK, FIRST)(text, draw(3000), VOCABULARY)
    assert any(len(set(row[text.words[i] == 0].tolist())) == 2 for i, row in enumerate(single))


@pytest.mark.parametrize("whole_word", [False, True])
def test_at_least_one_word(whole_word):
    text = texts()

    def chosen(at_least_one):
        masking = TokenMasking(MASK, FIRST, whole_word=whole_word, at_least_one=at_least_one)
        return masking(text, draw(3000), VOCABULARY)[1]

    none, first, random = map(chosen, ("none", "first", "random"))
    empty = ~none.any(1)
    assert empty.any()
    assert_close(first[~empty], none[~empty])
    for row in empty.nonzero().flatten().tolist():
        expected = text.words[row] == 0 if whole_word else torch.arange(text.ids.shape[1]) == 1
        assert_close(first[row], expected)
        assert len(set(text.words[row][random[row]].tolist())) == 1
    places = random[empty].float().argmax(1)
    assert len(places.unique()) > 3
    assert first.any(1).all()
    assert random.any(1).all()


def visuals(counts, seed=0, features=6):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
    corners = torch.rand(*mask.shape, 2, 2, generator=generator).sort(dim=2).values.flatten(2)
    return Visual(
        features=torch.rand(*mask.shape, features, generator=generator) * mask[..., None], boxes=corners, mask=mask
    )


def test_rates_of_regions():
    counts = torch.randint(1, 30, (2000,), generator=torch.Generator().manual_seed(1)).tolist()
    visual = visuals(counts)
    shown, chosen = RegionMasking(zero=0.8, random=0.1)(visual, draw(2000))
    share(int(chosen.sum()), sum(counts), 0.15)
    share(int(shown.hidden.sum()), int(chosen.sum()), 0.8)
    assert not (shown.hidden & ~chosen).any()
    changed = (shown.features != visual.features).any(2)
    assert not (changed & (~chosen | shown.hidden)).any()
    several = chosen & (visual.mask.sum(1, keepdim=True) > 20)
    share(int((changed & several).sum()), int(several.sum()), 0.1 * 24 / 25)
    for row, place in changed.nonzero()[:50].tolist():
        distances = (visual.features[row, : counts[row]] - shown.features[row, place]).abs().amax(1)
        assert distances.min() == 0
    assert_close(shown.boxes, visual.boxes)


def test_at_least_one_region():
    visual = visuals([2] * 500)
    none, one = (RegionMasking(at_least_one=least)(visual, draw(500))[1] for least in (False, True))
    empty = ~none.any(1)
    assert_close(one[~empty], none[~empty])
    assert (one[empty].sum(1) == 1).all()
    share(int(one[empty][:, 0].sum()), int(empty.sum()), 0.5)
    assert not RegionMasking(at_least_one=True)(visuals([2, 0]), draw(2))[1][1].any()


def test_overlapping_regions_are_hidden_too():
    """Three boxes of one picture: the second overlaps the first by 0.41, the third by 0.39."""

    def shifted(overlap):
        shift = (1 - overlap) / (1 + overlap)
        return [shift * 0.4, 0.0, 0.4 + shift * 0.4, 1.0]

    boxes = torch.tensor([[[0.0, 0.0, 0.4, 1.0], shifted(0.41), shifted(0.39)]])
    assert_close(box_iou(boxes)[0, 0], torch.tensor([1.0, 0.41, 0.39]))
    visual = Visual(features=torch.ones(1, 3, 2), boxes=boxes, mask=torch.ones(1, 3, dtype=torch.bool))
    for epoch in range(200):
        shown, chosen = RegionMasking(overlap=0.4)(visual, draw(1, epoch))
        if chosen[0].tolist() == [True, False, False]:
            assert shown.hidden[0].tolist() == [True, True, False]
            return
    raise AssertionError("chance never chose the first region alone")


@pytest.mark.parametrize(
    "masking", [TokenMasking(MASK, FIRST, whole_word=True, at_least_one="random"), TokenMasking(MASK, FIRST)]
)
def test_words_depend_on_their_example_alone(masking):
    text = texts(40)
    together, chosen = masking(text, draw(40), VOCABULARY)
    for row in (0, 7, 39):
        length = int(text.mask[row].sum())
        alone = Text(
            *(part[row : row + 1, :length] for part in (text.ids, text.mask)), words=text.words[row : row + 1, :length]
        )
        own, own_chosen = masking(alone, Draw(draw(1).key, torch.tensor([row])), VOCABULARY)
        assert_close(own.ids[0], together.ids[row, :length])
        assert_close(own_chosen[0], chosen[row, :length])
    assert_close(masking(text, draw(40), VOCABULARY)[0].ids, together.ids)
    assert not torch.equal(masking(text, draw(40, epoch=1), VOCABULARY)[1], chosen)


def test_regions_depend_on_their_example_alone():
    masking, visual = RegionMasking(zero=0.5, random=0.4, at_least_one=True), visuals([5, 12, 1, 30])
    before = visual.features.clone()
    together, _ = masking(visual, draw(4))
    assert_close(visual.features, before)
    for row, count in enumerate([5, 12, 1, 30]):
        one = slice(row, row + 1)
        alone = Visual(features=visual.features[one, :count], boxes=visual.boxes[one, :count])
        own, _ = masking(alone, Draw(draw(1).key, torch.tensor([row])))
        assert_close(own.hidden[0], together.hidden[row, :count])
        assert_close(own.features[0], together.features[row, :count])


def test_several_pictures_of_an_example_are_masked_independently():
    first = spread(draw(6), 12).uniform(4)
    assert len(first.flatten().unique()) == 48
    assert_close(spread(draw(6), 6).uniform(4), draw(6).uniform(4))
    # The pictures of example 3, alone.
    assert_close(spread(Draw(draw(1).key, torch.tensor([3])), 2).uniform(4), first[6:8])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TokenMasking(MASK, FIRST, prob=0.0), "prob is 0"),
        (lambda: TokenMasking(MASK, FIRST, mask=0.8, random=0.3), "their sum at most 1"),
        (lambda: RegionMasking(zero=-0.1), "at least 0"),
        (lambda: RegionMasking()(Visual(pixels=torch.zeros(1, 3, 2, 2)), draw(1)), "RegionView"),
        (lambda: TokenMasking(MASK, FIRST)(replace(texts(2), words=None), draw(2), 9), "Text.words"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
