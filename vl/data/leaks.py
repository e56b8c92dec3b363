"""Which pictures of one task's training are another task's test pictures?

12-in-1's rule: "we remove all test images of all tasks from all training sets" (arXiv:1912.02315, section 3). Pictures
are told by where they came from (`source` of their records, such as `coco/42`), and by their bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from vl.data.sample import IMAGE_MEMBERS, read_record
from vl.data.shards import expand_shards
from vl.data.tar import last_part, samples


@dataclass(frozen=True)
class Leak:
    """A training sample whose picture is a test sample's."""

    train: str
    key: str
    test: str
    test_key: str
    name: str


def find_leaks(train: Mapping[str, str | Sequence[str]], test: Mapping[str, str | Sequence[str]]) -> list[Leak]:
    """Every training sample that shows a test picture, once for each test set.

    Where one sample says that two names are one picture (`visual_genome/2 coco/73`), all samples profit.

    Args:
        train, test: shards by the name of their data set.
    """
    trained = {name: list(pictures(shards)) for name, shards in train.items()}
    tested = {name: list(pictures(shards)) for name, shards in test.items()}
    same = aliases(names for found in (*trained.values(), *tested.values()) for _, names in found)
    leaks = []
    for test_set, found in tested.items():
        owner = {same.get(name, name): key for key, names in found for name in names}
        for train_set, samples_of in trained.items():
            for key, names in samples_of:
                known = next(
                    (name for name in sorted(names, key=_sources_first) if same.get(name, name) in owner), None
                )
                if known is not None:
                    leaks.append(Leak(train_set, key, test_set, owner[same.get(known, known)], known))
    return leaks


def _sources_first(name: str) -> tuple[bool, str]:
    """Sorts names before digests of bytes, so that a leak is told by a name where there is one."""
    return "/" not in name, name


def aliases(groups: Iterable[frozenset[str]]) -> dict[str, str]:
    """One name for all that are the same picture, directly or through others."""
    root: dict[str, str] = {}

    def find(name: str) -> str:
        while (above := root.setdefault(name, name)) != name:
            name = above
        return name

    for names in groups:
        first, *others = sorted(names)
        for other in others:
            root[find(other)] = find(first)
    return {name: find(name) for name in list(root)}


def pictures(shards: str | Sequence[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Each sample's key with the names of its pictures: the words of its `source`, and digests of its bytes."""
    for path in expand_shards(shards):
        file = os.open(path, os.O_RDONLY)
        try:
            for key, members in samples(file, path):
                read = {
                    kind: os.pread(file, member.size, member.offset)
                    for kind, member in members.items()
                    if kind == "json" or last_part(kind) in IMAGE_MEMBERS
                }
                source = read_record({"json": read.pop("json", b"{}")}, key).source
                digests = (blake2b(data, digest_size=16).hexdigest() for data in read.values())
                yield key, frozenset([word for word in source.split() if "/" in word]).union(digests)
        finally:
            os.close(file)
