"""A toy recipe: functions that other processes can import."""

import time

from vl.data.card import Card
from vl.data.convert import Part

CARD = Card(name="toy", source="made up", licence="CC0-1.0", splits={"train": "all of it"}, languages=("en",))


def make(number: int):
    """A sample; every tenth item makes none. Slow enough to be killed half-way."""
    time.sleep(0.002)
    return None if number % 10 == 9 else (f"{number:04d}", {"txt": str(number)})


def fail(number: int):
    raise ValueError(f"rows.json, line {number}: no caption")


def parts(count: int = 60) -> list[Part]:
    return [Part(name, "train", range(count), make, max_count=20) for name in ("train-a", "train-b")]
