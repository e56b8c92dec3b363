"""List the answers a classifier shall be able to give: those that were given often enough, the most frequent first.

python tools/list_answers.py --data 'data/vqa_v2/train-*.tar' 'data/vqa_v2/val-*.tar' --min-count 9 --out answers.json
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vl.data.index import ShardSet
from vl.data.views.qa import QAView
from vl.metrics.vqa_accuracy import soft_labels


def best_answer(people: Sequence[str]) -> list[str]:
    """What most people said, the first of equals; nothing where nobody was asked."""
    labels = soft_labels(people)
    return sorted(labels, key=lambda answer: -labels[answer])[:1]


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, nargs="+", help="shards with questions")
    parser.add_argument("--min-count", type=int, default=1, help="of questions whose best answer it is (%(default)s)")
    parser.add_argument("--out", required=True, type=Path, help="the JSON list")
    options = parser.parse_args(args)
    try:
        questions, counts = ShardSet(options.data, QAView()), Counter[str]()
        for number in range(len(questions)):
            if questions.locate(number)[2] == 0:  # each sample is read once
                counts.update(best for one in questions.read(number).record.qa for best in best_answer(one.answers))
    except ValueError as error:
        raise SystemExit(f"list_answers: {error}") from error
    chosen = [answer for answer, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]
    chosen = [answer for answer in chosen if counts[answer] >= options.min_count]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(chosen, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    covered = sum(counts[answer] for answer in chosen) / max(counts.total(), 1)
    print(f"{options.out}: {len(chosen):,} answers, the best one of {covered:.1%} of {counts.total():,} questions")


if __name__ == "__main__":
    main()
