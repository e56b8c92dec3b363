import importlib.util
from dataclasses import replace
from math import log
from pathlib import Path

import pytest
import torch

from vl.batch import Text
from vl.models.autoregressive import Autoregressive
from vl.models.causal_attention import Attention, RelaxedAttention, SparseAttention
from vl.models.causal_block import CausalBlock, MaxScaledNorm
from vl.models.decoding import Decoder, SplitProduct
from vl.models.image_masks import KINDS
from vl.models.token_sequence import CogViewTokens, DalleTokens
from vl.objectives.ar_tokens import ARTokens

spec = importlib.util.spec_from_file_location("small_transformer", Path(__file__).with_name("small_transformer.py"))
small = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small)

CAUSAL = torch.ones(12, 12, dtype=torch.bool).tril()[None, None]


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_sizes():
    with torch.device("meta"):
        dalle = Autoregressive(DalleTokens(3968), 64, 62, "dalle")
        cogview = Autoregressive(CogViewTokens(2560), 48, 40, sandwich=True, max_scaled=True)
    assert count(dalle.layers) == 12_095_479_808
    assert count(cogview) == 3_928_796_160
    assert cogview.sequence.vocab_size == 58_219
    assert cogview.sequence.position_embedding.num_embeddings == 1089


@pytest.mark.parametrize("candidates", [1, 2])
@pytest.mark.parametrize("sequence", ["dalle", "cogview", "aligned"])
@pytest.mark.parametrize("patterns", [*([kind] for kind in KINDS), "dalle"])
def test_cached_logits_equal_uncached_ones(sequence, patterns, candidates):
    model, batch = small.transformer(sequence, patterns, sandwich=True, max_scaled=True), small.batch()
    with torch.inference_mode():
        expected = model.sequence.code_logits(model(batch).visual)[:, :16]
        decoder = Decoder(model, batch, candidates)
        found = [decoder.logits()]
        for i in range(15):
            decoder.step(batch.codes[:, i].repeat_interleave(candidates))
            found.append(decoder.logits())
    found = torch.stack(found, 1).unflatten(0, (3, candidates))
    assert expected.abs().max() > 0.5
    torch.testing.assert_close(found, expected[:, None].expand_as(found), atol=1e-5, rtol=0)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(("inputs", "outputs"), [(8, 12), (12, 8), (8, 9)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_product_in_shares_is_the_whole_product(monkeypatch, rows, inputs, outputs, has_bias):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    torch.manual_seed(0)
    x, weight, bias = torch.randn(rows, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
    kept = bias if has_bias else None
    found = SplitProduct(weight, kept, rows)(x)
    torch.testing.assert_close(found, torch.nn.functional.linear(x, weight, kept))


@pytest.mark.parametrize("sequence", ["dalle", "cogview"])
def test_no_token_sees_a_later_one(sequence):
    model, batch = small.transformer(sequence), small.batch()
    changed = replace(batch, codes=batch.codes.clone())
    changed.codes[:, 9] = (changed.codes[:, 9] + 1) % 32
    with torch.no_grad():
        before, after = model(batch), model(changed)
    torch.testing.assert_close(before.text, after.text)
    torch.testing.assert_close(before.visual[:, :10], after.visual[:, :10])
    assert (before.visual[:, 10] - after.visual[:, 10]).abs().max() > 1e-3


@pytest.mark.parametrize("sequence", ["cogview", "aligned"])
def test_a_padded_text_counts_as_the_short_one(sequence):
    model, batch = small.transformer(sequence), small.batch()
    alone = replace(batch, text=batch.text.rows(torch.tensor([1])), codes=batch.codes[1:2])
    alone = replace(alone, text=replace(alone.text, ids=alone.text.ids[:, :5], mask=alone.text.mask[:, :5]))
    with torch.no_grad():
        torch.testing.assert_close(model(alone).visual, model(batch).visual[1:2], atol=1e-5, rtol=1e-5)


def test_sequences():
    batch = small.batch()
    dalle = small.transformer("dalle").sequence
    ids = dalle.whole(batch).ids
    assert ids.shape == (3, 9 + 16)
    assert ids[1, 5:9].tolist() == [32 + 40 + place for place in range(5, 9)]  # a pad token of its own for each place
    cogview = small.transformer("cogview").sequence
    ids, places, real, start = cogview.whole(batch)
    command = cogview.command
    assert ids[1, 2] == command("ROI1")
    assert ids[1, start - 2 : start].tolist() == [command("BASE"), command("BOI1")]
    assert ids[1, 3:6].tolist() == (32 + batch.text.ids[1, 1:4]).tolist()
    assert ids[:, -1].tolist() == [command("EOI1")] * 3
    assert places[1][real[1]].tolist() == list(range(6 + 17))
    assert real.sum(1).tolist() == [8 + 17, 6 + 17, 3 + 17]
    with pytest.raises(ValueError, match="lower the tokenizer's context_length"):
        cogview.check(Text(torch.zeros(1, 10, dtype=torch.long), torch.ones(1, 10, dtype=torch.bool)))


def test_aligned_codes_stand_at_the_same_places_after_texts_of_any_length():
    batch, sequence = small.batch(), small.transformer("aligned").sequence
    _, places, real, start = sequence.whole(batch)
    assert (places[:, start:] == torch.arange(10, 10 + 17)).all()
    assert [places[row][real[row]].tolist() for row in range(3)] == [list(range(first, 27)) for first in (2, 4, 7)]
    assert sequence.position_embedding.num_embeddings == 27


def test_sandwich_norm_forgets_the_scale_of_a_branch():
    torch.manual_seed(0)
    block, x = CausalBlock(32, 4, MaxScaledNorm, sandwich=True), torch.randn(2, 12, 32)
    before = block(x, Attention(), CAUSAL)
    for layer in (block.out, block.proj):
        layer.weight.data *= 50
        layer.bias.data *= 50
    torch.testing.assert_close(block(x, Attention(), CAUSAL), before, atol=1e-3, rtol=1e-3)
    plain = CausalBlock(32, 4, torch.nn.LayerNorm)
    before = plain(x, Attention(), CAUSAL)
    plain.proj.weight.data *= 50
    assert (plain(x, Attention(), CAUSAL) - before).abs().max() > 1


def test_max_scaled_norm_survives_what_overflows_half_precision():
    x = torch.tensor([[6e4, -6e4, 3e4, 0.0]])
    norm = MaxScaledNorm(4)
    torch.testing.assert_close(norm(x), torch.nn.functional.layer_norm(x, (4,)), atol=1e-4, rtol=1e-4)
    assert (x.half() / (x.half().abs().amax() / 8)).square().sum().isfinite()
    assert not x.half().square().sum().isfinite()


def test_relaxed_attention_equals_plain_attention_and_does_not_overflow():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 12, 8)
    plain, relaxed = Attention()(q, k, v, CAUSAL), RelaxedAttention()(q, k, v, CAUSAL)
    torch.testing.assert_close(relaxed, plain, atol=1e-5, rtol=1e-5)
    large, halves = (q * 300).half(), ((k * 300).half(), v.half())
    scores = large @ halves[0].transpose(2, 3)
    assert not scores.isfinite().all()
    assert RelaxedAttention()(large, *halves, CAUSAL).isfinite().all()


def test_sparse_attention_equals_its_definition():
    torch.manual_seed(0)
    length, window, times = 22, 4, 2
    sparse = SparseAttention(window, times, pivots=7)
    q, k, v = torch.randn(3, 2, 3, length, 8)
    mask = torch.ones(length, length, dtype=torch.bool).tril()[None, None]
    text = torch.arange(length).expand(2, -1) < 4
    pivots = sparse.draw_pivots(text, torch.zeros_like(text), torch.rand(2, length))
    assert all(set(range(4)) <= set(row) for row in pivots.tolist())
    found = sparse(q, k, v, mask, pivots)
    for row in range(2):
        for query in range(length):
            first = (query // window - times + 1) * window
            near = [key for key in range(query + 1) if key >= first]
            far = [key for key in pivots[row].tolist() if key <= query and key // window <= query // window - times]
            scores = [(q[row, :, query] * k[row, :, key]).sum(-1) / 8**0.5 for key in near + far]
            bias = torch.tensor([0.0] * len(near) + [log(length / 7)] * len(far))
            probs = (torch.stack(scores, 1) + bias).softmax(1)
            expected = torch.einsum("hk,khe->he", probs, torch.stack([v[row, :, key] for key in near + far]))
            torch.testing.assert_close(found[row, query].view(3, 8), expected, atol=1e-5, rtol=1e-5)


def test_windows_that_cover_everything_are_plain_attention():
    q, k, v = torch.randn(3, 2, 4, 12, 8)
    wide = SparseAttention(window=4, times=3, pivots=2)
    pivots = torch.tensor([[0, 1], [2, 3]])
    torch.testing.assert_close(wide(q, k, v, CAUSAL, pivots), Attention()(q, k, v, CAUSAL), atol=1e-5, rtol=1e-5)


def test_checkpointing_changes_nothing():
    gradients = []
    for checkpointing in (False, True):
        model, batch = small.transformer("cogview", "dalle", checkpointing=checkpointing).train(), small.batch()
        objective = ARTokens()
        objective.setup(model)
        loss = objective(model(batch), batch)
        (loss.total / loss.count).backward()
        gradients.append(model.layers[0].qkv.weight.grad)
    torch.testing.assert_close(*gradients)
