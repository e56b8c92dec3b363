"""Pools: as many others as asked for, none true, none twice, whoever reads them."""

import pytest
import torch
from region_shards import THINGS, THINGS_ZH, record, shown, write_region_shards

from vl.data.collate import Collator
from vl.data.loader import TrainLoader
from vl.data.mixture import Mixture, Source
from vl.data.negatives import candidates
from vl.data.pool import Pool
from vl.data.tokenizers import CorpusTokenizer
from vl.data.views.caption import CaptionView
from vl.data.views.regions import RegionView
from vl.data.vocabulary import train_tokenizer
from vl.draw import Draw


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_region_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    file = tmp_path_factory.mktemp("tokenizer") / "t.json"
    file.write_text(train_tokenizer([one["text"] for n in range(60) for one in record(n)["captions"]], 200).to_str())
    return CorpusTokenizer(str(file))


def steps(shards, tokenizer, pool, ranks=1, accumulate=1, workers=0):
    """The micro-batches of two steps of all ranks, by step and key."""
    source, found = Source(shards, RegionView(CaptionView()), negatives=pool), {}
    for rank in range(ranks):
        mixture = Mixture([source], seed=1, batch_size=12)
        loader = TrainLoader(mixture, Collator(tokenizer, None), accumulate, workers, rank, ranks)
        for step, batches in zip(range(2), loader, strict=False):
            for batch in batches:
                for row, key in enumerate(batch.keys):
                    pairs = batch.pairs[batch.group == row]
                    texts = [[i for i in batch.text.ids[text].tolist() if i] for text, _ in pairs.tolist()]
                    pictures = [int(batch.visual.features[picture, 0, 0]) for _, picture in pairs.tolist()]
                    found[step, key] = texts, pictures, batch.matched[batch.group == row].tolist()
    return found


def mentioned(text):
    return {i for i in range(8) if THINGS[i] in text or THINGS_ZH[i] in text}


@pytest.mark.parametrize("swap", ["text", "picture"])
def test_the_first_belongs_and_no_other_does(shards, tokenizer, swap):
    found = steps(shards, tokenizer, Pool(7, swap))
    assert len(found) == 24
    for (_, key), (texts, pictures, matched) in found.items():
        assert matched == [True] + [False] * 7
        told = [mentioned(tokenizer.decode(text)) for text in texts]
        assert pictures[0] == int(key)
        assert told[0] <= set(shown(int(key)))
        assert not any(one <= set(shown(picture)) for one, picture in zip(told[1:], pictures[1:], strict=True))
        if swap == "picture":
            assert len(set(pictures)) == 8
            assert texts == texts[:1] * 8
        else:
            assert pictures == [int(key)] * 8


@pytest.mark.parametrize("swap", ["text", "picture"])
def test_ranks_micro_batches_and_workers_change_nothing(shards, tokenizer, swap):
    alone = steps(shards, tokenizer, Pool(3, swap))
    assert steps(shards, tokenizer, Pool(3, swap), ranks=2) == alone
    assert steps(shards, tokenizer, Pool(3, swap), accumulate=3, workers=1) == alone


@pytest.mark.parametrize("number", [1, 2, 6, 97, 100])
def test_every_example_is_tried(number):
    for epoch in range(5):
        order = list(candidates(number, Draw.of(0, epoch, 0, torch.tensor([3]))))
        assert set(order) == set(range(number))
        assert len(set(order[64:])) == number - 1  # those that were not drawn, none twice


def test_refusals(shards, tokenizer):
    with pytest.raises(ValueError, match="the size of a pool is 0"):
        Pool(0)
    with pytest.raises(ValueError, match=r"only \d+ other samples have a text that does not match; the pool wants 60"):
        steps(shards, tokenizer, Pool(60))
