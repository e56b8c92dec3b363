"""Streams as a source of training: whole batches, every rank its own share, bad examples left out."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vl.data.collate import Collator
from vl.data.loader import TrainLoader
from vl.data.module import ShardData
from vl.data.shards import ShardWriter
from vl.data.stages import HorizontalFlip, ImageStage
from vl.data.stream_loader import StreamedSource, StreamLoader
from vl.data.tokenizers import ClipTokenizer
from vl.data.views.caption import CaptionView


def write(folder: Path, bad: range = range(0)) -> str:
    generator = np.random.default_rng(0)
    with ShardWriter(folder, "train", max_count=10) as writer:
        for number in range(40):
            file = io.BytesIO()
            Image.fromarray(generator.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(file, "PNG")
            picture = b"junk" if number in bad else file.getvalue()
            writer.write(f"{number:02d}", {"png": picture, "txt": f"picture {number}"})
    return f"{folder}/train-*.tar"


def loader(source: StreamedSource, workers: int = 0, rank: int = 0, ranks: int = 1) -> StreamLoader:
    collator = Collator(ClipTokenizer(), ImageStage(8, augment=[HorizontalFlip()]))
    return StreamLoader(source, 0, collator, 2, 4 // ranks, workers, (rank, ranks))


@pytest.mark.parametrize("workers", [0, 2])
def test_one_pass_gives_every_example_once_in_whole_batches(tmp_path, workers):
    source = StreamedSource(write(tmp_path), CaptionView(), steps=5, objectives=("itc",), shuffle=5)
    items = list(loader(source, workers))
    assert [[len(batch) for batch in item] for item in items] == [[4, 4]] * 5
    assert {batch.objectives for item in items for batch in item} == {("itc",)}
    keys = [key for item in items for batch in item for key in batch.keys]
    assert workers or len(set(keys)) == 40
    numbers = [int(number) for item in items for batch in item for number in batch.draw.examples]
    assert len(set(numbers)) == 40


def test_ranks_read_different_shards_also_in_workers(tmp_path):
    source = StreamedSource(write(tmp_path), CaptionView(), steps=5, shuffle=0)
    shares = [{key for item in loader(source, 1, rank, 2) for b in item for key in b.keys} for rank in range(2)]
    assert [len(share) for share in shares] == [20, 20]
    assert not shares[0] & shares[1]


@pytest.mark.filterwarnings("ignore:sample")
def test_bad_examples_are_left_out_and_too_many_stop_the_run(tmp_path):
    source = StreamedSource(write(tmp_path, bad=range(3, 5)), CaptionView(), steps=4, shuffle=0)
    stream = loader(source)
    keys = [key for item in stream for batch in item for key in batch.keys]
    assert keys == [f"{n:02d}" for n in range(34) if n not in (3, 4)]
    assert [fault.key for fault in stream.faults] == ["03", "04"]
    source.max_bad = 0.005
    with pytest.raises(ValueError, match=r"2 of 8 examples of the stream are bad"):
        list(loader(source))


def test_a_stream_of_junk_ends(tmp_path):
    source = StreamedSource(write(tmp_path, bad=range(40)), CaptionView(), steps=1)
    with pytest.raises(ValueError, match="examples of the stream are bad, the last: "):
        list(loader(source))


def test_the_data_module_takes_a_stream_and_says_that_it_does_not_resume(tmp_path):
    source = StreamedSource(write(tmp_path), CaptionView(), steps=3)
    data = ShardData(source, ClipTokenizer(), ImageStage(8), batch_size=8, accumulate=2)
    data.prepare_data()
    stream = data.train_dataloader()
    assert not isinstance(stream, TrainLoader)
    assert len(list(stream)) == len(stream) == 3
    assert data.fingerprint()["order"] == "streamed"
    with pytest.warns(UserWarning, match="not exact"):
        stream.load_state_dict(stream.state_dict())
