import pytest
import torch

from vl.data.sample import Object, Sample
from vl.data.views.objects import ObjectsView
from vl.draw import Draw
from vl.evaluation.object_judge import ObjectJudge, place_of, relations_kept
from vl.models.object_grid import ObjectGrid

VIEW = ObjectsView(("cat", "dog"), ("red", "blue"))


def thing(name, colour, x, y):
    return Object((x - 0.1, y - 0.1, x + 0.1, y + 0.1), name, (colour, "large"))


class Known(ObjectGrid):
    """Says what it was told to see: for each picture (name, colour, cell, probability)."""

    def __init__(self, seen):
        super().__init__(VIEW.names, VIEW.attributes, width=8)
        self.seen = seen

    def probs(self, pixels):
        names, colours = torch.zeros(len(pixels), 64, 2), torch.full((len(pixels), 64, 2), 0.5)
        for picture, things in enumerate(self.seen):
            for name, colour, cell, prob in things:
                names[picture, cell, name] = prob
                colours[picture, cell] = torch.nn.functional.one_hot(torch.tensor(colour), 2).float()
        return names, colours


LEFT, LEFT_TOO, RIGHT = 4 * 8 + 1, 4 * 8 + 2, 4 * 8 + 6


@pytest.mark.parametrize(
    ("seen", "found", "share"),
    [
        ([(0, 0, LEFT, 0.9), (1, 1, RIGHT, 0.8)], [True, True], 1.0),
        ([(0, 0, LEFT, 0.4), (0, 0, LEFT_TOO, 0.4), (1, 1, RIGHT, 0.3)], [True, False], 0.5),  # between two cells
        ([(0, 1, LEFT, 0.9), (1, 1, RIGHT, 0.9)], [False, True], 0.5),  # another colour
        ([(0, 0, RIGHT, 0.9), (1, 1, LEFT, 0.9)], [False, False], 0.0),  # places exchanged
    ],
)
def test_verdicts(seen, found, share):
    asked = [[thing("cat", "red", 0.2, 0.5), thing("dog", "blue", 0.8, 0.5)]]
    verdict = ObjectJudge(Known([seen]))(torch.zeros(1, 3, 64, 64), asked)
    assert verdict.found.tolist() == found
    assert verdict.share.tolist() == [share]
    assert verdict.metrics()["object_accuracy"] == 100 * sum(found) / 2


def test_counts_and_relations():
    asked = [[thing("cat", "red", 0.2, 0.5), thing("dog", "blue", 0.8, 0.5)]]
    judge = ObjectJudge(Known([[(0, 0, RIGHT, 1.0), (1, 1, LEFT, 1.0), (1, 1, 0, 1.0)]]))
    verdict = judge(torch.zeros(1, 3, 64, 64), asked)
    assert not verdict.counted.any()
    assert verdict.related.tolist() == [0.0]
    assert relations_kept([(0.2, 0.5), (0.8, 0.5)], [(0.1, 0.9), (0.3, 0.1)]) == 1.0
    assert relations_kept([(0.5, 0.5)], [(0.1, 0.1)]) == 1.0


def test_places():
    found = [place_of(x, y) for x, y in ((0.2, 0.5), (0.8, 0.55), (0.5, 0.2), (0.45, 0.8), (0.55, 0.5), (0.38, 0.5))]
    assert found == ["left", "right", "top", "bottom", "middle", None]


def test_the_view_marks_the_cell_of_each_centre():
    record = b'{"objects": [{"box": [0.1, 0.4, 0.3, 0.6], "name": "dog", "attributes": ["large", "blue"]}]}'
    draw = Draw.of(0, 0, 0, torch.tensor([0]))
    grid = VIEW.example(Sample("k", {"json": record, "jpg": b"x"}), 0, draw).targets["objects"]
    assert grid[4, 1].tolist() == [1, 1]
    assert (grid[..., 0] >= 0).sum() == 1
    with pytest.raises(ValueError, match="none of the listed objects"):
        VIEW.numbers(thing("fox", "red", 0, 0))
