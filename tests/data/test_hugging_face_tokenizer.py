"""A tokenizer.json of Hugging Face; tests/checkpoints/test_bundle.py compares its ids with open_clip's."""

import pytest
from open_clip.tokenizer import get_clean_fn
from tokenizers import Tokenizer as Core
from tokenizers import models, pre_tokenizers, processors

from vl.data.hugging_face_tokenizer import HuggingFaceTokenizer


@pytest.fixture
def file(tmp_path):
    core = Core(models.WordLevel({"<unk>": 0, "</s>": 1, "<s>": 2, "a": 3, "cat": 4}, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("<s>", 2), ("</s>", 1)]
    core.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    core.save(str(tmp_path / "tokenizer.json"))
    return str(tmp_path / "tokenizer.json")


def test_texts_are_cut_and_padded_to_the_longest(file):
    tokenizer = HuggingFaceTokenizer(file, "</s>", context_length=4)
    text = tokenizer.encode(["a cat cat cat", "cat"])
    assert text.ids.tolist() == [[2, 3, 4, 1], [2, 4, 1, 1]]
    assert text.mask.tolist() == [[True] * 4, [True, True, True, False]]
    assert (tokenizer.start_id, tokenizer.end_id, tokenizer.pad_id) == (2, 1, 1)


@pytest.mark.parametrize("clean", ["whitespace", "lower", "canonicalize"])
def test_texts_are_cleaned_as_open_clip_does(file, clean):
    tokenizer = HuggingFaceTokenizer(file, "</s>", clean=clean)
    for text in ("A  Cat!", "a_cat's &amp;amp; \n dog", "â€œquotedâ€\x9d Ünïcode", "猫。"):
        assert tokenizer.clean(text) == get_clean_fn(clean)(text)


def test_settings_name_a_tokenizer(file):
    one, other = (HuggingFaceTokenizer(file, "</s>", clean=clean) for clean in ("lower", "canonicalize"))
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == HuggingFaceTokenizer(file, clean="lower", pad_token="</s>").fingerprint


def test_what_cannot_work_is_refused(file, tmp_path):
    with pytest.raises(ValueError, match="has no token '<pad>' to pad with"):
        HuggingFaceTokenizer(file, "<pad>")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match=r"other\.json is no JSON of the `tokenizers` library"):
        HuggingFaceTokenizer(str(tmp_path / "other.json"), "</s>")
