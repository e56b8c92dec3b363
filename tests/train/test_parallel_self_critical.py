"""Self-critical training, whose model runs a word at a time, trains alike on one process, DDP and FSDP2."""

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
from vl.data.tokenizers import CorpusTokenizer
from vl.data.views.captioning import CaptioningView
from vl.data.views.regions import RegionView
from vl.data.vocabulary import train_tokenizer
from vl.metrics.caption_reward import words, write_frequencies
from vl.metrics.cider import Frequencies
from vl.tasks.captioning import Captioning
from vl.tasks.self_critical import SelfCritical
from vl.train import strategies
from vl.train.module import Training
from vl.train.optim import AdamW


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    write_region_shards(folder, features=FEATURES)
    texts = [[one["text"] for one in record(number)["captions"] if one["language"] == "en"] for number in range(60)]
    vocabulary = train_tokenizer([text for own in texts for text in own], VOCABULARY)
    (folder / "tokenizer.json").write_text(vocabulary.to_str())
    write_frequencies(folder / "ngrams.json", Frequencies.of([[words(text) for text in own] for own in texts]))
    return str(folder)


def fit(folder, strategy="auto", ranks=1):
    """Losses of some steps, and the weights after them."""
    strategies.register()
    model, tokenizer = build("uniter"), CorpusTokenizer(f"{folder}/tokenizer.json")
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    torch.manual_seed(0)
    task = SelfCritical(Captioning(tokenizer, max_length=4), f"{folder}/ngrams.json", samples=2)
    source = Source(f"{folder}/train-*.tar", RegionView(CaptioningView()))
    data = ShardData([source], tokenizer, None, 4)
    # With its usual eps, Adam would turn the rounding of a gradient that is all but zero into a step.
    module = Training(model, {"captions": task}, AdamW(lr=1e-3, eps=1e-4, warmup=1))
    with torch.no_grad():
        task.captioning.head.bias[tokenizer.end_id] = 4.0  # captions of all lengths
    losses = Losses()
    trainer(callbacks=[losses], devices=ranks, strategy=strategy, max_steps=3).fit(module, datamodule=data)
    return losses.values, {name: whole(parameter) for name, parameter in module.named_parameters()}


def whole(parameter):
    return (parameter.full_tensor() if isinstance(parameter, DTensor) else parameter).detach().clone()


def test_two_ranks_reward_like_one(folder):
    losses, weights = fit(folder)
    assert all(abs(loss) > 1e-3 for loss in losses)
    for strategy in ("ddp", "fsdp2"):
        for their_losses, their_weights in run_ranks(fit, folder, strategy, 2):
            assert their_losses == pytest.approx(losses, rel=1e-4)
            for name, value in weights.items():
                assert_close(their_weights[name], value, rtol=1e-4, atol=2e-5)
