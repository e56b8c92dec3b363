"""The emoji recipe: its concepts and splits in full, its shards on a small run."""

import importlib.util
import io
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from vl.data.card import read_card, verify_shards
from vl.data.index import ShardSet
from vl.data.sample import LANGUAGES
from vl.data.views.caption import CaptionView

RECIPE = Path(__file__).parents[2] / "datasets/emoji/convert.py"


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("emoji_recipe", RECIPE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["emoji_recipe"] = module
    spec.loader.exec_module(module)
    module.emoji.config.load_language()
    yield module
    del sys.modules["emoji_recipe"]


@pytest.fixture(scope="module")
def parts(recipe) -> list:
    """What a whole run would draw."""
    return recipe.parts(recipe.concepts(None), 128)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """Made as a user would, by as many processes as there are cores."""
    folder = tmp_path_factory.mktemp("emoji")
    command = [sys.executable, str(RECIPE), "--out", str(folder), "--limit", "30"]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return folder


@pytest.mark.parametrize(
    ("char", "concept", "skin", "gender"),
    [
        ("🐙", "1f419", (), ()),
        ("👋🏽", "1f44b", ("medium",), ()),
        ("👩🏾‍🚀", "1f9d1-1f680", ("medium-dark",), ("woman",)),
        ("🏃‍♀️‍➡️", "1f3c3", (), ("woman",)),
        ("🏃🏿‍♂️", "1f3c3", ("dark",), ("man",)),
        ("👨‍👩‍👧", "1f46a", (), ("man", "woman", "girl")),
        ("👩‍❤️‍👨", "1f491", (), ("woman", "man")),
        ("🫱🏻‍🫲🏿", "1f91d", ("light", "dark"), ()),
        ("🤶", "1f385", (), ()),
        ("♀️", "2640", (), ()),
        ("🇨🇳", "1f1e8-1f1f3", (), ()),
        ("❤️‍🔥", "2764-1f525", (), ()),
    ],
)
def test_variants_share_their_concept(recipe, char, concept, skin, gender):
    one = recipe.parse(char)
    assert (one.concept, one.skin, one.gender) == (concept, skin, gender)


def test_names_are_clean(recipe):
    names = {name["language"]: name["text"] for name in recipe.names("🐙")}
    assert (names["en"], names["zh"], set(names)) == ("octopus", "章鱼", set(LANGUAGES))
    assert recipe.names("👋🏽")[0]["text"] == "waving hand medium skin tone"
    assert recipe.names("🇨🇳")[0]["text"] == "China"


def test_pictures_are_found_however_their_files_spell_the_code(recipe):
    """Twemoji drops leading zeros, OpenMoji does not; both drop the variation selector at times."""
    for char in ("#️⃣", "©️", "❤️‍🔥", "👁️‍🗨️"):
        assert all(recipe.code_of(char) in recipe.pictures(style) for style in recipe.STYLES)


def test_the_whole_data_set_is_split_by_concept(parts):
    concepts = {part.name: [emoji.concept for _, emoji, *_ in part.items] for part in parts}
    splits = {name: set(found) for name, found in concepts.items()}
    unseen = splits["unseen_concepts-twemoji"]
    assert len(unseen) >= 350
    assert 0.07 < len(splits["val-twemoji"]) / len(set.union(*splits.values())) < 0.12
    assert not unseen & splits["val-twemoji"]
    assert not (unseen | splits["val-twemoji"]) & splits["train-twemoji"]
    assert splits["train-twemoji"] == splits["unseen_style-openmoji"]
    for name in ("val", "unseen_concepts"):
        assert splits[f"{name}-twemoji"] == splits[f"{name}-openmoji"]
    assert splits["variants-twemoji"] < splits["train-twemoji"]
    for name in set(concepts) - {"variants-twemoji", "variants-openmoji"}:
        assert Counter(concepts[name]).most_common(1)[0][1] == 1, f"{name} has two pictures of one concept"


def test_no_caption_of_an_unseen_concept_is_in_train(parts):
    captions = {part.name: {names[0]["text"] for *_, names in part.items} for part in parts}
    assert not captions["unseen_concepts-twemoji"] & (captions["train-twemoji"] | captions["variants-twemoji"])


def test_flags_and_keycaps_are_only_in_train(recipe, parts):
    chars = {part.split: [emoji.char for _, emoji, *_ in part.items] for part in parts}
    assert {"🇨🇳", "#️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"} <= set(chars["train"])
    assert not any(map(recipe.is_flag_or_keycap, chars["val"] + chars["unseen_concepts"]))
    assert not recipe.is_flag_or_keycap("🏴‍☠️")


def test_shards_card_and_pictures(small):
    card = read_card(small)
    assert verify_shards(small, card) == []
    assert {shard.split for shard in card.shards} | {"variants"} == set(card.splits)  # these 30 concepts have none
    assert "CC-BY-SA-4.0" in card.licence
    train = ShardSet(f"{small}/train-twemoji-*.tar", CaptionView(languages=("zh",)))
    assert len(train) == card.shards[0].counts["samples"]
    sample = train.read(0)
    picture = Image.open(io.BytesIO(sample.image()))
    assert (picture.size, picture.mode, picture.format) == ((224, 224), "RGB", "PNG")
    assert picture.getpixel((0, 0)) == (255, 255, 255)
    assert len({caption.language for caption in sample.record.captions}) == 14
    assert sample.record.licence == "CC-BY-4.0"
    assert sample.key.startswith("twemoji-")


def test_two_runs_give_the_same_bytes(recipe, small, tmp_path, capsys):
    words = ["--out", str(tmp_path / "again"), "--limit", "30", "--workers", "1"]
    recipe.main(words)
    assert read_card(tmp_path / "again") == read_card(small)
    capsys.readouterr()
    recipe.main(words)
    assert "is complete" in capsys.readouterr().out
