"""Retrieval and classification of a whole checkpoint on real shards, beside clip_benchmark's own."""

import io

import open_clip
import pytest
import torch
from clip_benchmark.metrics import zeroshot_classification as peer_classification
from clip_benchmark.metrics import zeroshot_retrieval as peer_retrieval
from evaluation.small import emoji_samples, tiny_clip, write_emoji
from PIL import Image

from vl.checkpoints.bundle import load
from vl.data.shards import ShardWriter
from vl.evaluation.embed import Embedder, read_samples
from vl.evaluation.prompts import TEMPLATES, read_templates
from vl.evaluation.zero_shot_classification import zero_shot_classification
from vl.evaluation.zero_shot_retrieval import zero_shot_retrieval

NUMBER = 45


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The peer's model, our embedder of the same weights, and shards with two English captions a picture."""
    folder = tmp_path_factory.mktemp("world")
    model, spec = tiny_clip(folder)
    return model, Embedder(load(spec), batch_size=16), write_emoji(folder, "val", NUMBER, captions=2)


@pytest.fixture(scope="module")
def pictures():
    """What clip_benchmark reads: open_clip's own pixels (on white, as PNGs with alpha are shown) and the texts."""
    transform = open_clip.image_transform(32, is_train=False)
    rows = []
    for _, data, names in emoji_samples(NUMBER):
        image = Image.open(io.BytesIO(data)).convert("RGBA")
        white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        rows.append((transform(white), [names["en"], f"an emoji of {names['en']}"]))
    return rows


def test_retrieval_equals_clip_benchmark(world, pictures):
    model, embedder, shards = world
    batches = [
        (torch.stack([p for p, _ in pictures[i : i + 16]]), [t for _, t in pictures[i : i + 16]])
        for i in range(0, NUMBER, 16)
    ]
    peer = peer_retrieval.evaluate(model, batches, open_clip.tokenize, "cpu", amp=False, recall_k_list=[1, 5, 10])
    ours = zero_shot_retrieval(embedder, embedder.images(read_samples(shards)), "en")
    assert ours.n == 2 * NUMBER
    for k in (1, 5, 10):
        assert ours.metrics[f"text_to_image/R@{k}"] == pytest.approx(100 * peer[f"image_retrieval_recall@{k}"], abs=0.1)
        assert ours.metrics[f"image_to_text/R@{k}"] == pytest.approx(100 * peer[f"text_retrieval_recall@{k}"], abs=0.1)


def test_classification_equals_clip_benchmark(world, pictures):
    model, embedder, shards = world
    names = [texts[0] for _, texts in pictures]
    templates = TEMPLATES["photo"]["en"] + ("an icon of a {}",)
    peer_templates = [template.replace("{}", "{c}") for template in templates]
    weights = peer_classification.zero_shot_classifier(
        model, open_clip.tokenize, sorted(names), peer_templates, "cpu", amp=False
    )
    with torch.no_grad():
        logits = model.encode_image(torch.stack([p for p, _ in pictures]), normalize=True) @ weights
    goals = torch.tensor([sorted(names).index(name) for name in names])
    right = logits.topk(5).indices == goals[:, None]  # clip_benchmark's own `accuracy` fails with numpy 2.4
    top1, top5 = right[:, 0].float().mean().item(), right.any(1).float().mean().item()
    ours = zero_shot_classification(embedder, embedder.images(read_samples(shards)), "en", templates)
    assert ours.metrics["top1"] == pytest.approx(100 * top1, abs=0.1)
    assert ours.metrics["top5"] == pytest.approx(100 * top5, abs=0.1)
    assert ours.metrics["mean_per_class"] == pytest.approx(ours.metrics["top1"])
    assert "45 classes, 2 prompts" in ours.protocol


def test_batch_size_and_limit_change_no_row(world):
    _, embedder, shards = world
    whole = embedder.images(read_samples(shards))
    other = Embedder(embedder.bundle, batch_size=7).images(read_samples(shards, limit=20))
    assert [s.key for s in other.samples] == [s.key for s in whole.samples[:20]]
    torch.testing.assert_close(other.emb, whole.emb[:20], atol=1e-5, rtol=0)
    texts = ["a", "a much longer caption of a picture", "b c"]
    alone = torch.cat([embedder.texts([text], "en") for text in texts])
    torch.testing.assert_close(embedder.texts(texts, "en"), alone, atol=1e-5, rtol=0)


def test_broken_pictures_are_left_out_with_their_captions_and_counted(world, tmp_path):
    _, embedder, _ = world
    shards = write_emoji(tmp_path, "val", 6, captions=2, broken=(0, 4))
    found = zero_shot_retrieval(embedder, embedder.images(read_samples(shards)), "en")
    assert (found.n, found.groups, found.metrics["unreadable"]) == (8, 4, 2)
    assert "2 unreadable pictures left out" in found.protocol
    shards = write_emoji(tmp_path, "bad", 2, broken=(0, 1))
    with pytest.raises(ValueError, match="not one picture could be read"):
        zero_shot_retrieval(embedder, embedder.images(read_samples(shards)), "en")


def test_samples_without_a_picture_are_left_out_loudly(world, tmp_path):
    _, embedder, _ = world
    with ShardWriter(tmp_path, "text") as writer:
        for i, (key, picture, names) in enumerate(emoji_samples(25)):
            writer.write(key, {"txt": names["en"]} | ({"png": picture} if i else {}))
    with pytest.warns(UserWarning, match=r"1 of \d+ samples are malformed and left out: .*has no picture"):
        samples = read_samples(str(tmp_path / "text-*.tar"))
    assert len(embedder.images(samples).samples) == 24


def test_chinese_is_read_by_its_own_captions(world):
    _, embedder, shards = world
    assert zero_shot_retrieval(embedder, embedder.images(read_samples(shards)), "zh").n == NUMBER
    with pytest.raises(ValueError, match=r"no sample has a caption in 'tlh'; languages there: en, zh"):
        zero_shot_retrieval(embedder, embedder.images(read_samples(shards)), "tlh")


def test_classes_from_a_list_must_hold_every_label(world):
    _, embedder, shards = world
    names = [names["en"] for _, _, names in emoji_samples(NUMBER)]
    images = embedder.images(read_samples(shards))
    more = zero_shot_classification(embedder, images, "en", ["{}"], [*names, "a class without pictures"])
    assert "46 classes" in more.protocol
    with pytest.raises(ValueError, match="44 of 45 pictures have a class that is not listed"):
        zero_shot_classification(embedder, images, "en", ["{}"], names[:1])


def test_templates_come_from_a_set_or_a_file(tmp_path):
    assert read_templates("ensemble", "zh") == TEMPLATES["ensemble"]["zh"]
    assert read_templates("photo", "ja") == ("{}",)
    file = tmp_path / "own.txt"
    file.write_text("a drawing of {}\n\n")
    assert read_templates(str(file), "en") == ("a drawing of {}",)
    file.write_text("a drawing of nothing\n")
    with pytest.raises(ValueError, match="where the class name goes"):
        read_templates(str(file), "en")
    with pytest.raises(ValueError, match="neither a file nor one of name, photo, ensemble"):
        read_templates("ensembel", "en")
