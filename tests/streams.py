"""Tiny region models and ragged batches of random words and regions, shared by the tests."""

import torch

from vl.batch import Batch, Text, Visual
from vl.models.bert import BertEncoder
from vl.models.co_attention import CoAttention
from vl.models.cross_modality import CrossModality
from vl.models.dual_stream import DualStream
from vl.models.embed import TextEmbedder
from vl.models.lxmert_regions import LxmertRegions
from vl.models.poolers import FirstWordPooler, FusedPooler
from vl.models.single_stream import SingleStream
from vl.models.uniter_regions import UniterRegions
from vl.models.vilbert_regions import VilbertRegions
from vl.models.visual_bert_regions import VisualBertRegions

VOCABULARY, WIDTH, FEATURES, POSITIONS = 60, 24, 10, 20


def uniter(layers=2):
    text, regions = TextEmbedder(VOCABULARY, WIDTH, POSITIONS), UniterRegions(WIDTH, FEATURES)
    return SingleStream(text, regions, BertEncoder(layers, WIDTH, 3, 40), FirstWordPooler(WIDTH))


def visual_bert(layers=2, segment=0):
    text, regions = (
        TextEmbedder(VOCABULARY, WIDTH, POSITIONS),
        VisualBertRegions(WIDTH, FEATURES, 2, POSITIONS, segment),
    )
    return SingleStream(text, regions, BertEncoder(layers, WIDTH, 3, 40), FirstWordPooler(WIDTH))


def lxmert(language=3, relations=2, cross=2):
    text = TextEmbedder(VOCABULARY, WIDTH, POSITIONS, padding_idx=0)
    streams = (BertEncoder(layers, WIDTH, 3, 40) for layers in (language, relations))
    return DualStream(text, LxmertRegions(WIDTH, FEATURES), CrossModality(*streams, cross), FirstWordPooler(WIDTH))


def vilbert(text_layers=4, visual_layers=2, text_ends=(2, 3), visual_ends=(0, 1)):
    text, regions = TextEmbedder(VOCABULARY, WIDTH, POSITIONS), VilbertRegions(32, FEATURES)
    streams = BertEncoder(text_layers, WIDTH, 3, 40), BertEncoder(visual_layers, 32, 4, 28)
    encoder = CoAttention(*streams, text_ends, visual_ends, width=16, heads=2)
    return DualStream(text, regions, encoder, FusedPooler(WIDTH, 32, 16))


MODELS = {"uniter": uniter, "visual_bert": visual_bert, "lxmert": lxmert, "vilbert": vilbert}


def build(name, **sizes):
    """A model in evaluation mode whose weights are large enough to matter, biases and LayerNorms included."""
    torch.manual_seed(0)
    return shake(MODELS[name](**sizes)).eval()


def shake(module, amount=0.15):
    """Random values in place of the small weights, zeros and ones that models begin with, which would hide errors."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * amount)
    return module


def ragged(words=(5, 9, 2, 7), regions=(4, 1, 8, 3), hidden=False, seed=1):
    """A batch of texts and pictures of these lengths. No id is below 2, no padding is zero."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*size):
        return torch.rand(*size, generator=generator)

    text_mask = torch.arange(max(words)) < torch.tensor(words)[:, None]
    ids = torch.randint(2, VOCABULARY, text_mask.shape, generator=generator)
    segment = torch.randint(0, 2, text_mask.shape, generator=generator)
    mask = torch.arange(max(regions)) < torch.tensor(regions)[:, None]
    corners = torch.sort(rand(*mask.shape, 2, 2), dim=2).values
    features = rand(*mask.shape, FEATURES) * 2 - 0.5
    visual = Visual(features=features, boxes=corners.flatten(2), mask=mask)
    if hidden:
        visual = Visual(features=features, boxes=corners.flatten(2), mask=mask, hidden=mask & (rand(*mask.shape) < 0.4))
    return Batch(text=Text(ids, text_mask, segment=segment), visual=visual, keys=tuple(map(str, range(len(words)))))


def alone(batch, row):
    """Example `row` of a batch without pairs, with no padding at all."""
    lt, lv = int(batch.text.mask[row].sum()), int(batch.visual.mask[row].sum())
    text, visual = batch.text, batch.visual
    one = slice(row, row + 1)
    hidden = None if visual.hidden is None else visual.hidden[one, :lv]
    return Batch(
        text=Text(text.ids[one, :lt], text.mask[one, :lt], segment=text.segment[one, :lt]),
        visual=Visual(
            features=visual.features[one, :lv],
            boxes=visual.boxes[one, :lv],
            mask=visual.mask[one, :lv],
            hidden=hidden,
        ),
    )


def score(output, batch):
    """A number that weighs every real word, region and pooled value differently."""
    total = 0
    for x, mask in ((output.text, batch.text.mask), (output.visual, batch.visual.mask), (output.pooled, None)):
        weights = torch.linspace(-1, 1, x.shape[-1]) * torch.arange(1, x.shape[-2] + 1)[:, None].sqrt()
        x = x * weights if mask is not None else x * weights[:1]
        total = total + (x if mask is None else x * mask[..., None]).sum()
    return total


def arguments(batch):
    """What the plain references read of row 0 of an unpadded batch."""
    text, visual = batch.text, batch.visual
    hidden = torch.zeros(visual.features.shape[1]) if visual.hidden is None else visual.hidden[0].float()
    return text.ids[0], text.segment[0], visual.features[0], visual.boxes[0], hidden


def weigh(outputs):
    """A number that depends on every value of some named outputs, and not linearly."""
    total = 0
    for values in outputs.values():
        weights = torch.linspace(0.5, 1.5, values.numel()).view(values.shape)
        total = total + (values.square() * weights).mean()
    return total


def size(module):
    """Number of parameters; tied ones count once."""
    return sum(parameter.numel() for parameter in module.parameters())
