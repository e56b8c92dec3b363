"""Tokenizers against open_clip's and Hugging Face's, and those trained on a corpus."""

import pickle
import random
import runpy
import string
import sys

import emoji
import open_clip
import pytest
import torch
from transformers import BertTokenizer

from vl.data.shards import ShardWriter
from vl.data.tokenizers import SPECIAL_TOKENS, ClipTokenizer, CorpusTokenizer, Tokenizer, WordPieceTokenizer
from vl.data.vocabulary import captions, content_ids, extend_vocab, train_tokenizer, word_ids

ODD = [
    "", "   ", "a &amp; b &lt;br&gt;", "don't WON'T I'LL", "schön naïve ﬁre", "<start_of_text> hi <end_of_text>",
    "x" * 500, "hello world " * 80, "it’s “quoted”", "数字123 456", "été\u0301 \x00 \x1b[31m", "Ünï¢ødé 𝒳",
    "İstanbul ŞŞ ǅ", "¼ ½ ² ⅷ", "A\u200bB", "ＦＵＬＬ width", "tab\tand\nline", "'S 'T", "[MASK] [SEP] x", "🐙🦊",
]  # fmt: skip


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Emoji names in five languages, random ASCII and the odd ones."""
    languages = ["en", "zh", "ja", "ru", "ar"]
    emoji.config.load_language(languages)
    entries = list(emoji.EMOJI_DATA.values())[::5]
    names = [entry[name].strip(":").replace("_", " ") for entry in entries for name in languages if name in entry]
    generator = random.Random(0)
    noise = ["".join(generator.choices(string.printable, k=generator.randint(1, 60))) for _ in range(300)]
    return [*ODD, *names, *noise]


@pytest.fixture(scope="module")
def vocab(tmp_path_factory, texts) -> str:
    """A small vocab.txt with words, pieces and characters."""
    core = train_tokenizer(texts[: len(texts) // 2], 2500)
    file = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    entries = core.get_vocab()
    file.write_text("\n".join(sorted(entries, key=entries.get)) + "\n")
    return str(file)


@pytest.mark.parametrize("context_length", [77, 8])
def test_clip_ids_are_open_clips(texts, context_length):
    expected = open_clip.SimpleTokenizer()(texts, context_length=context_length)
    text = ClipTokenizer(context_length=context_length).encode(texts)
    longest = text.ids.shape[1]
    assert torch.equal(text.ids, expected[:, :longest])
    assert not expected[:, longest:].any()
    last = expected.shape[1] - (expected.flip(1) == 49407).long().argmax(1)  # 0 pads, but is `!` as well
    assert torch.equal(text.mask.sum(1), last)


def test_printable_ascii_needs_no_cleaning(texts):
    """The shortcut of ClipTokenizer.clean equals the slow way."""
    from open_clip.tokenizer import _clean_lower

    generator = random.Random(1)
    noise = ["".join(generator.choices(string.printable[:95], k=40)) for _ in range(2000)]
    clean = ClipTokenizer().clean
    assert [clean(text) for text in [*noise, *texts]] == [_clean_lower(text) for text in [*noise, *texts]]


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("context_length", [64, 7])
def test_wordpiece_ids_are_hugging_faces(vocab, texts, lowercase, context_length):
    reference = BertTokenizer(vocab=vocab, do_lower_case=lowercase)
    expected = reference(texts, truncation=True, max_length=context_length, padding=True, return_tensors="pt")
    text = WordPieceTokenizer(vocab, lowercase, context_length).encode(texts)
    assert torch.equal(text.ids, expected["input_ids"])
    assert torch.equal(text.mask.long(), expected["attention_mask"])
    assert text.ids.unique().numel() > 500


def test_pairs_of_texts_are_hugging_faces(vocab):
    pairs = [("two red foxes", "how many?"), ("章鱼", "is it blue or green, and why?")]
    expected = BertTokenizer(vocab=vocab)(*map(list, zip(*pairs, strict=True)), padding=True, return_tensors="pt")
    text = WordPieceTokenizer(vocab).encode(pairs)
    assert torch.equal(text.ids, expected["input_ids"])
    assert torch.equal(text.segment, expected["token_type_ids"] * text.mask)
    words = text.words[1][text.words[1] >= 0]
    assert words.tolist() == sorted(words.tolist())
    assert text.words[1][text.segment[1] == 1].max() > text.words[1][text.segment[1] == 0].max()


def test_words_count_words_and_skip_special_tokens(vocab):
    tokenizer = WordPieceTokenizer(vocab)
    text = tokenizer.encode(["unbelievably red", "章鱼"], languages=[0, 1])
    assert text.words[0][0] == text.words[0][text.mask[0].sum() - 1] == -1
    inner = text.words[0][1 : text.mask[0].sum() - 1].tolist()
    assert inner[-1] == 1
    assert inner.count(0) > 1, "one word, several pieces"
    assert text.words[1][:4].tolist() == [-1, 0, 1, -1], "Chinese characters stand alone"
    assert (text.words[1][~text.mask[1]] == -1).all()
    assert text.language.tolist() == [0, 1]


def test_nothing_is_padded_past_the_longest():
    tokenizer = ClipTokenizer()
    assert tokenizer.encode(["a cat"]).ids.shape == (1, 4)
    assert tokenizer.encode(["a cat", "a cat on a mat"]).ids.shape == (2, 7)
    assert tokenizer.lengths(["a cat", "a cat on a mat", "cat " * 99]).tolist() == [4, 7, 77]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_a_trained_tokenizer_spells_its_corpus(tmp_path, texts, kind):
    corpus = [text for text in texts[len(ODD) :] if text.isprintable()][:2000]
    file = tmp_path / "corpus.json"
    file.write_text(train_tokenizer(corpus, 4000, kind).to_str())
    tokenizer = CorpusTokenizer(str(file), context_length=40)
    assert [tokenizer._core.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    assert tokenizer.unknown_rate(corpus) == 0 if kind != "unigram" else tokenizer.unknown_rate(corpus) < 0.01
    assert tokenizer.unknown_rate(["𓂀𓂀"]) == 1.0
    text = tokenizer.encode(["章鱼", "Red FOX"])
    assert text.ids[0][0] == tokenizer.start_id
    assert tokenizer.mask_id == 4
    assert torch.equal(text.ids[1], tokenizer.encode(["red fox", "章鱼"]).ids[0])
    if kind != "unigram":
        assert tokenizer.decode(text.ids[1].tolist()) == "red fox"


def test_merged_chinese_has_tokens_of_several_characters(tmp_path):
    corpus = 9 * [f"有一个{colour}{thing}。" for colour in ("紫色的", "绿色的") for thing in ("灭火器", "饼干")]
    spelled = []
    for split in (True, False):
        file = tmp_path / f"{split}.json"
        file.write_text(train_tokenizer(corpus, 60, "bpe", split_chinese=split).to_str())
        tokenizer = CorpusTokenizer(str(file))
        assert tokenizer.unknown_rate(corpus) == 0
        spelled.append([tokenizer._core.id_to_token(i) for i in tokenizer.encode(corpus[1:2]).ids[0][1:-1]])
    apart, merged = spelled
    assert apart == [f"{character}</w>" for character in "有一个紫色的饼干。"]
    assert len(merged) < len(apart)


def test_content_words_are_those_that_are_rare(tmp_path):
    corpus = [f"there is a {colour} {thing}." for colour in ("red", "blue") for thing in ("whale", "chair")]
    (tmp_path / "corpus.json").write_text(train_tokenizer(9 * corpus, 80).to_str())
    tokenizer = CorpusTokenizer(str(tmp_path / "corpus.json"))
    content = content_ids(corpus, tokenizer, share=0.1)
    assert {tokenizer._core.id_to_token(i) for i in content} == {"red", "blue", "whale", "chair"}


def test_word_ids_are_lists_of_tokens_that_may_stand_for_one_another(tmp_path):
    corpus = 30 * ["the top left laptop is right", "位于左边的猫", "在狗的左边", "位于右边的鸟", "在狗的右边"]
    (tmp_path / "corpus.json").write_text(train_tokenizer(corpus, 200, "bpe", split_chinese=False).to_str())
    tokenizer = CorpusTokenizer(str(tmp_path / "corpus.json"))
    entries = {id_: entry.removesuffix("</w>") for entry, id_ in tokenizer.vocab.items()}
    found = [{entries[i] for i in ids} for ids in word_ids(tokenizer, [["top"], ["left", "right"], ["左边", "右边"]])]
    assert {"top"} in found  # not laptop
    assert {"left", "right"} in found
    chinese = [group for group in found if not any(entry.isascii() for entry in group)]
    assert len(chinese) > 1
    for group in chinese:
        assert len({entry.replace("左边", "右边") for entry in group}) == 1  # of one list, and with the same rest
    with pytest.raises(ValueError, match="'above'"):
        word_ids(tokenizer, [["left", "above"]])


def test_more_characters_than_entries_is_an_error(texts):
    with pytest.raises(ValueError, match="raise vocab_size"):
        train_tokenizer(texts, 300)


def test_an_extended_vocabulary_spells_the_corpus_and_keeps_its_ids(tmp_path, vocab, texts):
    corpus = ["龘龘 齉", "Žluťoučký kůň", "red"]
    before = WordPieceTokenizer(vocab)
    assert before.unknown_rate(corpus) > 0.2
    entries = extend_vocab(vocab, corpus)
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(entries) + "\n")
    after = WordPieceTokenizer(str(file))
    assert after.unknown_rate(corpus) == 0
    assert entries[: before.vocab_size] == before.files()["vocab.txt"].decode().rstrip("\n").split("\n")
    assert entries[before.vocab_size] == "龘"
    known = [text for text in texts if before.unknown_rate([text]) == 0]
    assert torch.equal(before.encode(known).ids, after.encode(known).ids)


def every_tokenizer(vocab: str, folder) -> list[Tokenizer]:
    file = folder / "corpus.json"
    file.write_text(train_tokenizer(["red fox", "章鱼"], 60).to_str())
    return [ClipTokenizer(), WordPieceTokenizer(vocab), CorpusTokenizer(str(file))]


def test_files_rebuild_a_tokenizer(tmp_path, vocab):
    for tokenizer in every_tokenizer(vocab, tmp_path):
        ((name, content),) = tokenizer.files().items()
        place = tmp_path / "copy"
        place.mkdir(exist_ok=True)
        (place / name).write_bytes(content)
        again = type(tokenizer)(str(place / name))
        assert again.fingerprint == tokenizer.fingerprint
        assert torch.equal(again.encode(["a red fox"]).ids, tokenizer.encode(["a red fox"]).ids)
        sent = pickle.loads(pickle.dumps(tokenizer))
        assert torch.equal(sent.encode(["a red fox", "b"]).ids, tokenizer.encode(["a red fox", "b"]).ids)


def test_the_fingerprint_names_content_and_settings(vocab):
    prints = {
        WordPieceTokenizer(vocab).fingerprint,
        WordPieceTokenizer(vocab, lowercase=False).fingerprint,
        WordPieceTokenizer(vocab, context_length=9).fingerprint,
        ClipTokenizer().fingerprint,
    }
    assert len(prints) == 4


def test_what_cannot_work_is_refused(tmp_path, vocab):
    (tmp_path / "bad.txt").write_text("red\nfox\n")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ValueError, match=r"bad.txt lacks the tokens \[PAD\], \[UNK\]"):
        WordPieceTokenizer(str(tmp_path / "bad.txt"))
    with pytest.raises(ValueError, match=r"bad.json is no JSON of the `tokenizers` library"):
        CorpusTokenizer(str(tmp_path / "bad.json"))
    with pytest.raises(ValueError, match=r"there is no vocabulary nowhere.txt"):
        WordPieceTokenizer("nowhere.txt")
    with pytest.raises(ValueError, match="single texts"):
        ClipTokenizer().encode([("a", "b")])
    with pytest.raises(ValueError, match="context_length must be at least 3"):
        ClipTokenizer(context_length=2)


@pytest.mark.parametrize("extend", [False, True])
def test_the_tool_writes_what_the_classes_read(tmp_path, vocab, monkeypatch, capsys, extend):
    with ShardWriter(tmp_path, "train") as writer:
        for number, text in enumerate(["a red fox", "龘鱼", "two foxes"]):
            captions_ = [{"text": text, "language": "zh" if number == 1 else "en"}]
            writer.write(str(number), {"jpg": b"unread", "json": {"captions": captions_}})
    out = tmp_path / ("vocab.txt" if extend else "corpus.json")
    options = ["--extend", vocab] if extend else ["--vocab-size", "80"]
    monkeypatch.setattr(sys, "argv", ["x", "--data", f"{tmp_path}/*.tar", "--out", str(out), "--quick", *options])
    runpy.run_path("tools/train_tokenizer.py", run_name="__main__")
    assert "0.00% unknown" in capsys.readouterr().out
    tokenizer = WordPieceTokenizer(str(out)) if extend else CorpusTokenizer(str(out))
    assert tokenizer.unknown_rate(list(captions(f"{tmp_path}/*.tar"))) == 0
    assert list(captions(f"{tmp_path}/*.tar", ("zh",))) == ["龘鱼"]
