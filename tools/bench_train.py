"""A train step of ours against a peer's: forward, loss, backward and fused AdamW, on the same examples and weights.

python tools/bench_train.py --peer open_clip --precision fp32 --json runs/bench/train.json

Every peer is a file in tools/bench_peers/ with `BATCH` and `cases(args) -> Iterator[Case]`. Beside the rates stand the
share of the GEMM peak that ours reaches: its matrix products, counted, over those a large one does in the same time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vl.report.figures import Comparison, compare, has_bf16, processor, rate, settings, write_bench

#: Largest difference of loss, outputs and gradients (relative to the largest gradient) between ours and the peer.
TOLERANCE = {"fp32": 1e-4, "bf16": 1e-1}
QUICK = {"batch": 2, "repeats": 1}


@dataclass
class Side:
    """A model, and what of it is timed: `forward` gives the loss and the outputs to compare.

    `common` names a gradient as the other side does, and gives it the other side's shape.
    """

    model: nn.Module
    forward: Callable[[], tuple[Tensor, Mapping[str, Tensor]]]
    common: Callable[[str, Tensor], tuple[str, Tensor]] = lambda name, gradient: (name, gradient)

    def step_with(self, optimizer: torch.optim.Optimizer, precision: str) -> Callable[[], None]:
        def step() -> None:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss, _ = self.forward()
            loss.backward()
            optimizer.step()

        return step

    def results(self, precision: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Loss with outputs, and gradients, of one step that changes nothing."""
        self.model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss, outputs = self.forward()
        loss.backward()
        gradients = dict(self.common(n, p.grad) for n, p in self.model.named_parameters() if p.grad is not None)
        self.model.zero_grad()
        return {"loss": loss.detach(), **{n: o.detach().float() for n, o in outputs.items()}}, gradients


@dataclass
class Case:
    name: str
    case: str
    ours: Side
    peer: Side
    settings: dict[str, Any] = field(default_factory=dict)


def difference(ours: Side, peer: Side, precision: str) -> float:
    """The largest one of loss, outputs and gradients, those over the largest gradient."""
    (own, own_gradients), (other, other_gradients) = ours.results(precision), peer.results(precision)
    assert own_gradients.keys() == other_gradients.keys(), own_gradients.keys() ^ other_gradients.keys()
    scale = max(gradient.abs().max() for gradient in other_gradients.values())
    outputs = [(own[name] - other[name]).abs().max() for name in other]
    gradients = [(own_gradients[n] - other_gradients[n]).abs().max() / scale for n in other_gradients]
    return float(max(outputs + gradients))


def measure(case: Case, args: argparse.Namespace) -> Comparison:
    check = difference(case.ours, case.peer, args.precision)
    work, peaks, steps = flops(case.ours), [gemm_peak(args.precision)], []
    for side in (case.ours, case.peer):
        optimizer = torch.optim.AdamW(side.model.parameters(), lr=1e-4, weight_decay=0.2, fused=True)
        steps.append(rate(side.step_with(optimizer, args.precision), args.batch))
    found = compare(
        *steps,
        name=case.name,
        case=case.case,
        unit="samples/s",
        pairs=args.repeats,
        check=check,
    )
    peaks.append(gemm_peak(args.precision))
    reached = work * found.ours / args.batch
    own = {"GFLOP a step": work / 1e9, "GEMM peak, GFLOP/s": max(peaks) / 1e9, "share of it": reached / max(peaks)}
    return replace(found, settings={**case.settings, **own})


def flops(side: Side) -> float:
    """Floating-point operations of the matrix products of a step; those inside attention are not counted."""
    with FlopCounterMode(display=False) as counter:
        side.results("fp32")
    return counter.get_total_flops()


def gemm_peak(precision: str) -> float:
    """Operations a second of one large matrix product; the median of six."""
    size = 2048
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2, size, size, dtype=dtype)
    return median(rate(lambda: a @ b, 2 * size**3)() for _ in range(6))


def main(words: list[str] | None = None) -> None:
    peers = sorted(path.stem for path in (Path(__file__).parent / "bench_peers").glob("*.py"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", choices=peers, default="open_clip")
    parser.add_argument("--precision", choices=TOLERANCE, default="fp32")
    parser.add_argument("--regime", choices=("ragged", "fixed"), help="lengths of the region models; both if not given")
    parser.add_argument("--batch", type=int, help="examples a step; the peer's file names the default")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of timed steps")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="where the figures go")
    parser.add_argument("--quick", action="store_true", help=f"a short run of the same code: {QUICK}")
    args = parser.parse_args(words)
    if args.precision == "bf16" and not has_bf16():
        print(
            f"bench_train: this processor ({processor()}) has no bf16 instructions (avx512_bf16, amx_bf16): matrix "
            "products take some 50 times as long as in fp32, on both sides. Give a small --batch, or --precision fp32.",
            file=sys.stderr,
        )
    if args.quick:
        vars(args).update(QUICK)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    peer = import_module(f"bench_peers.{args.peer}")
    args.batch = args.batch or peer.BATCH
    results = [measure(case, args) for case in peer.cases(args)]
    own = {"batch": args.batch, "seed": args.seed, "precision": args.precision, "peer": args.peer}
    write_bench(args.json, results, settings(**own), quick=args.quick, tolerance=TOLERANCE[args.precision])


if __name__ == "__main__":
    main()
