"""Judge models on shards they need not have seen: every number with its protocol and its candidates.

python tools/evaluate.py retrieval --checkpoint runs/demo/last.ckpt --data 'shards/val-*.tar' --json out.json
python tools/evaluate.py retrieval --checkpoint vl=CKPT --against 'ridge=ridge:TRAIN::VAL' --data SHARDS --json OUT
python tools/evaluate.py classification --checkpoint ViT-B-32:laion2b_s34b_b79k --data SHARDS --classes names.txt
python tools/evaluate.py linear_probe --checkpoint CKPT --train-data SHARDS --data SHARDS
python tools/evaluate.py retrieval --run RUN.yaml --folder FOLDER --data SHARDS   (a cross-encoder; --run --help)
python tools/evaluate.py generation --checkpoint CKPT --tokenizer CKPT --judge CKPT --data 'shards/test-*.tar'
"""

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from runpy import run_path

from vl.data.shards import expand_shards
from vl.evaluation.embed import Embedder, read_samples
from vl.evaluation.labels import read_classes
from vl.evaluation.linear_probe import linear_probe
from vl.evaluation.models import load_model
from vl.evaluation.outcome import Outcome
from vl.evaluation.prompts import TEMPLATES, read_templates
from vl.evaluation.zero_shot_classification import zero_shot_classification
from vl.evaluation.zero_shot_retrieval import zero_shot_retrieval
from vl.report.figures import Finding, settings, write_report

QUICK_LIMIT = 32


def parse(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("task", choices=("retrieval", "classification", "linear_probe"))
    add("--checkpoint", nargs="+", required=True, metavar="[NAME=]C", help="checkpoints, or ridge:TRAIN::VAL")
    add("--against", metavar="[NAME=]C", help="one more model; prints how many times better the others are")
    add("--data", required=True, help="shards to judge on: braces and globs, quoted")
    add("--train-data", help="shards the linear probe is fitted on")
    add("--val-data", help="shards its strength is chosen on; a fifth of --train-data if not given")
    add("--language", default="en", help="of the captions and prompts")
    add("--split-name", default="", help="what to call --data in the report")
    add("--templates", default="ensemble", help=f"prompts: {', '.join(TEMPLATES)}, or a file with one a line")
    add("--classes", help="file of class names, one a line; the captions if not given")
    add("--batch-size", type=int, default=64)
    add("--limit", type=int, help="read at most this many samples")
    add("--device", default="cpu")
    add("--precision", choices=("fp32", "bf16"), default="fp32")
    add("--json", help="where to write the report")
    add("--quick", action="store_true", help=f"{QUICK_LIMIT} samples, to see that it works")
    return parser.parse_args(args)


def other(words: list[str]) -> str | None:
    """The tool whose options these are: what is asked of generation, and of cross-encoders, differs."""
    if words[:1] == ["generation"]:
        return "evaluate_generation"
    of_run = any(word.partition("=")[0] == "--run" for word in words)
    return "evaluate_retrieval" if words[:1] == ["retrieval"] and of_run else None


def judge(args: argparse.Namespace, embedder: Embedder) -> Outcome:
    images = embedder.images(read_samples(args.data, args.limit))
    classes = read_classes(args.classes) if args.classes else None
    if args.task == "retrieval":
        return zero_shot_retrieval(embedder, images, args.language)
    if args.task == "classification":
        templates = read_templates(args.templates, args.language)
        return zero_shot_classification(embedder, images, args.language, templates, classes)
    if not args.train_data:
        raise ValueError("linear_probe needs --train-data, the shards the probe is fitted on")
    train = embedder.images(read_samples(args.train_data, args.limit), "train")
    val = embedder.images(read_samples(args.val_data, args.limit), "val") if args.val_data else None
    return linear_probe(train, val, images, args.language, classes)


def main(args: list[str] | None = None) -> None:
    words = sys.argv[1:] if args is None else args
    if (name := other(words)) is not None:
        return run_path(str(Path(__file__).with_name(f"{name}.py")))["main"](words[1:])
    options, start = parse(words), time.perf_counter()
    if options.quick:
        options.limit = min(options.limit or QUICK_LIMIT, QUICK_LIMIT)
    run = partial(Embedder, batch_size=options.batch_size, device=options.device, precision=options.precision)
    outcomes: dict[str, Outcome] = {}
    try:
        shards = expand_shards(options.data)
        if options.json and Path(options.json).is_dir():
            raise ValueError(f"--json {options.json} is a folder; name a file")
        for spec in [*options.checkpoint, *filter(None, [options.against])]:
            name, bundle = load_model(spec, options.language, run, options.limit)
            if name in outcomes:
                raise ValueError(f"two models are named {name}; name them, as in a=CHECKPOINT b=CHECKPOINT")
            outcomes[name] = judge(options, run(bundle))
    except (ValueError, OSError) as error:
        raise SystemExit(f"evaluate: {error}") from error
    against = dict(list(outcomes.items())[-1:]) if options.against else {}
    split = options.split_name or options.data
    findings = [
        Finding(name, options.task, split, options.language, found.protocol, found.n,
                found.figures({} if name in against else against))
        for name, found in outcomes.items()
    ]  # fmt: skip
    conditions = settings(shards, options=vars(options), batch=options.batch_size, seed=0)
    write_report(options.json, findings, conditions, seconds=time.perf_counter() - start, quick=options.quick)


if __name__ == "__main__":
    main()
