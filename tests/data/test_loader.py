"""Loaders: the same batches for any ranks, workers and accumulation; exact resume; bad members."""

import io
import time
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vl.batch import Batch
from vl.data.collate import Collator
from vl.data.loader import EvalLoader, TrainLoader, check_split, eval_loader
from vl.data.mixture import Mixture, Source
from vl.data.order import LengthBuckets, Order, Shuffle, TokenBudget
from vl.data.shards import ShardWriter
from vl.data.stages import ColorJitter, HorizontalFlip, ImageStage, RandomResizedCrop
from vl.data.tokenizers import ClipTokenizer
from vl.data.views.caption import CaptionView
from vl.data.views.qa import QAView

WORDS = ["red", "fox", "jumps", "over", "the", "lazy", "dog", "while", "quiet", "owls", "watch", "an", "old", "oak"]
IMAGE = ImageStage(16, crop=RandomResizedCrop(scale=(0.3, 1.0)), augment=[HorizontalFlip(), ColorJitter()])
TOKENIZER = ClipTokenizer()


def picture(number: int, kind: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((50, 40), Image.Resampling.BICUBIC).save(file, kind)
    return file.getvalue()


def write_shards(folder: Path, name: str, count: int, bad: dict[int, bytes] | None = None, size: int = 10) -> str:
    """`count` samples with two captions of different lengths; `bad` replaces pictures."""
    with ShardWriter(folder, name, max_count=size) as writer:
        for number in range(count):
            captions = [
                {"text": f"{number} {' '.join(WORDS[: 1 + (7 * number) % 14])}"},
                {"text": f"第{number}张图", "language": "zh"},
            ]
            data = (bad or {}).get(number) or picture(number)
            writer.write(f"{name}-{number:04d}", {"jpg": data, "json": {"captions": captions}})
    return f"{folder}/{name}-*.tar"


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("shards")
    return write_shards(folder, "train-a", 53), write_shards(folder, "train-b", 34)


def sources(shards: tuple[str, str]) -> list[Source]:
    return [
        Source(shards[0], CaptionView(), weight=2.0, name="a", objectives=("itc",)),
        Source(shards[1], CaptionView(languages=("en",)), name="b"),
    ]


def train_loader(
    shards: tuple[str, str], order: Order, ranks: int = 1, rank: int = 0, workers: int = 0, accumulate: int = 1
) -> TrainLoader:
    mixture = Mixture(sources(shards), 7, 8, order, TOKENIZER)
    return TrainLoader(mixture, Collator(TOKENIZER, IMAGE), accumulate, workers, rank, ranks)


def rows(batch: Batch) -> list[tuple]:
    """Everything an example shows, row by row."""
    assert batch.text is not None
    assert batch.visual is not None
    assert batch.draw is not None
    pixels = batch.visual.pixels.numpy()
    return [
        (
            batch.keys[i],
            tuple(batch.text.ids[i][batch.text.mask[i]].tolist()),
            int(batch.text.language[i]),
            pixels[i].tobytes(),
            int(batch.draw.examples[i]),
            batch.draw.key,
            batch.objectives,
        )
        for i in range(len(batch))
    ]


def global_batches(
    shards: tuple[str, str], order: Order, first: int, last: int, ranks: int, workers: int, accumulate: int
) -> list[list[tuple]]:
    """The rows of each global batch of steps first..last-1, from all ranks, sorted."""
    loaders = [train_loader(shards, order, ranks, rank, workers, accumulate) for rank in range(ranks)]
    for loader in loaders:
        loader.load_state_dict({"steps": first})
    steps: list[list] = []
    for _, *items in zip(range(first, last), *loaders, strict=False):
        assert [len(batch) for batch in items[0]] == [len(batch) for batch in items[-1]]
        steps.append(sorted(row for item in items for batch in item for row in rows(batch)))
    return steps


@pytest.mark.parametrize(
    "order", [Shuffle(window=2), LengthBuckets(window=2, pool=3), TokenBudget(tokens=80, multiple=4)]
)
def test_resume_with_other_ranks_workers_and_accumulation_gives_the_same_batches(shards, order):
    loader = train_loader(shards, order)
    whole = global_batches(shards, order, 0, len(loader), 1, 0, 1)
    assert len(whole) == len(loader) >= 10
    assert {len({row[-1] for row in step}) for step in whole} == {1}, "one source a step"
    assert {row[-1] for step in whole for row in step} == {("itc",), ()}
    for first, ranks, workers, accumulate in [(3, 2, 0, 2), (4, 4, 0, 1), (1, 1, 0, 2), (5, 2, 0, 1)]:
        assert global_batches(shards, order, first, len(loader), ranks, workers, accumulate) == whole[first:]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(shards, workers):
    order = LengthBuckets(window=2, pool=3)
    whole = global_batches(shards, order, 0, 6, 1, 0, 1)
    assert global_batches(shards, order, 2, 6, 2, workers, 2) == whole[2:]


def test_micro_batches_of_all_ranks_are_slices_of_the_global_batch(shards):
    one = next(iter(train_loader(shards, Shuffle())))[0]
    ranks = [next(iter(train_loader(shards, Shuffle(), ranks=2, rank=rank, accumulate=2))) for rank in range(2)]
    for micro in range(2):
        keys = one.keys[4 * micro : 4 * micro + 4]
        assert [ranks[0][micro].keys, ranks[1][micro].keys] == [keys[0::2], keys[1::2]]


def test_state_counts_what_was_given_not_what_workers_read_ahead(shards):
    loader = train_loader(shards, Shuffle(), workers=1)
    iterator = iter(loader)
    for step in range(3):
        assert loader.state_dict() == {"steps": step}
        next(iterator)
    assert loader.state_dict() == {"steps": 3}


def test_iterating_again_goes_on_and_every_epoch_is_shuffled_anew(shards):
    mixture = Mixture([Source(shards[0], CaptionView(), name="a")], 0, 8)
    loader = TrainLoader(mixture, Collator(TOKENIZER, IMAGE), 1, 0, 0, 1)
    epochs = [[batch.keys for (batch,) in loader] for _ in range(2)]
    assert len(epochs[0]) == len(epochs[1]) == len(loader) == 53 // 8
    assert loader.step == 2 * len(loader)
    assert epochs[0] != epochs[1]
    seen = [key for keys in epochs[0] for key in keys]
    assert len(set(seen)) == len(seen) == 48


def test_captions_and_crops_change_with_the_epoch(shards):
    mixture = Mixture([Source(shards[0], CaptionView(), name="a")], 0, 8)
    loader = TrainLoader(mixture, Collator(TOKENIZER, IMAGE), 1, 0, 0, 1)
    first, second = ({row[0]: row for (batch,) in loader for row in rows(batch)} for _ in range(2))
    both = first.keys() & second.keys()
    languages = [first[key][2] != second[key][2] for key in both]
    assert 0.25 < np.mean(languages) < 0.75
    assert sum(first[key][3] == second[key][3] for key in both) == 0


def test_a_long_run_resumes_at_once(shards):
    mixture = Mixture(sources(shards), 7, 8)
    counted = [0, 0]
    for step in range(9000):
        source, turn = mixture._turn(step)
        assert turn == counted[source]
        counted[source] += 1
    assert 0.64 < counted[0] / 9000 < 0.69
    fresh = Mixture(sources(shards), 7, 8)
    assert fresh._turn(8999) == mixture._turn(8999)
    assert fresh.plan(1_000_000).epoch > 80_000


BAD = {3: b"junk", 17: b"", 18: picture(18)[:300], 41: b"<html>"}


def test_sources_are_taken_in_their_steps(shards):
    first, second = sources(shards)[:2]
    early = Source(first.shards, first.view, name="early", steps=(0, 6000))
    late = Source(second.shards, second.view, name="late", steps=(5990, None))
    always = Source(first.shards, first.view, name="always", weight=0.5)
    mixture = Mixture([early, late, always], 7, 8)
    taken = np.array([mixture._turn(step)[0] for step in range(5800, 6300)])
    assert set(taken[:190].tolist()) == {0, 2}
    assert set(taken[200:].tolist()) == {1, 2}
    assert abs((taken[200:] == 2).mean() - 1 / 3) < 0.11
    again = Mixture([early, late, always], 7, 8)
    assert again.plan(6299).ids.tolist() == mixture.plan(6299).ids.tolist()
    assert mixture.fingerprint()["steps of early"] == "0 to 6000"
    assert "steps of always" not in mixture.fingerprint()
    with pytest.raises(ValueError, match="no source may be taken at step 6000"):
        Mixture([early], 7, 8)
    with pytest.raises(ValueError, match="before a later one"):
        Source(first.shards, first.view, steps=(5, 5))


@pytest.fixture
def damaged(tmp_path) -> str:
    return write_shards(tmp_path, "train-bad", 53, {n: data or b"\xff\xd8" for n, data in BAD.items()})


def bad_loader(damaged: str, ranks: int = 1, rank: int = 0, max_bad: float = 0.05) -> TrainLoader:
    mixture = Mixture([Source(damaged, CaptionView(), name="bad", max_bad=max_bad)], 0, 8)
    return TrainLoader(mixture, Collator(TOKENIZER, IMAGE), 1, 0, rank, ranks)


@pytest.mark.filterwarnings("ignore:sample train-bad")
def test_a_bad_member_is_replaced_by_the_next_readable_example_of_its_shard(damaged):
    loader = bad_loader(damaged)
    batches = [batch for (batch,) in loader]
    assert {len(batch) for batch in batches} == {8}
    replaced = {fault.key[-2:]: fault.replaced_by[-2:] for fault in loader.faults}
    assert set(replaced.items()) <= {("03", "04"), ("17", "19"), ("18", "19"), ("41", "42")}
    assert len(replaced) >= 3
    assert loader.num_faults == len(loader.faults) == len(replaced)
    assert all("picture" in fault.reason for fault in loader.faults)
    keys = [key for batch in batches for key in batch.keys]
    assert not {f"train-bad-{n:04d}" for n in BAD} & set(keys)
    halves = [[batch.keys for (batch,) in bad_loader(damaged, 2, rank)] for rank in range(2)]
    assert [batch.keys for batch in batches] == [
        tuple(np.ravel(pair, order="F").tolist()) for pair in zip(*halves, strict=True)
    ]


def test_replacements_are_reported_as_they_happen(damaged):
    with pytest.warns(UserWarning, match=r"sample train-bad-00\d\d is bad and was replaced by train-bad-00\d\d"):
        list(bad_loader(damaged))


@pytest.mark.filterwarnings("ignore:sample train-bad")
def test_too_many_bad_members_stop_the_run(damaged):
    loader = bad_loader(damaged, max_bad=0.01)
    with pytest.raises(
        ValueError, match=r"3 of \d+ examples of bad are bad, more than max_bad = 1%; the last is train"
    ):
        list(chain(loader, loader))


@pytest.mark.filterwarnings("ignore:sample train-")
def test_a_shard_without_one_readable_picture_is_an_error(tmp_path):
    shards = write_shards(tmp_path, "train-worst", 16, dict.fromkeys(range(10), b"junk"))
    mixture = Mixture([Source(shards, CaptionView(), max_bad=1.0)], 0, 8)
    with pytest.raises(ValueError, match="no example of the shard of train-worst-000"):
        list(TrainLoader(mixture, Collator(TOKENIZER, IMAGE), 1, 0, 0, 1))


def test_evaluation_leaves_a_bad_example_out_and_says_so(damaged):
    loader = eval_loader(damaged, CaptionView(), TOKENIZER, IMAGE.without_chance(), batch_size=10)
    with pytest.warns(UserWarning, match="train-bad-0003 is bad and was left out"):
        keys = [key for batch in loader for key in batch.keys]
    assert keys == [f"train-bad-{n:04d}" for n in range(53) if n not in BAD]
    assert loader.num_faults == 4
    assert [fault.key for fault in loader.faults] == [f"train-bad-{n:04d}" for n in BAD]
    assert all(fault.replaced_by is None for fault in loader.faults)


@pytest.mark.parametrize(("world_size", "workers"), [(1, 0), (2, 2), (3, 0), (60, 0)])
def test_evaluation_covers_every_example_once_over_ranks(shards, world_size, workers):
    source = Source(shards[0], CaptionView(choose="all"))
    collator = Collator(TOKENIZER, IMAGE.without_chance())
    loaders = [EvalLoader(source, collator, 7, workers, rank, world_size) for rank in range(world_size)]
    batches = [list(loader) for loader in loaders]
    assert {len(loader) for loader in loaders} == {max(len(ranks) for ranks in batches)}
    texts = [row[0:2] for ranks in batches for batch in ranks for row in rows(batch)]
    assert len(texts) == len(set(texts)) == 106


def test_questions_carry_their_answers_as_targets(tmp_path):
    with ShardWriter(tmp_path, "val-qa") as writer:
        for number in range(3):
            asked = [{"id": f"{number}.{i}", "question": f"how many {i}?", "answers": [str(i)]} for i in range(number)]
            writer.write(f"k{number}", {"png": picture(number, "PNG"), "json": {"qa": asked}})
    (batch,) = eval_loader(f"{tmp_path}/*.tar", QAView(), TOKENIZER, ImageStage(8), batch_size=9)
    assert batch.keys == ("k1", "k2", "k2")
    assert batch.targets == {"id": ("1.0", "2.0", "2.1"), "answers": (("0",), ("0",), ("1",)), "type": ("", "", "")}


def test_a_batch_that_does_not_divide_names_those_that_do():
    with pytest.raises(ValueError, match=r"batch_size = 30 .* 4 ranks x accumulate = 2 .* 24 or 32"):
        check_split(Shuffle(), 30, 2, 4)
    with pytest.raises(ValueError, match=r"order.multiple = 6 .* do: 4 or 8"):
        check_split(TokenBudget(tokens=9, multiple=6), 32, 1, 4)
    check_split(Shuffle(), 32, 2, 4)


def test_a_source_smaller_than_a_batch_is_refused(shards):
    with pytest.raises(ValueError, match="34 examples, less than one global batch of 40"):
        Mixture(sources(shards), 0, 40)


def test_global_random_numbers_stay_untouched(shards):
    state = torch.get_rng_state()
    next(iter(train_loader(shards, Shuffle(), workers=1)))
    assert torch.equal(state, torch.get_rng_state())


def test_workers_end_with_their_loader(shards):
    loader = train_loader(shards, Shuffle(), workers=2)
    iterator = iter(loader)
    next(iterator)
    workers = loader._loader._iterator._workers
    start = time.monotonic()
    del iterator, loader
    assert time.monotonic() - start < 8, "told to stop, not waited for in vain"
    assert not any(worker.is_alive() for worker in workers)
