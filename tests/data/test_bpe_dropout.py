"""BPE dropout against the probabilities of the paper's algorithm, worked out exactly, and beside the library's own."""

import pickle
from collections import Counter
from functools import cache
from itertools import chain, pairwise, product
from random import Random

import emoji
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer as Core
from tokenizers import models

from vl.data.bpe_dropout import BPEDropoutTokenizer, merge
from vl.data.collate import Collator
from vl.data.loader import TrainLoader
from vl.data.mixture import Mixture, Source
from vl.data.module import ShardData
from vl.data.order import Shuffle
from vl.data.shards import ShardWriter
from vl.data.tokenizers import SPECIAL_TOKENS, CorpusTokenizer, prepare_bert
from vl.data.views.caption import CaptionView
from vl.data.views.codes import CodesView, write_codes
from vl.data.vocabulary import train_tokenizer
from vl.draw import Draw

ODD = ["", "   ", "x" * 90, "é\u0301 \x00 don't", "[MASK] [SEP] x", "🐙🦊 unseen", "第123张图", "a-b_c/d"]
TRIALS = 8000


@pytest.fixture(scope="module")
def texts():
    """Names of emoji in English and Chinese, and odd texts."""
    emoji.config.load_language(["en", "zh"])
    entries = list(emoji.EMOJI_DATA.values())[::5]
    names = [entry[name].strip(":").replace("_", " ") for entry in entries for name in ("en", "zh") if name in entry]
    return ODD + names


@pytest.fixture(scope="module")
def file(tmp_path_factory, texts):
    file = tmp_path_factory.mktemp("bpe") / "bpe.json"
    file.write_text(train_tokenizer(texts[len(ODD) :], 2000, "bpe").to_str())
    return str(file)


def draws(number, epoch=0):
    return Draw.of(0, epoch, 0, torch.arange(number))


def rows(text):
    return [ids[mask].tolist() for ids, mask in zip(text.ids, text.mask, strict=True)]


@pytest.mark.parametrize("context_length", [64, 6])
def test_nothing_is_dropped_at_0_or_without_numbers(file, texts, context_length):
    expected = CorpusTokenizer(file, context_length).encode(texts, [0] * len(texts))
    for dropout, draw in ((0.0, draws(len(texts))), (0.5, None)):
        text = BPEDropoutTokenizer(file, context_length, dropout).encode(texts, [0] * len(texts), draw)
        for name in ("ids", "mask", "words", "language"):
            assert torch.equal(getattr(text, name), getattr(expected, name)), name


def test_characters_are_left_at_1(file, texts):
    core, known = CorpusTokenizer(file)._core, texts[len(ODD) :]
    text = BPEDropoutTokenizer(file, 200, 1.0).encode(known, draw=draws(len(known)))
    for ids, name in zip(rows(text), known, strict=True):
        normal = core.normalizer.normalize_str(name)
        assert [core.id_to_token(token).removesuffix("</w>") for token in ids[1:-1]] == list("".join(normal.split()))


def test_cut_texts_spell_the_same_and_know_their_words(file, texts):
    tokenizer = BPEDropoutTokenizer(file, 200, 0.5)
    whole, text = tokenizer.encode(texts), tokenizer.encode(texts, draw=draws(len(texts)))
    assert [tokenizer.decode(ids) for ids in rows(text)] == [tokenizer.decode(ids) for ids in rows(whole)]
    assert text.mask.sum() > 1.3 * whole.mask.sum()
    assert torch.equal(text.words.amax(1), whole.words.amax(1))
    assert (text.words[~text.mask] == -1).all()
    assert (text.ids[~text.mask] == tokenizer.pad_id).all()
    ends = text.mask.sum(1) - 1
    assert (text.ids[:, 0] == tokenizer.start_id).all()
    assert (text.ids[torch.arange(len(texts)), ends] == tokenizer.end_id).all()
    short = BPEDropoutTokenizer(file, 6, 0.5).encode(texts, draw=draws(len(texts)))
    assert rows(short) == [ids if len(ids) <= 6 else ids[:5] + ids[-1:] for ids in rows(text)]


def exact(tokens, merges, dropout):
    """The probability of every result of the paper's algorithm 1, over all sets of merges that a round may drop."""

    @cache
    def results(tokens):
        found = [(*merges[pair], place) for place, pair in enumerate(pairwise(tokens)) if pair in merges]
        total = Counter()
        for kept in product([False, True], repeat=len(found)):
            prob = (1 - dropout) ** sum(kept) * dropout ** (len(found) - sum(kept))
            if not any(kept):
                total[tokens] += prob
                continue
            _, new, place = min(merge for merge, keep in zip(found, kept, strict=True) if keep)
            for result, p in results((*tokens[:place], new, *tokens[place + 2 :])).items():
                total[result] += prob * p
        return total

    return results(tuple(tokens))


def spelt(file, words):
    """The characters of some words as ids, and the merges of a tokenizer."""
    tokenizer = BPEDropoutTokenizer(file, 64, 1.0)
    return [ids[1:-1] for ids in rows(tokenizer.encode(words, draw=draws(len(words))))], tokenizer._merges


def deviation(counts, probs):
    """How far counts are from their expectation, in standard deviations, at worst."""
    number = sum(counts.values())
    return max(
        abs(counts[result] - number * p) / (number * p * (1 - p)) ** 0.5
        for result, p in probs.items()
        if number * p * (1 - p) > 20
    )


@pytest.mark.parametrize("dropout", [0.1, 0.5])
def test_results_have_the_probabilities_of_the_papers_algorithm(file, dropout):
    spelling, merges = spelt(file, ["woman", "smiling", "red", "building"])
    for tokens in spelling:
        probs = exact(tokens, merges, dropout)
        assert sum(probs.values()) == pytest.approx(1)
        random = Random(0)
        counts = Counter(tuple(merge(tokens, merges, dropout, random)) for _ in range(4000))
        assert counts.keys() <= probs.keys()
        assert deviation(counts, probs) < 4


def test_the_library_drops_less_because_of_dead_entries(tmp_path):
    """Its queue keeps merges whose tokens are gone, and taking one of those brings dropped merges back: of "abc", with
    the merges a b, ab c and b c, the entry b c gives ab c a second chance."""
    special = {token: number for number, token in enumerate(SPECIAL_TOKENS)}
    vocab = special | {token: number for number, token in enumerate(["a", "b", "c", "ab", "abc", "bc"], 5)}
    core = Core(models.BPE(vocab, [("a", "b"), ("ab", "c"), ("b", "c")], unk_token="[UNK]"))
    prepare_bert(core, lowercase=True)
    core.save(str(tmp_path / "abc.json"))
    texts = ["abc"] * TRIALS
    tokenizer = BPEDropoutTokenizer(str(tmp_path / "abc.json"), dropout=0.5)
    assert np.mean([len(ids) == 3 for ids in rows(tokenizer.encode(texts, draw=draws(TRIALS)))]) == near(0.5 * 0.5)
    core.model.dropout = 0.5
    assert np.mean([len(row.ids) == 3 for row in core.encode_batch(texts)]) == near(0.5 * (0.5 + 0.5 * 0.5 * 0.5))


def near(prob):
    """Within four standard deviations of the trials."""
    return pytest.approx(prob, abs=4 * (prob * (1 - prob) / TRIALS) ** 0.5)


def test_a_corpus_is_cut_as_often_as_its_words_should_be(file, texts):
    """The mean number of tokens of a corpus: from the exact probabilities of its words, and beside the library's."""
    words = sorted({word for name in texts[len(ODD) :] for word in name.split() if word.isalpha() and len(word) < 8})
    spelling, merges = spelt(file, words)
    expected = sum(sum(len(result) * p for result, p in exact(tokens, merges, 0.1).items()) for tokens in spelling)
    tokenizer = BPEDropoutTokenizer(file, 64, 0.1)
    seen = np.mean([int(tokenizer.encode(words, draw=draws(len(words), e)).mask.sum()) for e in range(5)])
    assert seen - 2 * len(words) == pytest.approx(expected, rel=0.01)
    library = CorpusTokenizer(file)._core
    library.model.dropout = 0.1
    theirs = np.mean([sum(sum(row.attention_mask) for row in library.encode_batch(words)) for _ in range(5)])
    assert tokenizer.lengths(words).sum() < theirs < seen < 1.05 * theirs


def test_an_example_is_cut_by_its_own_numbers_alone(file, texts):
    tokenizer, draw = BPEDropoutTokenizer(file, 64, 0.5), draws(len(texts))
    whole = rows(tokenizer.encode(texts, draw=draw))
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))
    shuffled = rows(tokenizer.encode([texts[i] for i in order], draw=Draw(draw.key, draw.examples[order])))
    assert shuffled == [whole[i] for i in order]
    sent = pickle.loads(pickle.dumps(tokenizer))
    assert rows(sent.encode(texts[20:21], draw=Draw(draw.key, draw.examples[20:21]))) == whole[20:21]
    assert rows(tokenizer.encode(texts, draw=draws(len(texts), epoch=1))) != whole
    twice = rows(tokenizer.encode(["smiling"] * 2, draw=Draw(draw.key, torch.tensor([3, 3]))))
    assert twice[0] == twice[1]


@pytest.fixture(scope="module")
def shards(tmp_path_factory, texts):
    """Codes with two captions each."""
    folder = tmp_path_factory.mktemp("shards")
    codes = write_codes(np.arange(4), "x")
    with ShardWriter(folder, "train", max_count=9) as writer:
        for number in range(24):
            record = {"captions": [{"text": text} for text in texts[8 + 2 * number : 10 + 2 * number]]}
            writer.write(str(number), {"codes.npy": codes, "json": record})
    return f"{folder}/*.tar"


def cut(batches):
    """(key, ids) of every example, sorted."""
    return sorted(one for batch in batches for one in zip(batch.keys, rows(batch.text), strict=True))


def steps(loaders, first=0):
    """The texts of each step's global batch."""
    for loader in loaders:
        loader.load_state_dict({"steps": first})
    return [cut(chain(*items)) for items in zip(*loaders, strict=True)]


def test_training_drops_the_same_on_any_ranks_and_workers_and_evaluation_never(file, shards):
    tokenizer = BPEDropoutTokenizer(file, 64, 0.5)
    source = Source(shards, CodesView(CaptionView(choose="first")), name="a")
    data = ShardData([source], tokenizer, None, 8, {"a": source})
    whole = steps([data.train_dataloader()])
    assert len(whole) == 3
    mixture = Mixture([source], 0, 8, Shuffle(), tokenizer)
    collator = Collator(tokenizer, None, chance=True)
    split = [TrainLoader(mixture, collator, 2, 1 - rank, rank, 2) for rank in range(2)]
    assert steps(split, first=1)[: len(whole) - 1] == whole[1:]
    samples = [source.opened.read(number) for number in range(24)]
    plain = rows(CorpusTokenizer(file).encode([sample.record.captions[0].text for sample in samples]))
    whole_words = cut(data.val_dataloader()["a"])
    assert whole_words == sorted(zip([sample.key for sample in samples], plain, strict=True))
    assert sum(one != other for one, other in zip(sorted(chain(*whole)), whole_words, strict=True)) > 12


def test_the_dropout_is_part_of_the_fingerprint(file):
    tokenizers = [BPEDropoutTokenizer(file), BPEDropoutTokenizer(file, dropout=0.2), CorpusTokenizer(file)]
    assert len({tokenizer.fingerprint for tokenizer in tokenizers}) == 3
    assert tokenizers[0].settings() == {"context_length": 64, "dropout": 0.1}


def test_what_cannot_work_is_refused(file, tmp_path, texts):
    with pytest.raises(ValueError, match="a probability, from 0 to 1"):
        BPEDropoutTokenizer(file, dropout=10.0)
    other = tmp_path / "unigram.json"
    other.write_text(train_tokenizer(texts, 1500, "unigram").to_str())
    with pytest.raises(ValueError, match="holds a Unigram, which has no merges to drop"):
        BPEDropoutTokenizer(str(other))
    with pytest.raises(ValueError, match="single texts"):
        BPEDropoutTokenizer(file).encode([("a", "b")], draw=draws(1))
