"""One task on a region model, which leaves parameters unused, trains alike on one process, DDP and FSDP2."""

import pytest
import torch
from ranks import run_ranks
from region_shards import record, write_region_shards
from streams import FEATURES, VOCABULARY, build
from tiny import Losses, trainer
from torch.distributed.tensor import DTensor
from torch.testing import assert_close

from vl.data.mixture import Source
from vl.data.module import ShardData
from vl.data.pool import Pool
from vl.data.tokenizers import CorpusTokenizer
from vl.data.views.caption import CaptionView
from vl.data.views.regions import RegionView
from vl.data.vocabulary import train_tokenizer
from vl.tasks.retrieval import MinedTripletRetrieval
from vl.train import strategies
from vl.train.module import Training
from vl.train.optim import AdamW


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    write_region_shards(folder, features=FEATURES)
    texts = [caption["text"] for number in range(60) for caption in record(number)["captions"]]
    (folder / "tokenizer.json").write_text(train_tokenizer(texts, VOCABULARY).to_str())
    return str(folder)


def fit(folder, strategy="auto", ranks=1, accumulate=1):
    """Losses of steps on pools of texts and of pictures, and the weights after them."""
    strategies.register()
    torch.manual_seed(0)
    model = build("uniter")
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    view, shards = RegionView(CaptionView()), f"{folder}/train-*.tar"
    sources = [Source(shards, view, name=of, negatives=Pool(3, of)) for of in ("text", "picture")]
    data = ShardData(sources, CorpusTokenizer(f"{folder}/tokenizer.json"), None, 4, accumulate=accumulate)
    # With its usual eps, Adam would turn the rounding of a gradient that is all but zero into a step.
    module = Training(model, {"retrieval": MinedTripletRetrieval(2)}, AdamW(lr=1e-2, eps=1e-4, warmup=1))
    losses = Losses()
    run = trainer(callbacks=[losses], devices=ranks, strategy=strategy, max_steps=4)
    run.fit(module, datamodule=data)
    assert {data.mixture.plan(step).source for step in range(4)} == {0, 1}
    return losses.values, {name: whole(parameter) for name, parameter in module.named_parameters()}


def whole(parameter):
    return (parameter.full_tensor() if isinstance(parameter, DTensor) else parameter).detach().clone()


@pytest.fixture(scope="module")
def alone(folder):
    return fit(folder)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_ranks_mine_like_one(folder, alone, strategy):
    losses, weights = alone
    for their_losses, their_weights in run_ranks(fit, folder, strategy, 2):
        assert their_losses == pytest.approx(losses, rel=1e-5)
        for name, value in weights.items():
            assert_close(their_weights[name], value, rtol=1e-4, atol=2e-5)


def test_micro_batches_mine_like_one(folder, alone):
    losses, weights = alone
    their_losses, their_weights = fit(folder, accumulate=2)
    assert their_losses == pytest.approx(losses, rel=1e-5)
    for name, value in weights.items():
        assert_close(their_weights[name], value, rtol=1e-4, atol=2e-5)
