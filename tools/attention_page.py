"""A page that shows which regions the words of captions look at, for a trained region model.

python tools/attention_page.py --checkpoint runs/uniter/last.ckpt --data 'data/scenes-regions/test-scenes-*.tar' \\
    --out runs/attention.html
"""

import argparse

from vl.checkpoints.bundle import load
from vl.data.shards import expand_shards
from vl.report.attention import attention_page, looks


def parse(args: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="a region model with its tokenizer")
    parser.add_argument("--data", required=True, help="shards with pictures, captions and regions; the first is shown")
    parser.add_argument("--out", required=True, help="the page, one HTML file")
    parser.add_argument("--languages", nargs="+", default=["en", "zh"], help="of the captions")
    parser.add_argument("--count", type=int, default=6, help="pictures a language")
    parser.add_argument("--layer", type=int, help="of those where words see regions; the mean over them if not given")
    return parser.parse_args(args)


def main(args: list[str] | None = None) -> None:
    options = parse(args)
    try:
        bundle, shard = load(options.checkpoint), expand_shards(options.data)[0]
        model, tokenizer = bundle.model.eval(), bundle.tokenizer
        shown = [
            look
            for language in options.languages
            for look in looks(model, tokenizer, shard, options.count, language, options.layer)
        ]
    except (ValueError, OSError) as error:
        raise SystemExit(f"attention_page: {error}") from error
    which = "mean over layers" if options.layer is None else f"layer {options.layer}"
    lead = (
        f"Light: the share of a word's attention that a region gets ({which} and heads), beside the largest. "
        f"Percent: all regions together; the rest goes to words. {options.checkpoint}, {shard}"
    )
    attention_page("Where words look", lead, shown).write(options.out)
    print(f"{options.out}: {len(shown)} pictures")


if __name__ == "__main__":
    main()
