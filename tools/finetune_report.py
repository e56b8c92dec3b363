"""Fine-tune small pretrained region models on scenes, and judge every task beside its controls: the same trunk, trained
for the same steps on the text alone, on regions that all have the mean feature, and on regions that exchanged boxes.

python tools/finetune_report.py --json runs/finetune/report.json
python tools/finetune_report.py --systems uniter --tasks vqa nlvr2 --seeds 0 1 2 --init pretrained scratch --json OUT
python tools/finetune_report.py --json OUT --quick    # a few scenes and steps, to see that it works

What is done is not done again, pretraining included: a killed report is finished by the same command.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path

from vl.demo.finetuned import VIEWS
from vl.demo.finetuning import CONTROLS, FineTuning, Run, over_seeds
from vl.demo.scenes import SYSTEMS, Scenes
from vl.report.figures import SCHEMA, settings, write_json
from vl.report.finetuned import show_finetuned

ROOT = Path(__file__).resolve().parent.parent


def parse(args: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--json", type=Path, required=True, help="where the figures go")
    add("--systems", nargs="+", choices=SYSTEMS, help="uniter, vilbert and visualbert if not given; quick: uniter")
    add("--tasks", nargs="+", choices=VIEWS, default=list(VIEWS))
    add("--seeds", nargs="+", type=int, default=[0])
    add("--init", nargs="+", choices=("pretrained", "scratch"), default=["pretrained"])
    add("--controls", nargs="*", choices=list(CONTROLS)[1:], help="of the first seed (all; quick: text only)")
    add("--work", type=Path, help="folder of the runs (runs/finetune)")
    add("--pretrained", type=Path, help="folder of tools/pretrain_report.py (runs/pretrain)")
    add("--quick", action="store_true", help="a few scenes and steps, to see that it works")
    return parser.parse_args(args)


def plan(options: argparse.Namespace) -> Iterator[Run]:
    """What is asked for, task by task; controls after what they are beside."""
    systems = options.systems or (["uniter"] if options.quick else ["uniter", "vilbert", "visualbert"])
    controls = list(CONTROLS)[1 : 2 if options.quick else None] if options.controls is None else options.controls
    for system, task in product(systems, options.tasks):
        yield from (Run(system, task, init, seed, "none") for init, seed in product(options.init, options.seeds))
        if "pretrained" in options.init:
            yield from (Run(system, task, "pretrained", options.seeds[0], control) for control in controls)


def main(args: list[str] | None = None) -> None:
    options, start = parse(args), time.perf_counter()
    suffix = "-quick" if options.quick else ""
    folders = [options.work or Path(f"runs/finetune{suffix}"), options.pretrained or Path(f"runs/pretrain{suffix}")]
    scenes = Scenes(ROOT, folders[1], options.quick)
    scenes.prepare()
    if "nlvr2" in options.tasks:
        scenes.prepare_pairs()
    tuning, runs = FineTuning(folders[0], scenes), list(plan(options))
    findings = [finding for run in runs for finding in tuning.findings(run)]
    findings += list(over_seeds(findings))
    show_finetuned(findings)
    conditions = settings(options=vars(options), folders=list(map(str, folders)), step_seconds=tuning.seconds(runs))
    content = {"schema": SCHEMA, "quick": options.quick, "results": [asdict(one) for one in findings]}
    write_json(options.json, {**content, "seconds": time.perf_counter() - start, "settings": conditions})


if __name__ == "__main__":
    main()
