"""A token transformer of a few thousand weights, and a batch for it."""

from functools import partial

import torch

from vl.batch import Batch, Text
from vl.draw import Draw
from vl.models.autoregressive import Autoregressive
from vl.models.token_sequence import CogViewTokens, DalleTokens

SIZES = {"width": 32, "text_vocab": 40, "text_length": 9, "num_codes": 32, "side": 4}
SEQUENCES = {"dalle": DalleTokens, "cogview": CogViewTokens, "aligned": partial(CogViewTokens, aligned=True)}


def batch(rows=3):
    """Texts of 7 tokens, of 5, and of the first token alone."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 40, (rows, 7), generator=generator)
    lengths = torch.tensor([7, 5, 1])[:rows]
    codes = torch.randint(0, 32, (rows, 16), generator=generator)
    draw = Draw.of(0, 0, 0, torch.arange(rows))
    return Batch(text=Text(ids, torch.arange(7) < lengths[:, None]), codes=codes, keys=tuple("abc"[:rows]), draw=draw)


def transformer(sequence="dalle", patterns=("full",), spread=0.2, layers=3, **options):
    torch.manual_seed(0)
    kind = SEQUENCES.get(sequence, sequence)
    model = Autoregressive(kind(**SIZES), layers, 4, patterns, **options).eval()
    for parameter in model.parameters() if spread else ():
        torch.nn.init.normal_(parameter, std=spread)
    return model
