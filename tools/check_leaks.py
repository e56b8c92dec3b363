"""Refuse to train on test pictures: 12-in-1's rule over all data sets of a run.

python tools/check_leaks.py --train vqa='data/vqa_v2/train-*.tar' refcoco='data/refcoco/train-*.tar' \\
    --test coco='data/coco/test-*.tar' refcoco='data/refcoco/test?-*.tar' --list leaks.tsv
"""

import argparse
from collections import Counter
from pathlib import Path

from vl.data.leaks import find_leaks


def parse(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="+", required=True, metavar="NAME=SHARDS", help="what is trained on")
    parser.add_argument("--test", nargs="+", required=True, metavar="NAME=SHARDS", help="what is tested on")
    parser.add_argument("--list", metavar="FILE", help="write every leak: train set, key, test set, its key, picture")
    return parser.parse_args(args)


def named(words: list[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise ValueError(f"{wrong[0]!r} has no name; write NAME=SHARDS, as in coco='data/coco/test-*.tar'")
    return {name: shards for name, _, shards in pairs}


def main(args: list[str] | None = None) -> None:
    options = parse(args)
    try:
        leaks = find_leaks(named(options.train), named(options.test))
    except ValueError as error:
        raise SystemExit(f"check_leaks: {error}") from error
    if options.list:
        rows = ("\t".join((one.train, one.key, one.test, one.test_key, one.name)) + "\n" for one in leaks)
        Path(options.list).write_text("".join(rows), encoding="utf-8")
    for (train, test), number in sorted(Counter((one.train, one.test) for one in leaks).items()):
        print(f"{number:,} training samples of {train} show test pictures of {test}")
    if leaks:
        raise SystemExit(f"check_leaks: {len(leaks):,} leaks, the first: {leaks[0].key} of {leaks[0].train}")
    print("no test picture is trained on")


if __name__ == "__main__":
    main()
