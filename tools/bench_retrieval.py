"""Retrieval by cross-encoders of debug size: pairs a second, ours beside Hugging Face's VisualBERT and LXMERT.

python tools/bench_retrieval.py --json runs/bench/retrieval.json

1,000 pictures and 5,000 captions of ragged lengths are drawn. All five million pairs would take hours, so that both
sides are timed on one block: every pair of some sampled pictures and their captions. Same weights, fp32, no dropout;
scores and ranks must agree. Hugging Face runs batches of pairs padded to their longest, in the order of UNITER's and
ViLBERT's evaluators (a caption with all pictures) and, without a target, in the other. Ours embeds within the clock.

With pre-ranking, ours scores the candidates of two towers, a tenth of the block for each query, and is still timed by
the pairs of the block. Nothing is learned here: the right partner of a query is the one that the cross-encoder scores
best, and the towers, given, are the best of few dimensions for its scores. So the loss in R@1 is that of towers which
agree with the model; what trained ones lose, `python tools/evaluate.py retrieval --rank-by CLIP --loss` measures.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from bench_peers.visualbert import lengths
from torch import Tensor
from transformers import LxmertConfig, LxmertModel, VisualBertConfig, VisualBertModel

from vl.batch import Encoded, Text, Visual
from vl.checkpoints.lxmert import to_lxmert
from vl.checkpoints.visualbert import to_visualbert
from vl.evaluation.cross_encoder import CrossEncoder, Gallery
from vl.evaluation.pair_retrieval import candidates
from vl.metrics.folds import retrieve_scores
from vl.models.bert import BertEncoder
from vl.models.cross_modality import CrossModality
from vl.models.dual_stream import DualStream
from vl.models.embed import TextEmbedder
from vl.models.lxmert_regions import LxmertRegions
from vl.models.packing import Table
from vl.models.poolers import FirstWordPooler
from vl.models.single_stream import SingleStream
from vl.models.visual_bert_regions import VisualBertRegions
from vl.objectives.itm import ITM
from vl.report.figures import Comparison, compare, rate, settings, write_bench

PICTURES, CAPTIONS = 1000, 5
#: The sizes of configs/debug/{visualbert,lxmert}_scenes.yaml.
VOCABULARY, WIDTH, HEADS, MLP, FEATURES, POSITIONS = 1000, 128, 4, 256, 512, 64
WORDS = {"vocab_size": VOCABULARY, "width": WIDTH, "context_length": POSITIONS}
STREAM = {"width": WIDTH, "heads": HEADS, "mlp_width": MLP}
SIZES = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": MLP}
#: Axes of a matrix of scores: along the first, a text chooses a picture.
WAYS = ("text_to_image", "image_to_text")
ORDERS = ("a caption with all pictures", "a picture with all captions")
QUICK = {"pictures": 6, "repeats": 1}
TOLERANCE = 1e-4
#: Width of the towers' embeddings.
TOWERS = 16
Stream = TypeVar("Stream", SingleStream, DualStream)


@dataclass(frozen=True)
class Block:
    """Some pictures with captions of each; caption i belongs to picture `owners[i]`."""

    text: Text
    visual: Visual
    owners: Tensor


@dataclass(frozen=True)
class System:
    """Our model with its matching head, and Hugging Face's model: the pooled vectors of padded pairs."""

    name: str
    model: SingleStream | DualStream
    head: ITM
    peer: Callable[[Text, Visual], Tensor]


def sample(args: argparse.Namespace) -> Block:
    """The block that is timed."""
    words, regions = lengths(PICTURES * CAPTIONS, "ragged")[0], lengths(PICTURES, "ragged")[1]
    chosen = torch.randperm(PICTURES)[: args.pictures]
    words, regions = words.view(PICTURES, CAPTIONS)[chosen, : args.captions].flatten(), regions[chosen]
    mask, seen = (torch.arange(int(counts.max())) < counts[:, None] for counts in (words, regions))
    corners = torch.rand(*seen.shape, 2, 2).sort(dim=2).values.flatten(2)
    visual = Visual(features=torch.rand(*seen.shape, FEATURES) * seen[..., None], boxes=corners, mask=seen)
    owners = torch.arange(args.pictures).repeat_interleave(args.captions)
    return Block(Text(torch.randint(5, VOCABULARY, mask.shape) * mask, mask), visual, owners)


@torch.no_grad()
def grow(model: Stream) -> Stream:
    """With three times the weights it starts with, the score of a pair depends on both of its sides."""
    for parameter in model.parameters():
        parameter.mul_(3 if parameter.ndim > 1 else 1)
    return model


def visualbert() -> tuple[SingleStream, Callable[[Text, Visual], Tensor]]:
    regions = VisualBertRegions(WIDTH, FEATURES, positions=POSITIONS)
    ours = grow(SingleStream(TextEmbedder(**WORDS), regions, BertEncoder(3, **STREAM), FirstWordPooler(WIDTH)))
    peer = VisualBertModel(
        VisualBertConfig(visual_embedding_dim=FEATURES, num_hidden_layers=3, max_position_embeddings=POSITIONS, **SIZES)
    ).eval()
    peer.load_state_dict({name.removeprefix("visual_bert."): x for name, x in to_visualbert(ours.state_dict()).items()})

    def pool(text: Text, visual: Visual) -> Tensor:
        words = {"input_ids": text.ids, "attention_mask": text.mask.long()}
        segments = torch.zeros(visual.mask.shape, dtype=torch.long)
        shown = {"visual_attention_mask": visual.mask.long(), "visual_token_type_ids": segments}
        return peer(**words, visual_embeds=visual.features, **shown).pooler_output

    return ours, pool


def lxmert() -> tuple[DualStream, Callable[[Text, Visual], Tensor]]:
    encoder = CrossModality(BertEncoder(1, **STREAM), BertEncoder(1, **STREAM), depth=2)
    text, regions = TextEmbedder(padding_idx=0, **WORDS), LxmertRegions(WIDTH, FEATURES)
    ours = grow(DualStream(text, regions, encoder, FirstWordPooler(WIDTH)))
    layers = {"l_layers": 1, "r_layers": 1, "x_layers": 2}
    peer = LxmertModel(
        LxmertConfig(visual_feat_dim=FEATURES, **layers, max_position_embeddings=POSITIONS, **SIZES)
    ).eval()
    peer.load_state_dict({name.removeprefix("lxmert."): x for name, x in to_lxmert(ours.state_dict()).items()})

    def pool(text: Text, visual: Visual) -> Tensor:
        words = {"input_ids": text.ids, "attention_mask": text.mask.float()}
        shown = {"visual_feats": visual.features, "visual_pos": visual.boxes}
        return peer(**words, **shown, visual_attention_mask=visual.mask.float()).pooled_output

    return ours, pool


def systems() -> Iterator[System]:
    for name, make in (("VisualBERT", visualbert), ("LXMERT", lxmert)):
        model, peer = make()
        head = ITM()
        head.setup(model)
        yield System(name, model.eval(), head, peer)


@torch.inference_mode()
def peer_scores(system: System, block: Block, order: str, batch: int) -> Tensor:
    """The scores of every picture with every text, in batches of pairs padded to their longest."""
    texts, pictures = torch.arange(len(block.owners)), torch.arange(len(block.visual.mask))
    by_caption = order == ORDERS[0]
    pairs = torch.cartesian_prod(texts, pictures) if by_caption else torch.cartesian_prod(pictures, texts).flip(1)
    found = []
    for some in pairs.split(batch):
        text, visual = block.text.rows(some[:, 0]), block.visual.rows(some[:, 1])
        words, regions = int(text.mask.sum(1).max()), int(visual.mask.sum(1).max())
        text = Text(text.ids[:, :words], text.mask[:, :words])
        shown = {"features": visual.features, "boxes": visual.boxes, "mask": visual.mask}
        visual = Visual(**{name: x[:, :regions] for name, x in shown.items()})
        found.append(system.head.scores(Encoded(pooled=system.peer(text, visual))))
    scores = torch.cat(found)
    return scores.view(len(texts), -1).T if by_caption else scores.view(len(pictures), -1)


@torch.inference_mode()
def gallery(system: System, block: Block) -> Gallery:
    texts, pictures = system.model.embed_text(block.text), system.model.embed_visual(block.visual)
    return Gallery(Table.of([texts]), Table.of([pictures]), block.owners, ())


def towers(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings of texts and pictures whose products come as near the scores as their width allows."""
    pictures, strength, texts = torch.linalg.svd(scores, full_matrices=False)
    return texts[:TOWERS].T, pictures[:, :TOWERS] * strength[:TOWERS]


def lost(scores: Tensor, kept: Tensor) -> dict[str, float]:
    """Of 100 queries each way, those whose best partner is no candidate."""
    found = {way: kept.gather(axis, scores.argmax(axis, keepdim=True)) for axis, way in enumerate(WAYS)}
    return {f"lost {way}/R@1": 100 * (1 - right.float().mean().item()) for way, right in found.items()}


def difference(own: Tensor, other: Tensor, owners: Tensor) -> float:
    """The largest one of the scores; infinite where ranks differ by more than scores within 1e-5 can change places."""
    best, worst = (retrieve_scores(own, owners, tie=tie) for tie in (-1e-5, 1e-5))
    theirs = retrieve_scores(other, owners)
    found = [[getattr(ranks, way) for ranks in (best, theirs, worst)] for way in WAYS]
    alike = all(bool(((low <= rank) & (rank <= high)).all()) for low, rank, high in found)
    return float((own - other).abs().max()) if alike else math.inf


def measure(system: System, args: argparse.Namespace) -> Iterator[Comparison]:
    timed, encoder = sample(args), CrossEncoder(system.model, system.head.scores, args.tokens)
    pairs, count = len(timed.owners) * args.pictures, max(1, args.pictures // 10)

    def every() -> Tensor:
        return encoder.matrix(gallery(system, timed))

    def some() -> Tensor:
        return encoder.matrix(gallery(system, timed), candidates(*emb, count))

    scores = every()
    emb = towers(scores)
    kept = candidates(*emb, count)
    about = {"candidates": count, "scored": f"{kept.float().mean():.1%}", **lost(scores, kept)}
    print(f"{system.name}, candidates: {about}")
    for ours, case, order in ((every, "every pair", 0), (every, "every pair", 1), (some, "candidates", 0)):
        peer = partial(peer_scores, system, timed, ORDERS[order], args.batch)
        yield compare(
            rate(ours, pairs),
            rate(peer, pairs),
            name=f"{system.name} retrieval",
            case=f"{case}; peer: {ORDERS[order]}",
            unit="pairs/s",
            pairs=args.repeats,
            check=difference(scores, peer(), timed.owners),
            settings=about if ours is some else {},
        )


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=64, help=f"of the block, of {PICTURES:,} (%(default)s)")
    parser.add_argument("--captions", type=int, default=1, help=f"of each of its pictures, of {CAPTIONS} (%(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="pairs of a batch of the peer (%(default)s: its fastest)")
    parser.add_argument("--tokens", type=int, default=2048, help="of a batch of ours (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of timed runs over the block")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="where the figures go")
    parser.add_argument("--quick", action="store_true", help=f"a short run of the same code: {QUICK}")
    args = parser.parse_args(words)
    if args.quick:
        vars(args).update(QUICK)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    results = [found for system in systems() for found in measure(system, args)]
    of = {"pictures": [args.pictures, PICTURES], "captions": [args.pictures * args.captions, PICTURES * CAPTIONS]}
    own = {"timed block": of, "batch": args.batch, "tokens": args.tokens, "seed": args.seed, "precision": "fp32"}
    write_bench(args.json, results, settings(**own), quick=args.quick, tolerance=TOLERANCE)


if __name__ == "__main__":
    main()
