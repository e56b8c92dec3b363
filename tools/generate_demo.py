"""Train DALL-E and CogView on scenes, judge them, write runs/generate/report.html: `make generate-demo`.

python tools/generate_demo.py              # at most 45 minutes a family on 2 cores
python tools/generate_demo.py --quick      # the same on a few pictures, in runs/generate-quick
"""

import argparse
from pathlib import Path

from vl.demo.generate import GenerateDemo

ROOT = Path(__file__).resolve().parent.parent


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, help="folder for the runs (runs/generate)")
    add("--data", type=Path, help="folder for the shards (data/scenes-generate)")
    add("--seed", type=int, default=0, help="of training and generation (%(default)s)")
    add("--quick", action="store_true", help="a few pictures and steps, to see that it works")
    options = parser.parse_args(args)
    out = options.out or Path("runs/generate-quick" if options.quick else "runs/generate")
    data = options.data or (out / "scenes" if options.quick else Path("data/scenes-generate"))
    try:
        GenerateDemo(ROOT, out, data, options.seed, options.quick).run()
    except KeyboardInterrupt:
        raise SystemExit("\ngenerate_demo: stopped; the same command goes on from here") from None
    except (ValueError, OSError, RuntimeError) as error:
        raise SystemExit(f"generate_demo: {error}") from error


if __name__ == "__main__":
    main()
