"""The web demo on this machine: name a picture with labels of your own, search a gallery by words or by a picture.

python tools/demo.py --checkpoint runs/demo/model --gallery 'data/emoji/unseen_*.tar'
python tools/demo.py --checkpoint ViT-B-32:laion2b_s34b_b79k --gallery ~/Pictures --language zh
"""

import argparse

from vl.checkpoints.bundle import load
from vl.demo.answers import Answers
from vl.demo.app import serve
from vl.demo.gallery import Gallery, read_gallery
from vl.demo.words import LANGUAGES
from vl.evaluation.embed import Embedder

QUICK_LIMIT = 32


def parse(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="C", help="any checkpoint with two towers (vl.checkpoints.bundle.load)")
    add("--gallery", required=True, metavar="SHARDS|FOLDER", help="what is searched; quote braces and globs")
    add("--limit", type=int, default=5000, help="pictures of the gallery at most (%(default)s)")
    add("--port", type=int, help="on 127.0.0.1; the first free one from 7860 if not given")
    add("--language", choices=tuple(LANGUAGES), default="en", help="of the page as it opens")
    add("--device", default="cpu")
    add("--quick", action="store_true", help=f"{QUICK_LIMIT} pictures, to see that it works")
    return parser.parse_args(args)


def main(args: list[str] | None = None) -> None:
    options = parse(args)
    limit = min(options.limit, QUICK_LIMIT) if options.quick else options.limit
    try:
        embedder = Embedder(load(options.checkpoint), device=options.device)
        gallery = Gallery.embed(embedder, read_gallery(options.gallery, limit))
        serve(Answers(embedder, gallery), options.port, options.language)
    except (ValueError, OSError) as error:
        raise SystemExit(f"demo: {error}") from error


if __name__ == "__main__":
    main()
