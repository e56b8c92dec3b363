"""The ridge control: its solution, how lambda is chosen, and the whole of it on real frozen features."""

import pytest
import torch
from evaluation.small import write_emoji
from sklearn.linear_model import Ridge as Peer
from torch.nn.functional import normalize

from vl.evaluation.embed import Embedder, read_samples
from vl.evaluation.models import RidgeControl, frozen_backbones, load_model
from vl.evaluation.ridge import LAMBDAS, Pairs, fit_ridge, solve
from vl.evaluation.zero_shot_retrieval import zero_shot_retrieval


def pairs(number, seed, noise=0.1):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(12, 6, generator=torch.Generator().manual_seed(99))
    image = torch.randn(number, 12, generator=generator)
    text = normalize(image @ mixing + 3 + noise * torch.randn(number, 6, generator=generator), dim=1)
    return Pairs(image, text, torch.arange(number))


@pytest.mark.parametrize("strength", [1e-2, 1.0, 1e2])
def test_solution_equals_scikit_learn(strength):
    data = pairs(40, 0)
    [(weight, bias)] = solve(data.image + 5, data.text, [strength])
    peer = Peer(alpha=strength).fit((data.image + 5).double().numpy(), data.text.double().numpy())
    torch.testing.assert_close(weight, torch.from_numpy(peer.coef_.T).float(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(bias, torch.from_numpy(peer.intercept_).float(), atol=1e-5, rtol=1e-4)


def test_more_features_than_rows_are_solved_too():
    x, y = torch.randn(5, 30), torch.randn(5, 4)
    [(weight, bias)] = solve(x, y, [1e-6])
    torch.testing.assert_close(x @ weight + bias, y, atol=1e-3, rtol=0)


def test_lambda_is_the_best_on_val_among_at_least_six():
    found = fit_ridge(pairs(15, 0, noise=2.0), pairs(50, 1, noise=2.0))
    assert len(found.tried) == len(LAMBDAS) >= 6
    assert (min(LAMBDAS), max(LAMBDAS)) == (1e-2, 1e2)
    assert found.tried[found.chosen] == max(found.tried.values()) > min(found.tried.values())
    with pytest.raises(ValueError, match="not finite"):
        fit_ridge(Pairs(torch.full((3, 2), torch.nan), torch.ones(3, 2), torch.arange(3)), pairs(3, 0))


def test_the_control_on_emoji_beats_chance_and_memorises_its_training_pictures(tmp_path):
    shards = write_emoji(tmp_path, "train", 24)
    val = write_emoji(tmp_path, "val", 12, first=24)
    control = RidgeControl(Embedder(frozen_backbones(), batch_size=16))
    seen, unseen = (control.features(read_samples(names)) for names in (shards, val))
    ridge = control.fit(seen, unseen, "en")
    embedder = Embedder(control.embedder.bundle, batch_size=16)
    torch.testing.assert_close(embedder.images(read_samples(val)).emb, control.map(unseen).emb, atol=1e-5, rtol=0)
    assert zero_shot_retrieval(embedder, control.map(seen), "en").metrics["text_to_image/R@1"] > 60
    found = zero_shot_retrieval(embedder, control.map(unseen), "en").metrics
    assert found["mean_recall"] == pytest.approx(ridge.tried[ridge.chosen], abs=1e-3)
    assert found["mean_recall"] > 100 * (1 + 5 + 10) / 3 / 12
    chinese = zero_shot_retrieval(embedder, control.map(unseen), "zh").metrics
    assert chinese["unknown_tokens"] > 50 > found["unknown_tokens"]


def test_the_control_needs_shards_to_choose_lambda_on():
    with pytest.raises(ValueError, match="ridge:TRAIN_SHARDS::VAL_SHARDS"):
        load_model("ridge:train.tar", "en", Embedder)
