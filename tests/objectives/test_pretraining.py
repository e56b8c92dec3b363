"""What all pretraining objectives promise, and each of them against a slow loop over its examples."""

import json
from dataclasses import replace
from math import log

import pytest
import torch
from pretraining import ATTRIBUTES, CLASSES, FIRST, MASK, alone, full, prepared, run
from torch.nn import functional as F
from torch.testing import assert_close

from vl.batch import Batch, Encoded
from vl.corrupt import RegionMasking, TokenMasking
from vl.losses.transport import transport_distance
from vl.objectives.answer_pretraining import AnswerPretraining
from vl.objectives.checked_mlm import CheckedMLM
from vl.objectives.itm import ITM
from vl.objectives.mlm import IGNORED, MLM
from vl.objectives.mrc import MRC
from vl.objectives.mrfr import MRFR
from vl.objectives.nce import NCE
from vl.objectives.region_prediction import RegionPrediction
from vl.objectives.wra import WRA

WORDS = TokenMasking(MASK, FIRST, prob=0.4)
SWAPS = replace(WORDS, mask=0.4, random=0.4)
REGIONS = RegionMasking(prob=0.4, zero=0.8, random=0.1)
EVERY = {
    "mlm": lambda: MLM(WORDS),
    "mlm, checked": lambda: CheckedMLM(SWAPS),
    "mlm, matched": lambda: MLM(WORDS, matched_only=True),
    "itm": ITM,
    "mrc": lambda: MRC(REGIONS, CLASSES),
    "mrc, hard": lambda: MRC(REGIONS, CLASSES, target="hard", matched_only=True),
    "mrc, elements": lambda: MRC(REGIONS, CLASSES, average="elements"),
    "mrfr": lambda: MRFR(REGIONS),
    "mrfr, smooth": lambda: MRFR(REGIONS, distance="smooth_l1", tied=False, matched_only=True),
    "lxmert": lambda: RegionPrediction(REGIONS, CLASSES - 1, ATTRIBUTES),
    "lxmert, masked": lambda: RegionPrediction(REGIONS, CLASSES - 1, 0, scored="masked"),
    "wra": WRA,
}


# Alignment compares words with regions, which must have one width.
@pytest.mark.parametrize(
    ("name", "system"),
    [(name, "uniter") for name in EVERY] + [(name, "vilbert") for name in EVERY if name != "wra"],
)
def test_padding_and_companions_change_nothing(name, system):
    model, objective = prepared(EVERY[name](), system)
    batch = full()
    loss, _, _ = run(model, objective, batch)
    own = [run(model, objective, alone(batch, row))[0] for row in range(len(batch))]
    assert_close(loss.total, torch.stack([one.total for one in own]).sum(), rtol=1e-5, atol=1e-5)
    assert_close(loss.count, torch.stack([one.count for one in own]).sum())
    for metric, (total, count) in loss.metrics.items():
        assert_close(total, torch.stack([one.metrics[metric][0] for one in own]).sum(), rtol=1e-5, atol=1e-5)
        assert int(count) == sum(int(one.metrics[metric][1]) for one in own)
    assert float(loss.count) > 0


@pytest.mark.parametrize("name", EVERY)
def test_pairs_score_each_row(name):
    """A text and a picture that stand in two rows count twice."""
    model, objective = prepared(EVERY[name]())
    batch = full()
    rows = torch.tensor([0, 1, 2, 3, 4, 5, 5, 3])
    paired = replace(batch, pairs=torch.stack([rows, rows], dim=1), matched=batch.matched[rows])
    loss, once, extra = (run(model, objective, one)[0] for one in (paired, batch, alone(batch, 5)))
    last = run(model, objective, alone(batch, 3))[0]
    assert_close(loss.total, once.total + extra.total + last.total, rtol=1e-5, atol=1e-5)
    assert float(loss.count) == float(once.count + extra.count + last.count)


def test_mlm():
    model, objective = prepared(MLM(WORDS))
    batch = full()
    loss, output, target = run(model, objective, batch)
    total, right, count = 0.0, 0, 0
    for row in range(6):
        for place in range(9):
            if target[row, place] != IGNORED:
                assert batch.text.words[row, place] >= 0
                assert target[row, place] == batch.text.ids[row, place]
                logits = objective.head.transform(output.text[row, place][None])[0] @ model.word_embedding.weight.T
                logps = (logits + objective.head.bias).log_softmax(0)
                total -= float(logps[target[row, place]])
                right += int(logps.argmax() == target[row, place])
                count += 1
    assert float(loss.total) == pytest.approx(total, rel=1e-5)
    assert (int(loss.count), int(loss.metrics["accuracy"][0])) == (count, right)


def test_checked_mlm():
    """The loss of MLM on the same words, and a coin's for each chosen word that is seen."""
    model, objective = prepared(CheckedMLM(SWAPS))
    _, plain = prepared(MLM(SWAPS))
    batch = full()
    loss, output, target = run(model, objective, batch)
    shown, _ = objective.corrupt(batch, batch.draw.fold("objective"))
    plain.head.load_state_dict(objective.head.state_dict())
    total, hidden, right, seen = plain(output, shown, target).total, 0, 0, 0
    for row in range(6):
        for place in range(9):
            if target[row, place] == IGNORED:
                continue
            if shown.text.ids[row, place] == MASK:
                hidden += 1
                continue
            seen += 1
            replaced = int(shown.text.ids[row, place] != batch.text.ids[row, place])
            logits = objective.check(output.text[row, place])
            total = total - logits.log_softmax(0)[replaced]
            right += int(logits.argmax() == replaced)
    assert_close(loss.total, total)
    assert (int(loss.metrics["check/accuracy"][0]), int(loss.metrics["check/accuracy"][1])) == (right, seen)
    assert int(loss.metrics["accuracy"][1]) == hidden
    assert int(loss.count) == hidden + seen
    assert min(hidden, seen) > 0


def test_mlm_by_hand():
    """Logits that are all alike cost the logarithm of the vocabulary."""
    model, objective = prepared(MLM(WORDS))
    torch.nn.init.zeros_(objective.head.transform.norm.weight)
    torch.nn.init.zeros_(objective.head.transform.norm.bias)
    torch.nn.init.zeros_(objective.head.bias)
    loss = run(model, objective, full())[0]
    assert float((loss.total / loss.count).detach()) == pytest.approx(log(60))


@pytest.mark.parametrize("name", ["mlm", "mrc, hard", "mrfr"])
def test_mismatched_pairs_are_left_out_if_asked(name):
    objective = EVERY[name]()
    objective.matched_only = True
    model, objective = prepared(objective)
    batch = full()
    loss = run(model, objective, batch)[0]
    parts = [run(model, objective, alone(batch, row))[0] for row in range(6)]
    assert all(
        float(part.total) == 0 == float(part.count) for part, m in zip(parts, batch.matched, strict=True) if not m
    )
    objective.matched_only = False
    assert float(run(model, objective, batch)[0].count) > float(loss.count)
    unasked = replace(batch, matched=None)
    assert float(run(model, objective, unasked)[0].count) > float(loss.count)


def test_itm():
    model, objective = prepared(ITM())
    batch = full()
    loss, output, _ = run(model, objective, batch)
    logits = output.pooled @ objective.head.weight.T + objective.head.bias
    expected = sum(-float(row.log_softmax(0)[int(match)]) for row, match in zip(logits, batch.matched, strict=True))
    assert float(loss.total) == pytest.approx(expected, rel=1e-5)
    assert_close(objective.scores(output), logits[:, 1] - logits[:, 0])
    right = (logits[:, 1] > logits[:, 0]) == batch.matched
    assert loss.metrics["accuracy"] == (right.sum(), 6)
    with pytest.raises(ValueError, match="give the source `negatives`"):
        objective(output, replace(batch, matched=None), None)


@pytest.mark.parametrize(("target", "average"), [("kl", "regions"), ("kl", "elements"), ("hard", "regions")])
def test_mrc(target, average):
    model, objective = prepared(MRC(REGIONS, CLASSES, target, average))
    batch = full()
    loss, output, chosen = run(model, objective, batch)
    total, count, right = 0.0, 0, 0
    for row, place in chosen.nonzero().tolist():
        probs = batch.visual.class_probs[row, place]
        logps = objective.head(output.visual[row, place][None])[0].log_softmax(0)
        best, guess = (max(range(1, CLASSES), key=lambda c: float(found[c])) for found in (probs, logps))
        right += best == guess
        if target == "hard":
            total -= float(logps[best])
        else:
            total += sum(float(p) * (log(float(p)) - float(logps[c])) for c, p in enumerate(probs))
        count += CLASSES if average == "elements" else 1
    assert float(loss.total) == pytest.approx(total, rel=1e-4)
    assert int(loss.count) == count
    assert float(loss.metrics["accuracy"][0]) == right


def test_the_average_over_elements_is_smaller_by_the_number_of_classes():
    losses = []
    for average in ("regions", "elements"):
        model, objective = prepared(MRC(REGIONS, CLASSES, "kl", average))
        loss = run(model, objective, full())[0]
        losses.append(float(loss.total / loss.count))
    assert losses[0] == pytest.approx(losses[1] * CLASSES)


@pytest.mark.parametrize("distance", ["l2", "smooth_l1"])
@pytest.mark.parametrize("tied", [True, False])
def test_mrfr(distance, tied):
    model, objective = prepared(MRFR(REGIONS, distance, tied))
    batch = full()
    loss, output, hidden = run(model, objective, batch)
    total = 0.0
    for row, place in hidden.chosen.nonzero().tolist():
        predicted = objective.head(output.visual[row, place][None])[0]
        if tied:
            x = objective.head.transform(output.visual[row, place][None])
            assert_close(predicted, x[0] @ model.visual_projection.weight + objective.head.bias)
        gaps = (predicted - batch.visual.features[row, place]).abs()
        costs = gaps**2 if distance == "l2" else torch.where(gaps < 1, gaps**2 / 2, gaps - 0.5)
        total += float(costs.mean())
    assert float(loss.total) == pytest.approx(total, rel=1e-5)
    assert int(loss.count) == int(hidden.chosen.sum())
    assert (objective.head.weight is model.visual_projection.weight) if tied else True


def test_lxmert():
    """Released: objects and attributes of every region, each loss a mean over all regions, divided by 0.4."""
    model, objective = prepared(RegionPrediction(REGIONS, CLASSES - 1, ATTRIBUTES), "lxmert")
    batch = full()
    loss, output, hidden = run(model, objective, batch)
    total, distance = 0.0, 0.0
    for row, place in batch.visual.mask.nonzero().tolist():
        predicted = {name: value[0] for name, value in objective.head(output.visual[row, place][None]).items()}
        for name, probs in (("obj", batch.visual.class_probs), ("attr", batch.visual.attribute_probs)):
            known = probs[row, place, 1:]
            total += float(known.max() * -predicted[name].log_softmax(0)[known.argmax()]) / 0.4
        if hidden.chosen[row, place]:
            distance += float(F.smooth_l1_loss(predicted["feat"], batch.visual.features[row, place]))
    assert float(loss.total) == pytest.approx(total + distance / 0.4, rel=1e-5)
    assert int(loss.count) == int(batch.visual.mask.sum())
    assert float(loss.metrics["feat/loss"][0]) == pytest.approx(distance, rel=1e-5)
    assert int(loss.metrics["obj/accuracy"][1]) == int(hidden.chosen.sum())


def test_lxmert_as_the_paper_says():
    """Masked regions alone, unweighted."""
    model, objective = prepared(RegionPrediction(REGIONS, CLASSES - 1, ATTRIBUTES, scored="masked"), "lxmert")
    batch = full()
    loss, output, hidden = run(model, objective, batch)
    total = 0.0
    for row, place in hidden.chosen.nonzero().tolist():
        predicted = {name: value[0] for name, value in objective.head(output.visual[row, place][None]).items()}
        for name, probs in (("obj", batch.visual.class_probs), ("attr", batch.visual.attribute_probs)):
            total -= float(predicted[name].log_softmax(0)[probs[row, place, 1:].argmax()])
        total += float(F.smooth_l1_loss(predicted["feat"], batch.visual.features[row, place]))
    assert float(loss.total) == pytest.approx(total, rel=1e-5)
    assert int(loss.count) == int(hidden.chosen.sum())


def test_nce():
    model, objective = prepared(NCE(REGIONS, negatives=20, inside=0.3))
    batch = full()
    loss, output, (hidden, negatives) = run(model, objective, batch)
    length, mask = batch.visual.mask.shape[1], batch.visual.mask
    assert negatives.shape == (6, length, 6 + 14)
    assert mask.flatten()[negatives[mask]].all()
    for row, place in mask.nonzero().tolist():
        inside, across = negatives[row, place, :6], negatives[row, place, 6:]
        assert (inside // length == row).all()
        assert (across // length != row).all()
        assert mask[row].sum() == 1 or (inside % length != place).all()
    assert len(negatives[2, 0, 6:].unique()) > 5
    total, features = 0.0, batch.visual.features.flatten(0, 1)
    for row, place in hidden.chosen.nonzero().tolist():
        predicted = objective.head(output.visual[row, place][None])[0]
        places = [row * length + place, *negatives[row, place].tolist()]
        total -= float((features[places] @ predicted).log_softmax(0)[0])
    assert float(loss.total) == pytest.approx(total, rel=1e-5)
    assert int(loss.count) == int(hidden.chosen.sum())


def test_nce_covers_all_other_regions_alike():
    objective, batch = NCE(REGIONS, negatives=3000, inside=0.5), full()
    negatives = objective.places(batch.visual.mask, batch.draw)[0, 0]
    for part, number in ((negatives[:1500], 3), (negatives[1500:], 23)):
        counts = torch.bincount(part)[part.unique()]
        assert len(counts) == number
        assert (counts.max() - counts.min()) < 0.5 * counts.float().mean() + 60


def test_wra():
    batch = full()
    torch.manual_seed(0)
    output = Encoded(text=torch.randn(6, 9, 8), visual=torch.randn(6, 8, 8))
    loss = WRA()(output, batch, None)
    distances = transport_distance(output.text, output.visual, batch.text.mask, batch.visual.mask)
    signs = torch.tensor([1.0, 1, -1, 1, -1, 1])
    assert_close(loss.total, (signs * distances).sum())
    assert int(loss.count) == 6
    positives = WRA(subtract_mismatched=False)(output, batch, None)
    assert_close(positives.total, distances[batch.matched].sum())
    assert int(positives.count) == 4


def test_answers(tmp_path):
    file = tmp_path / "answers.json"
    file.write_text(json.dumps(["no", "yes", "two"]))
    given = (("yes",) * 9 + ("no",), ("cow",), ("no",), ("two", "cow", "two"), ("yes",), ())
    model, objective = prepared(AnswerPretraining(str(file), answers=3), "lxmert")
    batch = full(answers=given)
    loss, output, target = run(model, objective, batch)
    assert target[0] in (0, 1)
    assert target[1:].tolist() == [IGNORED, 0, 2, 1, IGNORED]
    drawn = [objective.corrupt(batch, batch.draw.fold(epoch))[1][0] for epoch in range(300)]
    assert 250 < sum(drawn) < 290
    # Of the four with a known answer, rows 2 and 4 do not match.
    expected = -sum(float(objective.head(output.pooled)[row].log_softmax(0)[target[row]]) for row in (0, 3))
    assert float(loss.total) == pytest.approx(expected, rel=1e-5)
    assert int(loss.count) == 2
    nothing = run(model, objective, replace(batch, targets={}))[0]
    assert (float(nothing.total.detach()), int(nothing.count)) == (0, 0)
    with pytest.raises(ValueError, match="holds 3 answers, more than `answers`, 2"):
        AnswerPretraining(str(file), answers=2).table  # noqa: B018
    with pytest.raises(ValueError, match="no table of answers"):
        AnswerPretraining("nowhere.json").table  # noqa: B018


def test_conditional_masking_hides_one_modality():
    """A source of MRFR alone leaves every word as it was, one of MLM alone every region."""
    batch = full()
    masked, _ = prepared(MRFR(REGIONS))[1].corrupt(batch, batch.draw)
    assert masked.text is batch.text
    masked, _ = prepared(MLM(WORDS))[1].corrupt(batch, batch.draw)
    assert masked.visual is batch.visual


@pytest.mark.parametrize(
    ("objective", "change", "message"),
    [
        (MRC(REGIONS, 1601), {}, "MRC of 1601 classes .* those of 7 classes"),
        (MRC(REGIONS, CLASSES), {"class_probs": None}, "the data hold none"),
        (RegionPrediction(REGIONS, CLASSES - 1, 9), {}, "9 classes .attr. .* those of 4"),
    ],
)
def test_data_that_do_not_fit_are_named(objective, change, message):
    model, objective = prepared(objective)
    batch = full()
    batch = replace(batch, visual=replace(batch.visual, **change))
    with pytest.raises(ValueError, match=message):
        run(model, objective, batch)


def test_nothing_chosen_has_gradients_of_zero():
    for make in (lambda: MLM(TokenMasking(MASK, FIRST, prob=1e-6)), lambda: MRFR(RegionMasking(prob=1e-6))):
        model, objective = prepared(make())
        loss = run(model, objective, full())[0]
        loss.total.backward()
        assert int(loss.count) == 0
        assert all(p.grad is not None and not p.grad.any() for p in objective.head.transform.parameters())


def test_only_scored_rows_reach_the_heads():
    """Never logits of all places."""
    model, objective = prepared(MLM(WORDS))
    seen = []
    objective.head.register_forward_hook(lambda _, args, result: seen.append(result.shape))
    loss = run(model, objective, full())[0]
    assert seen == [(int(loss.count), 60)]


def test_the_draw_decides():
    _, objective = prepared(MLM(WORDS))
    batch = full()
    first, again = (objective.corrupt(batch, batch.draw)[0].text.ids for _ in range(2))
    assert_close(first, again)
    other = objective.corrupt(batch, batch.draw.fold("other"))[0]
    assert not torch.equal(other.text.ids, first)
    assert isinstance(other, Batch)
