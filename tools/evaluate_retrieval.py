"""Retrieval by a run's cross-encoder, with its fine-tuned head or its pretraining's: every pair, or some candidates.

python tools/evaluate.py retrieval --run RUN.yaml --folder FOLDER --data 'shards/test-*.tar' --json out.json
python tools/evaluate.py retrieval --run RUN.yaml --folder FOLDER --data SHARDS --rank-by CLIP --candidates 20 --loss

Two towers may name the candidates: the pictures nearest to a text, and the texts nearest to a picture. With --loss
every pair is scored too, and what the candidates lose in recall is printed.
"""

import argparse
import time
from itertools import islice
from pathlib import Path

from vl.checkpoints.bundle import load
from vl.data.loader import eval_loader
from vl.data.shards import expand_shards
from vl.evaluation.cross_encoder import CrossEncoder, Gallery
from vl.evaluation.embed import Embedder, read_samples
from vl.evaluation.pair_retrieval import candidates_by, every_caption, lost, pair_retrieval
from vl.report.figures import Finding, settings, write_report
from vl.train.checkpoint_folder import find_checkpoint
from vl.train.judge import read_data
from vl.train.restore import restore

QUICK = {"limit": 32, "batch_size": 32}


def parse(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--run", required=True, help="the YAML that was trained")
    add("--folder", required=True, type=Path, help="where the run saved its checkpoints")
    add("--checkpoint", default="last", help="last, best, or a path (%(default)s)")
    add("--head", help="the objective that scores pairs, by its name in the run; the first that can if not given")
    add("--data", required=True, help="shards to judge on: braces and globs, quoted")
    add("--language", default="en", help="of the captions (%(default)s)")
    add("--split-name", default="", help="what to call --data in the report")
    add("--rank-by", help="checkpoint of two towers that name the candidates")
    add("--candidates", type=int, default=20, help="of each text and of each picture (%(default)s)")
    add("--loss", action="store_true", help="with --rank-by: score every pair too, and print what is lost")
    add("--fold", type=int, help="also judge folds of so many pictures (COCO: 1000; ViLBERT's zero-shot figures: 500)")
    add("--tokens", type=int, default=2048, help="words and regions of a batch of pairs (%(default)s)")
    add("--batch-size", type=int, default=64, help="captions or pictures embedded at a time (%(default)s)")
    add("--limit", type=int, help="read about so many captions")
    add("--device", default="cpu")
    add("--precision", choices=("fp32", "bf16"), default="fp32")
    add("--json", help="where to write the report")
    add("--quick", action="store_true", help=f"to see that it works: {QUICK}")
    return parser.parse_args(args)


def prepare(options: argparse.Namespace, checkpoint: Path) -> tuple[CrossEncoder, Gallery, str]:
    """The run's cross-encoder, what it shall search, and the name of its head."""
    data, training = read_data(options.run), restore(options.run, checkpoint).to(options.device)
    pooled = {name: part for name, part in training.objectives.items() if "pooled" in part.needs}
    heads = {name: part.scores for name, part in pooled.items() if hasattr(part, "scores")}
    if (head := options.head or next(iter(heads), None)) not in heads:
        raise ValueError(f"--head {head}: the objectives of the run that score pairs are {', '.join(heads) or 'none'}")
    encoder = CrossEncoder(training.model, heads[head], options.tokens, options.device, options.precision)
    view = every_caption(data.train[0].view, options.language)
    loader = eval_loader(options.data, view, data.tokenizer, data.eval_image, options.batch_size)
    batches = options.limit and -(-options.limit // options.batch_size)
    return encoder, encoder.gallery(islice(loader, batches)), head


def judge(options: argparse.Namespace, checkpoint: Path) -> list[Finding]:
    encoder, gallery, head = prepare(options, checkpoint)
    found, model = [], Path(options.run).stem
    if not options.rank_by or options.loss:
        scores = encoder.matrix(gallery)
        found.append((model, pair_retrieval(scores, gallery.owners, f"every pair scored by {head}", options.fold), {}))
    if options.rank_by:
        towers = Embedder(load(options.rank_by), options.batch_size, options.device, options.precision)
        samples = read_samples(options.data, options.limit)
        kept = candidates_by(towers, samples, gallery, options.language, options.candidates)
        protocol = (
            f"{options.candidates} nearest each way by {options.rank_by} ({kept.float().mean():.2%} of the pairs)"
        )
        scores = scores.masked_fill(~kept, float("-inf")) if options.loss else encoder.matrix(gallery, kept)
        some = pair_retrieval(scores, gallery.owners, f"{protocol} scored by {head}", options.fold)
        found.append((model, some, lost(found[0][1], some) if options.loss else {}))
    about = "retrieval", options.split_name or options.data, options.language
    return [Finding(name, *about, one.protocol, one.n, one.figures() | more) for name, one, more in found]


def main(args: list[str] | None = None) -> None:
    options, start = parse(args), time.perf_counter()
    if options.quick:
        vars(options).update(QUICK)
    try:
        if (checkpoint := find_checkpoint(options.checkpoint, options.folder / "checkpoints")) is None:
            raise ValueError(f"{options.folder} has no checkpoint yet")
        shards, found = expand_shards(options.data), judge(options, checkpoint)
    except (ValueError, OSError) as error:
        raise SystemExit(f"evaluate: {error}") from error
    conditions = settings([checkpoint, *shards], options=vars(options), seed=0)
    write_report(options.json, found, conditions, seconds=time.perf_counter() - start, quick=options.quick)


if __name__ == "__main__":
    main()
