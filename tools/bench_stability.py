"""Does CogView's sandwich LayerNorm with PB-relax survive half precision where pre-LN does not? Several seeds each.

python tools/bench_stability.py --seeds 3 --json runs/bench/stability.json

Small transformers learn token sequences in fp32, while every attention product and every residual state is watched: a
number beyond fp16's range, which is narrowed by `--narrow` because small models have small numbers, becomes infinite,
as it would in fp16. Stated for each run: the step at which the loss is no number any more (none: it survived), the
largest numbers, and the last loss.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import torch
from torch import Tensor

from vl.batch import Batch, Text
from vl.models.autoregressive import Autoregressive
from vl.models.causal_attention import Attention
from vl.models.token_sequence import CogViewTokens
from vl.objectives.ar_tokens import ARTokens
from vl.report.figures import Finding, settings, write_report

FP16 = 65504.0
VARIANTS = {
    "pre-LN": {"sandwich": False, "max_scaled": False, "alpha": None},
    "sandwich LN, PB-relax": {"sandwich": True, "max_scaled": True, "alpha": 32.0},
}
QUICK = {"seeds": 1, "steps": 3}


class Watch:
    """Numbers beyond a limit become infinite; the largest one is remembered."""

    def __init__(self, limit: float) -> None:
        self.limit, self.largest = limit, 0.0

    def __call__(self, x: Tensor) -> Tensor:
        self.largest = max(self.largest, float(x.detach().abs().amax()))
        return x.masked_fill(x > self.limit, math.inf).masked_fill(x < -self.limit, -math.inf)


class WatchedAttention(Attention):
    """Plain attention, or PB-relax by `alpha`, with its products in the order fp16 would compute them."""

    def __init__(self, watch: Watch, alpha: float | None) -> None:
        self.watch, self.alpha = watch, alpha

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, pivots: Tensor | None = None) -> Tensor:
        root = q.shape[3] ** 0.5
        if self.alpha is None:
            scores = self.watch(q @ k.transpose(2, 3)) / root
            scores = scores.masked_fill(~mask, -math.inf)
        else:
            scores = self.watch(q / (self.alpha * root) @ k.transpose(2, 3)).masked_fill(~mask, -math.inf)
            scores = (scores - scores.amax(3, keepdim=True)) * self.alpha
        return (scores.softmax(3) @ v).transpose(1, 2).flatten(2)


def sequences(step: int, seed: int, rows: int = 16) -> Batch:
    """Texts of one word that says which of 24 rows of codes, each a walk of its own, follows."""
    generator = torch.Generator().manual_seed(1000 * seed + step)
    word = torch.randint(24, (rows, 1), generator=generator)
    codes = (word * 7 + torch.arange(64) * (word + 1)) % 32
    noise = torch.rand(codes.shape, generator=generator) < 0.1
    codes = torch.where(noise, torch.randint(32, codes.shape, generator=generator), codes)
    ids = torch.cat([torch.full_like(word, 2), word + 5, torch.full_like(word, 3)], 1)
    return Batch(text=Text(ids, torch.ones_like(ids, dtype=torch.bool)), codes=codes, keys=tuple("x" * rows))


def train(variant: dict[str, Any], seed: int, args: argparse.Namespace) -> dict[str, float | None]:
    torch.manual_seed(seed)
    watch = Watch(FP16 / args.narrow)
    attention = WatchedAttention(watch, variant["alpha"])
    sequence = CogViewTokens(args.width, 32, 4, 32, 8)
    model = Autoregressive(
        sequence, args.layers, args.width // 16, ("full",), attention, variant["sandwich"], variant["max_scaled"]
    )
    for block in model.layers:
        block.register_forward_hook(lambda module, inputs, output: watch(output))
    objective = ARTokens()
    objective.setup(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.95), fused=True)
    loss = math.nan
    for step in range(args.steps):
        batch = sequences(step, seed)
        found = objective(model.train()(batch), batch)
        mean = found.total / found.count
        if not mean.isfinite():
            return {"overflow_step": step, "largest": watch.largest, "loss": loss}
        loss = float(mean.detach())
        optimizer.zero_grad()
        mean.backward()
        optimizer.step()
    return {"overflow_step": None, "largest": watch.largest, "loss": loss}


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--narrow", type=float, default=256.0, help="by which fp16's range is divided")
    parser.add_argument("--json", help="where the figures go")
    parser.add_argument("--quick", action="store_true", help=f"to see that it works: {QUICK}")
    options = parser.parse_args(args)
    if options.quick:
        vars(options).update(QUICK)
    start, rows = time.perf_counter(), []
    protocol = f"{options.steps} steps at lr {options.lr:g}; numbers beyond {FP16 / options.narrow:g} are infinite"
    for name, variant in VARIANTS.items():
        for seed in range(options.seeds):
            figures = train(variant, seed, options)
            rows.append(
                Finding(f"{name}, seed {seed}", "stability", "synthetic", "-", protocol, options.steps, figures)
            )
    write_report(
        options.json, rows, settings(options=vars(options)), seconds=time.perf_counter() - start, quick=options.quick
    )


if __name__ == "__main__":
    main()
