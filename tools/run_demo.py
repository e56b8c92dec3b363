"""Pretrain on the embedded data, evaluate, write runs/demo/report.html: `make demo`. What is done is not done again.

python tools/run_demo.py              # about 5 minutes on 2 cores
python tools/run_demo.py --quick      # the same on a few pictures, in runs/demo-quick
"""

import argparse
from pathlib import Path

from vl.demo.run import Demo

ROOT = Path(__file__).resolve().parent.parent


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, help="folder for the run (runs/demo)")
    add("--data", type=Path, help="folder for the shards (data/emoji)")
    add("--seed", type=int, default=0, help="of training (%(default)s)")
    add("--quick", action="store_true", help="a few pictures and steps, to see that it works")
    options = parser.parse_args(args)
    out = options.out or Path("runs/demo-quick" if options.quick else "runs/demo")
    data = options.data or (out / "emoji" if options.quick else Path("data/emoji"))
    try:
        Demo(ROOT, out, data, options.seed, options.quick).run()
    except KeyboardInterrupt:
        raise SystemExit("\ndemo: stopped; the same command goes on from here") from None
    except (ValueError, OSError, RuntimeError) as error:
        raise SystemExit(f"demo: {error}") from error


if __name__ == "__main__":
    main()
