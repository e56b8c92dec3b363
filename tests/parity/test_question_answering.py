"""`VQA` and `VisualBertVQA` against Hugging Face's question-answering classes with random weights."""

import json

import torch
from streams import FEATURES, POSITIONS, VOCABULARY, WIDTH, build, ragged, shake
from torch.testing import assert_close
from transformers import (
    LxmertConfig,
    LxmertForQuestionAnswering,
    VisualBertConfig,
    VisualBertForQuestionAnswering,
)

from vl.checkpoints.lxmert import from_lxmert
from vl.checkpoints.names import heads, trunk
from vl.checkpoints.state import load_strict
from vl.checkpoints.visualbert import from_visualbert
from vl.tasks.visual_bert_vqa import VisualBertVQA
from vl.tasks.vqa import VQA

ANSWERS = 9


def load(task, model, state, head):
    """The trunk into the model, the head into the task."""
    task.setup(model)
    load_strict(model, trunk(state), "their trunk")
    task.head.load_state_dict({name.removeprefix(f"{head}."): value for name, value in heads(state).items()})
    return task.eval()


def same_answers(task, model, batch, theirs, tmp_path):
    ours = task.logits(model(batch), batch)
    assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    (tmp_path / "a.json").write_text(json.dumps([f"answer {number}" for number in range(ANSWERS)]))
    task.file = str(tmp_path / "a.json")
    batch.targets.update(id=("a", "b", "c", "d"), answers=([],) * 4, type=("",) * 4)
    given = [one["answer"] for one in task.predict(model, batch)]
    assert given == [f"answer {number}" for number in theirs.argmax(1).tolist()]
    assert len(set(given)) > 1


def test_lxmert(tmp_path):
    torch.manual_seed(1)
    config = LxmertConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_attention_heads=3, intermediate_size=40, l_layers=3, r_layers=2,
        x_layers=2, max_position_embeddings=POSITIONS, visual_feat_dim=FEATURES, num_qa_labels=ANSWERS,
    )  # fmt: skip
    theirs = shake(LxmertForQuestionAnswering(config)).eval()
    model, batch = build("lxmert"), ragged()
    task = load(VQA("", ANSWERS), model, from_lxmert(theirs.state_dict()), "answers")
    text, visual = batch.text, batch.visual
    scores = theirs(
        input_ids=text.ids, attention_mask=text.mask.float(), token_type_ids=text.segment, visual_feats=visual.features,
        visual_pos=visual.boxes, visual_attention_mask=visual.mask.float(),
    ).question_answering_score  # fmt: skip
    same_answers(task, model, batch, scores, tmp_path)


def test_visualbert(tmp_path):
    torch.manual_seed(1)
    config = VisualBertConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_attention_heads=3, intermediate_size=40, num_hidden_layers=2,
        max_position_embeddings=POSITIONS, visual_embedding_dim=FEATURES, num_labels=ANSWERS,
    )  # fmt: skip
    theirs = shake(VisualBertForQuestionAnswering(config)).eval()
    model, batch = build("visual_bert", segment=1), ragged()
    task = load(VisualBertVQA("", ANSWERS), model, from_visualbert(theirs.state_dict()), "vqa")
    text, visual = batch.text, batch.visual
    scores = theirs(
        input_ids=text.ids, attention_mask=text.mask.long(), token_type_ids=text.segment, visual_embeds=visual.features,
        visual_attention_mask=visual.mask.long(), visual_token_type_ids=torch.ones(visual.mask.shape, dtype=torch.long),
    ).logits  # fmt: skip
    same_answers(task, model, batch, scores, tmp_path)
