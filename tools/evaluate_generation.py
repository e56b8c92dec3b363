"""Judge a text-to-image model: is there what its prompts ask for, and how far are its pictures from real ones?

python tools/evaluate.py generation --checkpoint CKPT --tokenizer CKPT --judge CKPT --data 'shards/test-*.tar'

A prompt is the first caption of a sample, and what it asks for are the sample's objects. The judge is an `ObjectGrid`;
its own accuracy on the real pictures and on the tokenizer's reconstructions is in the report, and so are its answers
for shuffled prompts.
"""

import argparse
import time

from vl.checkpoints.bundle import load
from vl.data.shards import expand_shards
from vl.evaluation.embed import read_samples
from vl.evaluation.encode_shards import load_tokenizer
from vl.evaluation.generation import Prompts, judge_painted, judge_reconstruction, judged, paint_all, protocol
from vl.evaluation.object_judge import ObjectJudge
from vl.evaluation.painter import Painter
from vl.evaluation.picture_features import EMBEDDED, PictureFeatures
from vl.evaluation.sampling import Sampling
from vl.report.figures import settings, write_report
from vl.report.generated import Generated

QUICK = {"limit": 4, "candidates": 2}


def parse(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", required=True, help="of the text-to-image model")
    add("--tokenizer", required=True, help="checkpoint of its image tokenizer")
    add("--judge", required=True, help="checkpoint of an ObjectGrid")
    add("--clip", help="checkpoint of a CLIP that ranks candidates")
    add("--captioner", help="checkpoint of a captioning model that ranks candidates")
    add("--data", required=True, help="shards of the prompts: braces and globs, quoted")
    add("--language", nargs="+", default=["en"], help="prompt i is in language i modulo their number")
    add("--split-name", default="", help="what to call --data in the report")
    add("--features", default=EMBEDDED, help="weights of the feature network of the Fréchet distance")
    add("--backbone", default="tf_efficientnet_lite0", help="timm's name of that network")
    add("--candidates", type=int, default=8)
    add("--temperature", type=float, default=1.0)
    add("--top-k", type=int)
    add("--top-p", type=float)
    add("--guidance", type=float, default=1.0)
    add("--limit", type=int, default=300, help="prompts")
    add("--seed", type=int, default=0)
    add("--json", help="where to write the report")
    add("--quick", action="store_true", help=f"to see that it works: {QUICK}")
    return parser.parse_args(args)


def judge_all(options: argparse.Namespace) -> list[Generated]:
    captioner = load(options.captioner).model if options.captioner else None
    clip = load(options.clip) if options.clip else None
    painter = Painter(load(options.checkpoint), load_tokenizer(options.tokenizer).model, clip, captioner)
    judge, features = ObjectJudge(load(options.judge).model), PictureFeatures(options.features, options.backbone)
    prompts = Prompts.read(read_samples(options.data, options.limit), painter.tokenizer.image_size, options.language)
    sampling = Sampling(options.temperature, options.top_k, options.top_p, options.guidance)
    painted = paint_all(painter, prompts, options.candidates, sampling, options.seed)
    about = options.split_name or options.data, "+".join(options.language)
    asked = "the pictures that the prompts were made from", len(prompts.texts)
    kept = judge_reconstruction(painter.tokenizer, judge, prompts, features)
    findings = [
        Generated("real pictures", "judge", *about, *asked, judged(judge, prompts.pixels, prompts)),
        Generated("tokenizer", "reconstruction", *about, *asked, kept),
    ]
    for rerank, figures in judge_painted(painter, painted, judge, prompts, features).items():
        how = protocol(rerank, options.candidates, options.seed)
        findings.append(Generated("generator", "generation", *about, how, len(prompts.texts), figures, rerank))
    return findings


def main(args: list[str] | None = None) -> None:
    options, start = parse(args), time.perf_counter()
    if options.quick:
        vars(options).update(QUICK)
    try:
        shards, found = expand_shards(options.data), judge_all(options)
    except (ValueError, OSError) as error:
        raise SystemExit(f"evaluate: {error}") from error
    conditions = settings(shards, options=vars(options), seed=options.seed)
    write_report(options.json, found, conditions, seconds=time.perf_counter() - start, quick=options.quick)


if __name__ == "__main__":
    main()
