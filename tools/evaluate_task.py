"""Judge a trained run on its test data: the metrics of its tasks, and their answers as the benchmarks take them.

python tools/evaluate_task.py --run configs/finetune/uniter_easy_vqa.yaml --folder runs/easy_vqa --json report.json
python tools/evaluate_task.py --run RUN.yaml --folder FOLDER --checkpoint best --split val --answers answers.json
python tools/evaluate_task.py --run RUN.yaml --folder FOLDER --checkpoint A.ckpt B.ckpt C.ckpt --interval
"""

import argparse
import time
from pathlib import Path

from vl.report.figures import Finding, settings, write_report
from vl.train.checkpoint_folder import find_checkpoint
from vl.train.judge import judge, read_data
from vl.train.restore import restore


def parse(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--run", required=True, help="the YAML that was trained")
    add("--folder", required=True, type=Path, help="where the run saved its checkpoints")
    add("--checkpoint", default=["last"], nargs="+", help="last, best, or a path (last); several answer together")
    add("--split", choices=("val", "test"), default="test", help="which of its data (%(default)s)")
    add("--interval", action="store_true", help="with the 95%% bootstrap interval of the accuracy, over pictures")
    add("--answers", help="where to write the answers, in the benchmark's submission format")
    add("--json", help="where to write the report")
    return parser.parse_args(args)


def main(args: list[str] | None = None) -> None:
    options, start = parse(args), time.perf_counter()
    findings = []
    try:
        data = read_data(options.run)
        checkpoints = [find_checkpoint(name, options.folder / "checkpoints") for name in options.checkpoint]
        if None in checkpoints:
            raise ValueError(f"{options.folder} has no checkpoint yet")
        trainings = [restore(options.run, checkpoint) for checkpoint in checkpoints]
        sources = getattr(data, options.split)
        if not sources:
            raise ValueError(f"{options.run} has no data.{options.split}")
        for source_name, source in sources.items():
            for name, found in judge(trainings, data, source).items():
                task = trainings[0].objectives[name]
                protocol = f"every example of {source_name} once, by {type(task).__name__}"
                protocol += f", mean of {len(trainings)} checkpoints" if len(trainings) > 1 else ""
                metrics = found.metrics | (found.interval() if options.interval else {})
                findings.append(Finding(Path(options.run).stem, name, options.split, "en", protocol, len(found.answers),
                                        metrics))  # fmt: skip
                if options.answers:
                    Path(options.answers).write_text(task.submission(found.answers))
        shards = [path for source in sources.values() for path in source.opened.shards]
    except (ValueError, OSError) as error:
        raise SystemExit(f"evaluate_task: {error}") from error
    conditions = settings([*checkpoints, *shards], options=vars(options))
    write_report(options.json, findings, conditions, seconds=time.perf_counter() - start)


if __name__ == "__main__":
    main()
