"""Published region features to shards: `regions.safetensors` and `json` members under the pictures' ids.

    python tools/import_regions.py lxmert train2014_obj36.tsv --out data/coco-lxmert --split train --images train2014
    python tools/import_regions.py uniter-npz coco_train2014 --out data/coco-uniter --split train

What the features are is written into the card, so that models are not trained on features of another detector.
"""

import argparse
from pathlib import Path

from rich.progress import track

from vl.data.card import Card
from vl.regions.import_shards import import_shards
from vl.regions.importers import lxmert_tsv, milvlg_npz, oscar_tsv, uniter, vlp_h5

#: By format: the reader, the boxes, and the classes.
FORMATS = {
    "lxmert": (lxmert_tsv.read, "after regression", "background, 1600 classes: the likeliest alone is known"),
    "uniter-npz": (uniter.read_npz, "proposals", "background, 1600 classes"),
    "uniter-lmdb": (uniter.read_lmdb, "proposals", "background, 1600 classes"),
    "milvlg": (milvlg_npz.read, "proposals", "none is known"),
    "oscar": (oscar_tsv.read, "after regression", "names of the likeliest classes, as tags"),
    "vlp": (vlp_h5.read, "after regression, over the largest coordinate", "background, 1600 classes"),
}


def parse(args: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("path", type=Path, help="the tsv or lmdb, or the folder of npz or h5 files")
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--split", required=True, help="what the shards are called, such as train")
    parser.add_argument("--images", type=Path, help="folder of the pictures, to pack them beside their regions")
    parser.add_argument("--source", default="", help="where the features come from, for the card")
    parser.add_argument("--licence", default="unknown", help="for the card")
    return parser.parse_args(args)


def main(args: list[str] | None = None) -> None:
    options = parse(args)
    read, boxes, classes = FORMATS[options.format]
    told = {"format": options.format, "box convention": f"{boxes}, xyxy in 0..1", "class vocabulary": classes}
    source = options.source or f"imported from {options.path.name}"
    card = Card("regions", source, options.licence, {options.split: "imported"}, settings={"regions": told})
    try:
        import_shards(track(read(options.path), "pictures"), options.out, options.split, card, options.images)
    except (ValueError, OSError) as error:
        raise SystemExit(f"import_regions: {error}") from error


if __name__ == "__main__":
    main()
