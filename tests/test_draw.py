"""Random numbers are a pure function of the example and the purpose."""

import torch

from vl.draw import Draw


def test_one_example_has_the_numbers_it_has_among_others():
    examples = torch.cat([torch.arange(300), torch.tensor([2**62, -5, -(2**62), 2**63 - 1])])
    draw = Draw.of(3, 1, 0, examples).fold("purpose")
    alone = [Draw(draw.key, examples[i : i + 1]) for i in range(len(examples))]
    assert torch.equal(torch.cat([one.bits() for one in alone]), draw.bits())
    assert torch.equal(torch.cat([one.uniform() for one in alone]), draw.uniform())
    assert draw.bits().min() >= 0
    assert abs(float(draw.uniform(1000).mean()) - 0.5) < 0.005
