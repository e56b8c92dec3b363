"""Generation of ours against Hugging Face's GPT-2 of the same shape with its cache, from prompt to last token.

python tools/bench_generate.py --peer gpt2 --batch 1 --precision fp32 --json runs/bench/generate_1.json
python tools/bench_generate.py --peer gpt2 --batch 16 --json runs/bench/generate_16.json

12 layers, 512 wide, 64 text and 1,024 image tokens, a vocabulary of 18,256, plain sampling from all of it on both
sides; same weights, one prompt with `--batch` candidates. With full causal attention the logits of both are compared;
DALL-E's pattern reads less of its cache, and is the same work for a user. The settings give the share of the machine's
memory bandwidth (batch 1) or of its matrix product (larger batches) that ours reaches.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from vl.batch import Batch, Text
from vl.evaluation.generate import generate
from vl.models.autoregressive import Autoregressive
from vl.models.token_sequence import DalleTokens
from vl.report.figures import Comparison, compare, rate, settings, write_bench

TEXT, SIDE, CODES, WORDS = 64, 32, 8192, 10_000
TOLERANCE = {"fp32": 1e-3, "bf16": 1.0}
QUICK = {"tokens": 16, "repeats": 1}


class WholeVocabulary(DalleTokens):
    """Draws from every logit, as the peer does."""

    def code_head(self) -> tuple[Tensor, Tensor]:
        return self.head.weight, self.head.bias


def build(patterns: str | tuple[str, ...], layers: int, width: int) -> Autoregressive:
    torch.manual_seed(0)
    sequence = WholeVocabulary(width, WORDS, TEXT, CODES, SIDE)
    nn.init.zeros_(sequence.head.bias)
    return Autoregressive(sequence, layers, width // 64, patterns).eval()  # type: ignore[arg-type]


def peer_of(model: Autoregressive) -> GPT2LMHeadModel:
    """GPT-2 with the same weights."""
    sequence, width = model.sequence, model.width
    config = GPT2Config(
        vocab_size=sequence.vocab_size, n_positions=TEXT + SIDE * SIDE, n_embd=width, n_layer=len(model.layers),
        n_head=width // 64, activation_function="gelu_pytorch_tanh", tie_word_embeddings=False, bos_token_id=None,
        eos_token_id=None,
    )  # fmt: skip
    peer = GPT2LMHeadModel(config).eval()
    rows, columns = torch.arange(SIDE).repeat_interleave(SIDE), torch.arange(SIDE).repeat(SIDE)
    images = sequence.row_position_embedding(rows) + sequence.column_position_embedding(columns)
    places = torch.cat([sequence.text_position_embedding.weight, images])
    state = {"transformer.wte.weight": sequence.tokens.weight, "transformer.wpe.weight": places}
    state |= {"lm_head.weight": sequence.head.weight}
    state |= {f"transformer.ln_f.{name}": value for name, value in model.norm.state_dict().items()}
    names = {
        "norm_1": "ln_1",
        "norm_2": "ln_2",
        "qkv": "attn.c_attn",
        "out": "attn.c_proj",
        "fc": "mlp.c_fc",
        "proj": "mlp.c_proj",
    }
    for name, value in model.layers.state_dict().items():
        number, part, leaf = name.split(".")
        value = value.T if value.ndim == 2 else value
        state[f"transformer.h.{number}.{names[part]}.{leaf}"] = value
    peer.load_state_dict(state)
    return peer


def prompt() -> tuple[Batch, Tensor]:
    """Text of full length, as ours and as the peer's ids."""
    ids = torch.arange(TEXT)[None] * 131 % WORDS
    text = Text(ids, torch.ones_like(ids, dtype=torch.bool))
    return Batch(text=text), ids + CODES


def difference(model: Autoregressive, peer: GPT2LMHeadModel, batch: Batch, ids: Tensor) -> float:
    """The largest one of the logits of a picture's first codes."""
    codes = torch.arange(24)[None] * 337 % CODES
    with torch.inference_mode():
        tokens = model.sequence.whole(Batch(text=batch.text, codes=codes))
        own = model.sequence.head(model.run(tokens)).float()
        return float((own - peer(torch.cat([ids, codes], 1)).logits.float()).abs().max())


def peer_generation(peer: GPT2LMHeadModel, ids: Tensor, batch: int, tokens: int) -> Callable[[], object]:
    options = {"do_sample": True, "top_k": 0, "max_new_tokens": tokens, "min_new_tokens": tokens, "pad_token_id": 0}
    return lambda: peer.generate(ids.expand(batch, -1), attention_mask=torch.ones(batch, TEXT), **options)


def limits(model: Autoregressive, batch: int, precision: torch.dtype) -> dict[str, float]:
    """Tokens/s if the weights alone were read at the speed of memory, and if products alone were computed."""
    weights = sum(p.numel() for p in model.layers.parameters()) + model.sequence.head.weight.numel()
    stream = torch.ones(2**27, dtype=torch.uint8)
    a = torch.randn(1024, 1024).to(precision)
    read = best(lambda: stream.view(torch.int64).sum()) / stream.numel()
    product = best(lambda: a @ a) / (2 * 1024**3)
    bytes_each = torch.finfo(precision).bits // 8
    return {"bandwidth": batch / (weights * bytes_each * read), "product": 1 / (2 * weights * product)}


def best(call: Callable[[], object], times: int = 5) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def measure(args: argparse.Namespace, name: str, patterns: str | tuple[str, ...]) -> Comparison:
    model = build(patterns, args.layers, args.width)
    peer, (batch, ids) = peer_of(model), prompt()
    check = difference(model, peer, batch, ids) if name == "full causal" else None
    precision = {"fp32": torch.float32, "bf16": torch.bfloat16}[args.precision]
    model.to(precision)
    peer.to(precision)
    ours = rate(
        lambda: generate(model, batch, args.batch, seed=args.seed, length=args.tokens), args.batch * args.tokens
    )
    theirs = rate(peer_generation(peer, ids, args.batch, args.tokens), args.batch * args.tokens)
    found = compare(
        ours, theirs, name="generation", case=f"batch {args.batch}, {name}", unit="tokens/s", pairs=args.repeats,
        warmup=0, check=check,
    )  # fmt: skip
    bounds = limits(model, args.batch, precision)
    found.settings.update({f"share_of_{kind}_limit": found.ours / bound for kind, bound in bounds.items()})  # type: ignore[attr-defined]
    return found


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", choices=["gpt2"], default="gpt2")
    parser.add_argument("--batch", type=int, default=1, help="candidates of the prompt")
    parser.add_argument("--precision", choices=TOLERANCE, default="fp32")
    parser.add_argument("--tokens", type=int, default=SIDE * SIDE, help="image tokens of each")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3, help="pairs of timed generations")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="where the figures go")
    parser.add_argument("--quick", action="store_true", help=f"a short run of the same code: {QUICK}")
    options = parser.parse_args(args)
    if options.quick:
        vars(options).update(QUICK)
    torch.set_num_threads(options.threads)
    cases = {"full causal": ("full",), "DALL-E's pattern": "dalle"}
    results = [measure(options, name, patterns) for name, patterns in cases.items()]
    own = {name: getattr(options, name) for name in ("batch", "precision", "tokens", "layers", "width", "seed", "peer")}
    write_bench(options.json, results, settings(**own), quick=options.quick, tolerance=TOLERANCE[options.precision])


if __name__ == "__main__":
    main()
