"""The page of attention: pictures lit where words look, for both languages, from a shard."""

import re

import pytest
import simplejpeg
import torch
from PIL import Image
from streams import FEATURES, build

from vl.data.regions_member import Regions, write_regions
from vl.data.shards import ShardWriter
from vl.data.tokenizers import WordPieceTokenizer
from vl.report.attention import attention_page, lit, looks


@pytest.fixture
def tokenizer(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "ca", "##t", "<", "&", "红"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    return WordPieceTokenizer(str(tmp_path / "vocab.txt"), context_length=16)


@pytest.fixture
def shard(tmp_path):
    corners = torch.rand(3, 2, 2).sort(dim=1).values.flatten(1)
    regions = Regions(torch.randn(3, FEATURES), corners, torch.full((3, 2), 0.5), torch.full((3,), 0.5))
    pixels = torch.randint(0, 255, (40, 60, 3), dtype=torch.uint8).numpy()
    captions = [{"text": "a red cat <&", "language": "en"}, {"text": "红", "language": "zh"}]
    with ShardWriter(tmp_path / "s", "test") as writer:
        writer.write("no-regions", {"jpg": simplejpeg.encode_jpeg(pixels), "json": {"captions": captions}})
        members = {"jpg": simplejpeg.encode_jpeg(pixels), "json": {"captions": captions}}
        writer.write("whole", {**members, "regions.safetensors": write_regions(regions)})
    return str(tmp_path / "s" / writer.shards[0].file)


@pytest.mark.parametrize("name", ["uniter", "lxmert"])
def test_a_page_for_a_model(shard, tokenizer, name):
    model = build(name)
    shown = [look for language in ("en", "zh") for look in looks(model, tokenizer, shard, 5, language)]
    assert [look.text for look in shown] == ["a red cat <&", "红"]
    assert list(shown[0].words) == ["a", "red", "ca", "##t", "<", "&"]
    assert shown[0].shares.shape == (6, 3)
    html = attention_page("Where words look", "", shown).html()
    assert html.count('src="data:image/png') == 1 + 6 + 1 + 1
    assert "red  " in html
    assert "&lt;  " in html
    assert re.search(r"<script|https?://", html) is None


def test_one_layer_may_be_chosen_and_another_is_refused(shard, tokenizer):
    model = build("uniter")
    first, last = (next(looks(model, tokenizer, shard, 1, layer=layer)).shares for layer in (0, -1))
    assert not torch.allclose(first, last)
    with pytest.raises(ValueError, match=r"layer is 7; words see regions in 2 layers"):
        next(looks(model, tokenizer, shard, 1, layer=7))
    with pytest.raises(ValueError, match="no pictures with regions and captions in 'fr'"):
        next(looks(model, tokenizer, shard, 1, "fr"))


def test_light_falls_on_the_box_that_is_looked_at_most():
    image = lit(
        Image.new("RGB", (10, 10), "white"), torch.tensor([[0, 0, 0.5, 1], [0.5, 0, 1, 1]]), torch.tensor([0.4, 0.2])
    )
    assert image.getpixel((2, 5)) == (255, 255, 255)
    assert image.getpixel((7, 5)) == (int(255 * 0.625),) * 3
    assert image.getpixel((5, 5)) == (255, 255, 255)
