import io

import numpy as np
import pytest
import torch

from vl.data.collate import Collator
from vl.data.sample import Sample
from vl.data.stages import BadMember
from vl.data.views.caption import CaptionView
from vl.data.views.codes import CoarseCodesView, CodesView, read_codes, write_codes
from vl.draw import Draw

DRAW = Draw.of(0, 0, 0, torch.tensor([0]))
RECORD = b'{"captions": [{"text": "a cat"}, {"text": "cats", "language": "en"}, {"text": "mao", "language": "zh"}]}'


def sample(codes=(3, 1, 2, 500), mark="abc", **members):
    return Sample("k", {"json": RECORD, "codes.npy": write_codes(np.array(codes), mark), **members})


def test_codes_keep_the_name_of_their_tokenizer_and_stay_readable():
    data = write_codes(np.array([1, 2, 70000]), "0123456789abcdef")
    codes, mark = read_codes(data)
    assert codes.tolist() == [1, 2, 70000]
    assert mark == "0123456789abcdef"
    assert np.load(io.BytesIO(data)).tolist() == [1, 2, 70000]
    plain = io.BytesIO()
    np.save(plain, np.array([[1, 2], [3, 4]]))
    assert read_codes(plain.getvalue())[1] == ""
    assert read_codes(plain.getvalue())[0].tolist() == [1, 2, 3, 4]


def test_codes_of_another_tokenizer_are_an_error():
    assert CodesView(codes_of="abc").example(sample(), 0, DRAW).targets["codes"].tolist() == [3, 1, 2, 500]
    with pytest.raises(TypeError, match="its codes are of the tokenizer abc, not xyz"):
        CodesView(codes_of="xyz").example(sample(), 0, DRAW)
    with pytest.raises(BadMember, match=r"no codes\.npy"):
        Collator(None, None).read(CodesView(), Sample("k", {"json": RECORD}), 0, DRAW)


def test_a_batch_holds_codes():
    example = CodesView().example(sample(), 0, DRAW)
    batch = Collator(None, None)([example.__class__(example.key, targets=example.targets)] * 2)
    assert batch.codes.shape == (2, 4)
    assert "codes" not in batch.targets


def test_coarse_codes_stand_beside():
    member = {"coarse.npy": write_codes(np.array([7]), "abc")}
    targets = CoarseCodesView().example(sample(**member), 0, DRAW).targets
    assert targets["coarse"].tolist() == [7]
    with pytest.raises(ValueError, match="--coarse"):
        CoarseCodesView().example(sample(), 0, DRAW)


def test_first_captions_are_drawn_between_languages():
    view, seen = CaptionView(choose="first"), set()
    record = sample().record
    assert view.count(record) == 1
    assert view.texts(record) == [("a cat", "mao")]
    for epoch in range(20):
        seen.add(view.choose_caption(sample(), 0, Draw.of(0, epoch, 0, torch.tensor([0])))[0])
    assert seen == {"a cat", "mao"}
