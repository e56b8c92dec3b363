"""BERT as the start of region models: a Hugging Face folder, read as a run reads it."""

import pytest
import torch
from streams import POSITIONS, VOCABULARY, WIDTH, build, ragged, shake
from torch.testing import assert_close
from transformers import BertConfig, BertForPreTraining

from vl.batch import Batch
from vl.checkpoints.start_regions import BertWeights, RegionWeights
from vl.checkpoints.uniter import to_uniter
from vl.checkpoints.vilbert import to_vilbert


@pytest.fixture(scope="module")
def bert():
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_attention_heads=3,
        num_hidden_layers=4,
        intermediate_size=40,
        max_position_embeddings=POSITIONS,
    )
    torch.manual_seed(3)
    return shake(BertForPreTraining(config)).eval()


@pytest.fixture(scope="module")
def folder(bert, tmp_path_factory):
    path = tmp_path_factory.mktemp("bert")
    bert.save_pretrained(path)
    return str(path)


def states(bert, text):
    """Hidden states after the embeddings and after every layer, and the pooled vector."""
    arguments = {"input_ids": text.ids, "attention_mask": text.mask.long(), "token_type_ids": text.segment}
    output = bert.bert(**arguments, output_hidden_states=True)
    return output.hidden_states, output.pooler_output


@pytest.mark.parametrize("name", ["uniter", "visual_bert"])
@pytest.mark.parametrize("layers", [4, 2])
def test_a_single_stream_without_regions_is_bert(bert, folder, name, layers):
    model, text = build(name, layers=layers), ragged().text
    BertWeights(folder)(model)
    output, (hidden, pooled) = model(Batch(text=text)), states(bert, text)
    assert_close(output.text[text.mask], hidden[layers][text.mask], rtol=1e-5, atol=1e-5)
    if layers == 4:
        assert_close(output.pooled, pooled, rtol=1e-5, atol=1e-5)


def test_visual_tables_begin_as_copies(bert, folder):
    model = build("visual_bert")
    before = model.visual.projection.weight.clone()
    BertWeights(folder)(model)
    embeddings = bert.bert.embeddings
    assert torch.equal(model.visual.segment.weight, embeddings.token_type_embeddings.weight)
    assert torch.equal(model.visual.position.weight, embeddings.position_embeddings.weight)
    assert torch.equal(model.visual.projection.weight, before)


@pytest.mark.parametrize(("name", "alone"), [("lxmert", 3), ("vilbert", 2)])
def test_the_words_of_two_streams_are_berts(bert, folder, name, alone):
    model, text = build(name), ragged().text
    visual = {n: p.clone() for n, p in model.named_parameters() if "visual" in n}
    BertWeights(folder)(model)
    x, packing = model.text(text)
    hidden, _ = states(bert, text)
    assert_close(x, hidden[0][text.mask], rtol=1e-5, atol=1e-5)
    assert_close(model.encoder.run_text(x, packing), hidden[alone][text.mask], rtol=1e-5, atol=1e-5)
    assert all(torch.equal(model.get_parameter(n), value) for n, value in visual.items())


def test_a_bert_that_does_not_fit(folder):
    with pytest.raises(ValueError, match=r"lacks encoder\.layers\.4\.attention.*fewer layers"):
        BertWeights(folder)(build("uniter", layers=5))
    model = build("uniter")
    model.text.word = torch.nn.Embedding(VOCABULARY + 1, WIDTH)
    with pytest.raises(ValueError, match=r"does not fit SingleStream: size mismatch for text\.word\.weight"):
        BertWeights(folder)(model)


@pytest.mark.parametrize(("name", "convert"), [("uniter", to_uniter), ("vilbert", to_vilbert)])
def test_a_released_file_starts_a_model(tmp_path, name, convert):
    donor, batch = build(name), ragged()
    shake(donor)
    weights = convert(donor.state_dict() | {"heads.itm.bias": torch.zeros(2)})
    torch.save({f"module.{key}": value for key, value in weights.items()}, tmp_path / "released.pt")
    model = build(name)
    assert not torch.allclose(model(batch).pooled, donor(batch).pooled)
    RegionWeights(str(tmp_path / "released.pt"), name)(model)
    assert_close(model(batch).pooled, donor(batch).pooled, rtol=0, atol=0)
