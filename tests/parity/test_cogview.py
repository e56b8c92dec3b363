"""CogView's transformer through its converter against a plain reference written after the released code's formulas."""

import importlib.util
from pathlib import Path

import torch
from torch.nn import functional as F

from vl.checkpoints.cogview import from_cogview, to_cogview

file = Path(__file__).parents[1] / "models/small_transformer.py"
spec = importlib.util.spec_from_file_location("small_transformer", file)
small = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small)


def norm(state, name, x):
    # The release divides by an eighth of the largest number; LayerNorm forgets the factor but for its eps.
    scaled = x / (x.abs().amax(-1, keepdim=True) / 8)
    return F.layer_norm(scaled, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def plain(state, ids, positions, heads, layers):
    x = state["word_embeddings.weight"][ids] + state["transformer.position_embeddings.weight"][positions]
    mask = torch.ones(len(ids), len(ids)).tril().bool()
    for i in range(layers):
        part = f"transformer.layers.{i}"

        def linear(name, y, part=part):
            return y @ state[f"{part}.{name}.weight"].T + state[f"{part}.{name}.bias"]

        q, k, v = linear("attention.query_key_value", norm(state, f"{part}.input_layernorm", x)).chunk(3, dim=1)
        out = []
        for q_, k_, v_ in zip(*(t.chunk(heads, dim=1) for t in (q, k, v)), strict=True):
            scores = (q_ / q_.shape[1] ** 0.5 @ k_.T).masked_fill(~mask, -1e4)
            out.append(scores.softmax(1) @ v_)
        attended = linear("attention.dense", torch.cat(out, 1))
        x = x + norm(state, f"{part}.third_layernorm", attended)
        hidden = linear("mlp.dense_h_to_4h", norm(state, f"{part}.post_attention_layernorm", x))
        hidden = 0.5 * hidden * (1 + torch.tanh(0.7978845608028654 * hidden * (1 + 0.044715 * hidden**2)))
        x = x + norm(state, f"{part}.fourth_layernorm", linear("mlp.dense_4h_to_h", hidden))
    return norm(state, "transformer.final_layernorm", x) @ state["word_embeddings.weight"].T


def test_logits_equal_the_plain_reference():
    model, batch = small.transformer("cogview", sandwich=True, max_scaled=True), small.batch()
    state = to_cogview(model.state_dict())
    tokens = model.sequence.whole(batch)
    with torch.no_grad():
        for row in range(3):
            real = tokens.real[row]
            expected = plain(state, tokens.ids[row][real], tokens.places[row][real], heads=4, layers=3)
            found = model.sequence.text_logits(model.run(tokens)[row][real])
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_names_go_both_ways_and_deepspeed_wrappers_are_read():
    model = small.transformer("cogview", sandwich=True, max_scaled=True)
    theirs = to_cogview(model.state_dict())
    assert "transformer.layers.0.attention.query_key_value.weight" in theirs
    again = from_cogview({"module": theirs, "iteration": 5})
    assert again.keys() == model.state_dict().keys()
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())
