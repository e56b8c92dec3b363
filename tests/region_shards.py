"""Small shards of pictures as regions, with captions in two languages, objects and opposites."""

import torch

from vl.data.regions_member import REGIONS, Regions, write_regions
from vl.data.shards import ShardWriter

THINGS = ("cat", "dog", "tree", "car", "house", "fish", "star", "ball")
THINGS_ZH = ("猫", "狗", "树", "车", "房", "鱼", "星", "球")


def shown(number: int) -> list[int]:
    """One to three things of a picture."""
    return sorted({number % 8, (number // 8) % 8, (number // 3) % 8})


def record(number: int) -> dict:
    things = shown(number)
    first, absent = things[0], next(thing for thing in range(8) if thing not in things)
    captions = [
        {"text": f"There is a {THINGS[first]}.", "language": "en"},
        {"text": f"有{THINGS_ZH[first]}", "language": "zh"},
        {"text": f"One can see a {THINGS[things[-1]]}.", "language": "en"},
    ]
    opposites = [
        {"text": f"There is a {THINGS[absent]}.", "of": "captions/0", "kind": "object", "language": "en"},
        {"text": f"有{THINGS_ZH[absent]}", "of": "captions/1", "kind": "object", "language": "zh"},
        {"text": "There is a red one.", "of": "captions/0", "kind": "attribute", "language": "en"},
        {"text": "no", "of": "qa/0", "kind": "answer", "language": "en"},
    ]
    boxes = [{"box": [0, 0, 1, 1], "name": THINGS[thing], "name_zh": THINGS_ZH[thing]} for thing in things]
    qa = [{"id": str(number), "question": f"Is there a {THINGS[first]}?", "answers": ["yes"] * 9 + ["no"]}]
    return {"captions": captions, "opposites": opposites, "objects": boxes, "qa": qa}


def regions(number: int, classes: int = 9, features: int = 6) -> Regions:
    """One to five regions, whose features are the number of their picture."""
    count = number % 5 + 1
    generator = torch.Generator().manual_seed(number)
    probs = [torch.rand(count, size, generator=generator) + 0.01 for size in (classes, 9)]
    return Regions(
        features=torch.full((count, features), float(number)),
        boxes=torch.tensor([0.0, 0.0, 0.5, 0.5]).expand(count, 4),
        class_probs=probs[0] / probs[0].sum(1, keepdim=True),
        confidence=torch.rand(count, generator=generator),
        attribute_probs=probs[1] / probs[1].sum(1, keepdim=True),
    )


def write_region_shards(folder, name: str = "train", count: int = 60, without: int | None = None, **widths: int) -> str:
    """Shards of 20; sample `without` has no regions."""
    with ShardWriter(folder, name, max_count=20) as writer:
        for number in range(count):
            members = {"json": record(number), REGIONS: write_regions(regions(number, **widths))}
            if number == without:
                del members[REGIONS]
            writer.write(f"{number:04d}", members)
    return f"{folder}/{name}-*.tar"
