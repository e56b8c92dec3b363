"""Score predictions without any model: official submission formats against the released annotations.

python tools/score.py vqa --predictions answers.json --annotations v2_mscoco_val2014_annotations.json --json out.json
python tools/score.py captioning --predictions captions.json --annotations captions_val2014.json
python tools/score.py retrieval --predictions scores.npz --annotations dataset_coco.json --split test --bootstrap 2000
python tools/score.py refcoco --predictions boxes.json --annotations refcoco+ --split testA
python tools/score.py phrase_grounding --predictions phrases.json --annotations flickr30k_entities --split test
"""

import argparse
import inspect
import time
from pathlib import Path

from vl.evaluation.score_answers import score_gqa, score_nlvr2, score_snli_ve, score_vcr, score_vqa
from vl.evaluation.score_captions import score_captioning
from vl.evaluation.score_expressions import score_refcoco
from vl.evaluation.score_phrases import score_phrase_grounding
from vl.evaluation.score_retrieval import score_retrieval
from vl.report.figures import Finding, settings, write_report

SCORERS = {
    "vqa": score_vqa, "gqa": score_gqa, "nlvr2": score_nlvr2, "snli_ve": score_snli_ve, "vcr": score_vcr,
    "refcoco": score_refcoco, "phrase_grounding": score_phrase_grounding, "retrieval": score_retrieval,
    "captioning": score_captioning, "nocaps": score_captioning,
}  # fmt: skip


def parse(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("task", choices=SCORERS)
    add("--predictions", required=True, help="what a model said, in the benchmark's submission format")
    add("--annotations", required=True, help="the released file (a folder for refcoco, phrase_grounding)")
    add("--split", help="of a file that holds several (refcoco: val; others: test)")
    add("--choices", help="GQA's *_choices.json, for validity and plausibility")
    add("--refs", help="the refs file of a folder that holds several, such as 'refs(umd).p'")
    add("--no-java", dest="java", action="store_false", default=None, help="leave out METEOR and SPICE")
    add("--bootstrap", type=int, default=0, help="resamples of the pictures for the headline's 95%% interval")
    add("--name", default="predictions", help="what to call the model in the report")
    add("--json", help="where to write the report")
    return parser.parse_args(args)


def main(args: list[str] | None = None) -> None:
    options, start = parse(args), time.perf_counter()
    scorer = SCORERS[options.task]
    given = {name: getattr(options, name) for name in ("split", "choices", "refs", "java")}
    given = {name: value for name, value in given.items() if value is not None}
    try:
        if unknown := given.keys() - inspect.signature(scorer).parameters:
            raise ValueError(f"{options.task} takes no --{sorted(unknown)[0]}")
        found = scorer(options.predictions, options.annotations, **given)
    except ValueError as error:
        raise SystemExit(f"score: {error}") from error
    metrics = found.figures(samples=options.bootstrap) if options.bootstrap else dict(found.metrics)
    split = options.split or Path(options.annotations).stem
    finding = Finding(options.name, options.task, split, "en", found.protocol, found.n, metrics)
    conditions = settings([options.predictions, options.annotations], options=vars(options))
    write_report(options.json, [finding], conditions, seconds=time.perf_counter() - start)


if __name__ == "__main__":
    main()
