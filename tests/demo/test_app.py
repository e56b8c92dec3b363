"""The demo's answers, its gallery and its page, without a browser."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from demo.sample_model import save_tiny_model
from evaluation.small import emoji_samples, write_emoji
from PIL import Image

from vl.batch import Batch, Visual
from vl.checkpoints.bundle import load
from vl.demo.answers import MAX_CHARACTERS, MAX_LABELS, NUM_HITS, Answers, Refusal, language_of, read_labels
from vl.demo.app import build, show_hits
from vl.demo.gallery import MAX_BYTES, THUMBNAIL, Gallery, Hit, read_gallery
from vl.demo.words import LANGUAGES, WORDS, Speech
from vl.evaluation.embed import Embedder
from vl.evaluation.prompts import TEMPLATES

COUNT = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of shards, and one of pictures in which a file is no picture, one is cut short and one is too large."""
    folder = tmp_path_factory.mktemp("demo")
    write_emoji(folder / "shards", "emoji", COUNT)
    (folder / "pictures/more").mkdir(parents=True)
    for i, (_, picture, names) in enumerate(emoji_samples(6)):
        (folder / "pictures" / ("more" if i % 2 else "") / f"{names['en']}.PNG").write_bytes(picture)
    (folder / "pictures/broken.jpg").write_bytes(b"<html>not found</html>")
    (folder / "pictures/cut.png").write_bytes(picture[: len(picture) // 2])
    (folder / "pictures/large.webp").write_bytes(bytes(MAX_BYTES + 1))
    (folder / "pictures/notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def embedder(folder):
    return Embedder(load(save_tiny_model(folder / "model")))


@pytest.fixture(scope="module")
def answers(folder, embedder):
    return Answers(embedder, Gallery.embed(embedder, read_gallery(str(folder / "shards"), COUNT)))


@pytest.fixture(scope="module")
def upload(folder):
    """The tenth picture of the gallery, as a file."""
    path = folder / "upload.png"
    path.write_bytes(list(emoji_samples(10))[-1][1])
    return str(path)


def bytes_of(image, kind="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_a_picture_finds_itself(answers, upload):
    hits = answers.search_picture(upload)
    assert len(hits) == NUM_HITS
    assert hits[0].sample.key == list(emoji_samples(10))[-1][0]
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_words_find_what_the_model_finds(answers, embedder):
    for words in ("grinning face", "笑脸"):
        text = embedder.bundle.tokenizer.encode([words], [0 if words.isascii() else 1])
        with torch.no_grad():
            cosines = answers.gallery.images.emb @ embedder.bundle.model(Batch(text=text)).text_emb[0]
        order = cosines.argsort(descending=True)[:NUM_HITS].tolist()
        found = [hit.sample.key for hit in answers.search_words(f"  {words} ")]
        assert found == [answers.gallery.images.samples[i].key for i in order]


def test_probabilities_are_the_model_s_own(answers, embedder, upload):
    """One label by one through the plain model, in the language of each."""
    labels, model, bundle = ["cat", "猫", "a red heart", "汽车"], embedder.bundle.model, embedder.bundle
    with torch.no_grad():
        pixels = bundle.image.without_chance()(Path(upload).read_bytes())
        image = model(Batch(visual=Visual(pixels=pixels[None]))).image_emb
        cosines = []
        for label in labels:
            language = "zh" if not label.isascii() else "en"
            prompts = [template.replace("{}", label) for template in TEMPLATES["ensemble"][language]]
            rows = torch.cat([model(Batch(text=bundle.tokenizer.encode([p]))).text_emb for p in prompts])
            mean = rows.mean(0)
            cosines.append(image[0] @ mean / mean.norm())
    expected = (torch.stack(cosines) * model.logit_scale.exp()).softmax(0)
    found = answers.classify(upload, "cat， 猫、a red heart;汽车,cat\n", "ensemble")
    assert list(found) == labels
    assert list(found.values()) == pytest.approx(expected.tolist(), abs=1e-5)


def test_labels_are_split_in_both_languages_and_bounded():
    assert read_labels(" a cat,，dog；鸟、鱼\na cat ;") == ["a cat", "dog", "鸟", "鱼"]
    assert len(read_labels(",".join(map(str, range(MAX_LABELS))))) == MAX_LABELS
    for labels, reason in (
        (" ,， ", "no_labels"),
        (",".join(map(str, range(MAX_LABELS + 1))), "many_labels"),
        ("x" * (MAX_CHARACTERS + 1), "long_text"),
        ("a," * 10**6, "many_labels"),
    ):
        with pytest.raises(Refusal) as refusal:
            read_labels(labels)
        assert refusal.value.reason == reason
    assert [language_of(text) for text in ("cat", "猫", "a 猫", "café", "")] == ["en", "zh", "zh", "en", "en"]


@pytest.mark.filterwarnings("ignore:refused an upload")
def test_bad_requests_are_refused_by_name(answers, upload, folder):
    bomb = folder / "bomb.png"
    bomb.write_bytes(bytes_of(Image.new("1", (9000, 9000))))
    large = folder / "pictures/large.webp"
    for ask, reason in (
        (lambda: answers.classify(None, "cat", "name"), "no_picture"),
        (lambda: answers.classify(upload, "", "name"), "no_labels"),
        (lambda: answers.search_words("  "), "no_words"),
        (lambda: answers.search_words("x" * (MAX_CHARACTERS + 1)), "long_text"),
        (lambda: answers.search_picture(None), "no_picture"),
        (lambda: answers.search_picture(str(folder / "pictures/broken.jpg")), "bad_picture"),
        (lambda: answers.search_picture(str(folder / "pictures/cut.png")), "bad_picture"),
        (lambda: answers.search_picture(str(bomb)), "bad_picture"),
        (lambda: answers.search_picture(str(large)), "bad_picture"),
    ):
        with pytest.raises(Refusal) as refusal:
            ask()
        assert refusal.value.reason == reason
        assert set(WORDS[reason]) == set(LANGUAGES)


def test_a_language_the_vocabulary_lacks_is_noticed(answers):
    assert not answers.foreign(["a smiling face", "I"])
    assert answers.foreign(["a smiling face", "笑脸"])  # CLIP's vocabulary spells Chinese in bytes


def test_a_folder_of_pictures_is_a_gallery(folder, embedder):
    with pytest.warns(UserWarning, match="3 of 9 pictures could not be read"):
        gallery = Gallery.embed(embedder, read_gallery(str(folder / "pictures"), 100))
    assert set(gallery.images.bad) == {"broken", "cut", "large"}
    names = {names["en"] for _, _, names in emoji_samples(6)}
    assert {hit.caption("en").removeprefix("more/") for hit in gallery.first(9)} == names
    with pytest.warns(UserWarning, match="the first 4 of 9 pictures"):
        samples = read_gallery(str(folder / "pictures"), 4)
    assert len(list(samples)) == 4


def test_a_place_without_pictures_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"neither shards .* nor pictures"):
        read_gallery(str(tmp_path), 10)
    with pytest.raises(ValueError, match="no shard is named"):
        read_gallery(str(tmp_path / "none-*.tar"), 10)


def test_thumbnails_are_small_whatever_the_pictures(answers):
    for sample in answers.gallery.images.samples:
        assert "png" not in sample.members
        assert Image.open(io.BytesIO(sample.members[THUMBNAIL])).size == (224, 224)


def test_captions_follow_the_language_and_cannot_be_markup(answers):
    hit = answers.gallery.first(1)[0]
    names = next(emoji_samples(1))[2]
    assert hit.caption("zh") == names["zh"]
    assert hit.caption("en") == hit.caption("fr") == names["en"]
    evil = '"><script>alert(1)</script>'
    html = show_hits(("closest", evil, [Hit(replace(hit.sample, key=evil, members={}), 0.5)]), "en")
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 4
    assert '="">' not in html


def test_every_word_is_there_in_every_language():
    for key, spoken in WORDS.items():
        assert set(spoken) == set(LANGUAGES), key
    values = [[value for _, value in spoken] for spoken in WORDS["prompt_choices"].values()]
    assert values == [["ensemble", "photo", "name"]] * 2
    assert set(values[0]) == set(TEMPLATES)


def test_the_page_switches_its_words_and_reaches_for_nothing(answers):
    page = build(answers, "zh")
    config = page.get_config_file()
    assert not config["analytics_enabled"]
    shown = str([component["props"] for component in config["components"]])
    assert WORDS["by_words"]["zh"] in shown
    assert WORDS["by_words"]["en"] not in shown
    assert not any(event["api_visibility"] == "public" for event in config["dependencies"])
    speech = Speech("en")
    speech.say(dict, label="words", value="name")
    assert speech.components == [{"label": WORDS["words"]["en"], "value": WORDS["name"]["en"]}]
    (update,) = speech.switch("zh")
    assert (update["label"], update["value"]) == (WORDS["words"]["zh"], WORDS["name"]["zh"])
