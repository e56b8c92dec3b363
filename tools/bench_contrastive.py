"""Memory of the contrastive loss across ranks: ours, in row chunks, against open_clip's with local loss and gradients.

python tools/bench_contrastive.py --ranks 2 --json runs/bench/contrastive.json

A measurement starts fresh processes (forked from one that has only made the imports), makes unit features in each, and
takes the peak of the resident memory during one forward and backward pass over what it was before. Of the ranks the
largest counts.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from vl.data.fork_server import fork_server
from vl.report.figures import compare, settings, write_bench

WIDTH = 512
QUICK = {"batch": 256, "chunk": 64, "repeats": 1}
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def ours(args: argparse.Namespace) -> Loss:
    from vl.batch import Batch, Encoded
    from vl.objectives.itc import ITC

    objective = ITC(chunk=args.chunk)

    def loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        found = objective(Encoded(image_emb=image, text_emb=text, logit_scale=scale), Batch(), None)
        return found.total / found.count

    return loss


def open_clip(args: argparse.Namespace) -> Loss:
    from open_clip.loss import ClipLoss

    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    return ClipLoss(local_loss=True, gather_with_grad=True, rank=rank, world_size=ranks)


SIDES = {"ours": ours, "open_clip": open_clip}


def memory(field: str) -> float:
    """MiB: `VmRSS` resident now, `VmHWM` at most since the last reset."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def work(side: str, args: argparse.Namespace, rank: int, folder: str) -> None:
    """One rank: leaves (its memory, its loss and gradients) in a file."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", FutureWarning)  # open_clip gathers by functions that torch is about to drop
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=args.ranks)
    loss = SIDES[side](args)
    generator = torch.Generator().manual_seed(args.seed * args.ranks + rank)
    image, text = (F.normalize(torch.randn(args.batch, WIDTH, generator=generator), dim=1) for _ in range(2))
    leaves = [x.requires_grad_() for x in (image, text, torch.full((1,), 14.3))]
    distributed.barrier()
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    value = loss(*leaves)
    value.backward()
    peak = memory("VmHWM") - before
    torch.save((peak, [value.detach(), *(leaf.grad for leaf in leaves)]), f"{folder}/{rank}.pt")
    distributed.barrier()


def run(side: str, args: argparse.Namespace) -> tuple[float, list[Tensor]]:
    """The largest memory of fresh processes, and the losses and gradients of all."""
    context = fork_server("open_clip.loss", "vl.objectives.itc")
    with tempfile.TemporaryDirectory() as folder:
        ranks = [context.Process(target=work, args=(side, args, rank, folder)) for rank in range(args.ranks)]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
        found = [torch.load(f"{folder}/{rank}.pt", weights_only=True) for rank in range(args.ranks)]
    return max(peak for peak, _ in found), [result for _, results in found for result in results]


def difference(own: list[Tensor], other: list[Tensor]) -> float:
    """The largest one of a loss or gradient, over the largest entry of that."""
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(own, other, strict=True))


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--batch", type=int, default=3072, help="examples a rank")
    parser.add_argument("--chunk", type=int, default=128, help="rows of the logits that ours computes at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5, help="pairs that are measured")
    parser.add_argument("--json", help="where to write the figures")
    parser.add_argument("--quick", action="store_true", help="show that it works, in seconds; the figures mean nothing")
    args = parser.parse_args(words)
    if args.quick:
        vars(args).update(QUICK)
    outcomes: dict[str, list[Tensor]] = {}

    def measure(side: str) -> float:
        peak, outcomes[side] = run(side, args)
        return peak

    result = compare(
        partial(measure, "ours"),
        partial(measure, "open_clip"),
        name="contrastive",
        case=f"{args.ranks} ranks, {args.batch} x {WIDTH} a rank",
        unit="MiB",
        better="lower",
        pairs=args.repeats,
        warmup=0,
        settings={"chunk": args.chunk, "peer": "open_clip ClipLoss(local_loss=True, gather_with_grad=True)"},
    )
    result = replace(result, check=difference(outcomes["ours"], outcomes["open_clip"]))
    write_bench(args.json, [result], settings(**vars(args)), quick=args.quick)


if __name__ == "__main__":
    main()
