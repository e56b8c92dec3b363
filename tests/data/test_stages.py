"""Image stages against Pillow, on real pictures; what must be refused is refused."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from vl.data.stages import (
    BadMember,
    CenterCrop,
    ColorJitter,
    Grayscale,
    HorizontalFlip,
    ImageStage,
    RandomResizedCrop,
    Squash,
)
from vl.draw import Draw


def scene(width: int = 300, height: int = 200) -> Image.Image:
    """A smooth picture with edges, different in every corner."""
    y, x = np.mgrid[0:height, 0:width]
    red, green, blue = 255 * x / width, 255 * y / height, 127 + 100 * np.sin(x / 17) * np.cos(y / 11)
    pixels = np.stack([red, green, blue], -1).astype(np.uint8)
    pixels[height // 4 : height // 2, width // 4 : width // 3] = (250, 20, 30)
    return Image.fromarray(pixels)


def encode(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(image: Image.Image | None = None, **options) -> bytes:
    return encode(image or scene(), "JPEG", **{"quality": 95, **options})


def one_draw(example: int = 0) -> Draw:
    return Draw.of(0, 0, 0, torch.tensor([example]))


def difference(pixels: torch.Tensor, expected: torch.Tensor) -> float:
    return (pixels.float() - expected.float()).abs().mean().item()


def pillow(data: bytes, size: int) -> torch.Tensor:
    """What open_clip's evaluation transform does up to the tensor."""
    transform = v2.Compose([v2.Resize(size, v2.InterpolationMode.BICUBIC), v2.CenterCrop(size), v2.PILToTensor()])
    return transform(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("size", [48, 96, 224])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_evaluation_pixels_are_pillows(kind, size):
    data = encode(scene(), kind, quality=95)
    pixels = ImageStage(size, oversample=float("inf"))(data)
    assert pixels.dtype == torch.uint8
    assert difference(pixels, pillow(data, size)) < 1.0
    assert difference(ImageStage(size)(data), pillow(data, size)) < 3.0, "a JPEG decoded at a smaller scale"


def test_bilinear_and_squash_are_pillows():
    data = encode(scene(), "PNG")
    expected = reference.pil_to_tensor(scene().resize((64, 64), Image.Resampling.BILINEAR))
    assert difference(ImageStage(64, crop=Squash(), interpolation="bilinear")(data), expected) < 0.6


def test_a_jpeg_is_decoded_small_only_while_the_crop_stays_large_enough(monkeypatch):
    import simplejpeg

    sizes, decode = [], simplejpeg.decode_jpeg
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *a, **k: sizes.append((d := decode(*a, **k)).shape) or d)
    data = jpeg(scene(512, 256))
    for size, oversample in ((32, 1.0), (64, 1.0), (64, 2.0), (64, float("inf")), (65, 1.0), (300, 1.0)):
        ImageStage(size, oversample=oversample)(data)
    assert [shape[0] for shape in sizes] == [32, 64, 128, 256, 96, 256]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_pictures_are_turned_upright(orientation, kind):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that stores an upright picture so
    image = scene(96, 96) if orientation == 1 else scene(96, 96).transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = ImageStage(96)(encode(image, kind, exif=exif.tobytes()))
    assert difference(pixels, reference.pil_to_tensor(scene(96, 96))) < 3


def test_transparency_shows_the_background():
    image = Image.new("RGBA", (20, 10), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 10, 10))
    for mode in ("RGBA", "P", "LA"):
        pixels = ImageStage(10, crop=Squash(), interpolation="bilinear")(encode(image.convert(mode), "PNG"))
        assert pixels[:, 5, 9].tolist() == [255, 255, 255]
        assert pixels[:, 5, 0].tolist() == ([0, 0, 255] if mode != "LA" else [29, 29, 29])
    assert ImageStage(10, crop=Squash(), background=0)(encode(image, "PNG"))[:, 5, 9].tolist() == [0, 0, 0]


def test_palette_transparency_by_index():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.paste(0, (0, 0, 4, 8))
    pixels = ImageStage(8)(encode(image, "PNG", transparency=1))
    assert pixels[:, 0, 7].tolist() == [255, 255, 255]
    assert pixels[:, 0, 0].tolist() == [255, 0, 0]


def test_odd_modes_are_read():
    grey = Image.fromarray((np.arange(64 * 64).reshape(64, 64) * 16).astype(np.uint16))
    assert grey.mode == "I;16"
    pixels = ImageStage(64)(encode(grey, "PNG"))
    assert abs(int(pixels[0, 63, 63]) - 255) <= 1
    assert abs(int(pixels[1, 32, 0]) - 128) <= 1
    for mode in ("L", "CMYK"):
        data = jpeg(scene().convert(mode))
        assert difference(ImageStage(96)(data), pillow(data, 96)) < 1.5
    assert ImageStage(8)(encode(Image.new("1", (9, 9), 1), "PNG")).min() == 255
    assert ImageStage(8)(encode(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG"))[:, 3, 3].tolist() == [9, 8, 7]


def test_a_picture_is_read_by_its_content_not_its_name():
    assert ImageStage(32)(encode(scene(), "PNG")).shape == (3, 32, 32)
    with pytest.raises(BadMember):
        ImageStage(32)(encode(scene(), "GIF"))


def bomb(width: int, height: int) -> bytes:
    """A valid PNG of any size that is small on disk."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    packer = zlib.compressobj()
    row = bytes(1 + width // 8 + 1)
    content = b"".join(packer.compress(row) for _ in range(min(height, 100))) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [30_000, 10_000, 8_193])
def test_bombs_are_refused_from_their_header(side):
    data, start = bomb(side, side), time.process_time()
    with pytest.raises(BadMember, match="pixels"):
        ImageStage(64)(data)
    assert time.process_time() - start < 0.5


def test_a_jpeg_header_that_claims_too_much_is_refused():
    data = bytearray(jpeg())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    with pytest.raises(BadMember, match="max_pixels"):
        ImageStage(64)(bytes(data))


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\xff\xd8", b"<html>no</html>", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\0" * 99]
)
def test_junk_is_a_bad_member(data):
    with pytest.raises(BadMember):
        ImageStage(64)(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_half_a_picture_is_a_bad_member(kind):
    data = encode(scene(), kind)
    with pytest.raises(BadMember):
        ImageStage(64)(data[: len(data) // 2])


def augmented() -> ImageStage:
    return ImageStage(
        48,
        crop=RandomResizedCrop(scale=(0.3, 1.0)),
        augment=[HorizontalFlip(), ColorJitter(), Grayscale()],
    )


def test_augmentation_is_a_function_of_the_draw():
    data = jpeg()
    first = [augmented()(data, one_draw(example)) for example in range(6)]
    again = [augmented()(data, one_draw(example)) for example in reversed(range(6))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({pixels.numpy().tobytes() for pixels in first}) == 6


def test_numbers_of_a_batch_are_those_of_its_rows():
    rows = augmented().numbers(Draw.of(0, 3, 1, torch.arange(5)))
    alone = [augmented().numbers(Draw.of(0, 3, 1, torch.tensor([row])))[0] for row in range(5)]
    assert rows == alone
    assert len(rows[0]) == 22 + 1 + 5 + 1


def test_random_crops_have_the_area_and_shape_asked_for():
    crop = RandomResizedCrop(scale=(0.25, 0.5), ratio=(0.5, 2.0))
    rows = Draw.of(0, 0, 0, torch.arange(500)).uniform(22).tolist()
    boxes = np.array([crop.box(120, 160, row) for row in rows])
    share = boxes[:, 2] * boxes[:, 3] / (120 * 160)
    assert 0.24 < share.min() < 0.27
    assert 0.48 < share.max() < 0.51
    assert boxes[:, :2].min() >= 0
    assert (boxes[:, 0] + boxes[:, 2]).max() <= 120
    assert (boxes[:, 1] + boxes[:, 3]).max() <= 160
    ratio = boxes[:, 3] / boxes[:, 2]
    assert 0.49 < ratio.min() < 0.6
    assert 1.7 < ratio.max() < 2.05


def test_a_crop_that_never_fits_falls_back_to_the_middle():
    crop = RandomResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert crop.box(100, 300, [0.0] * 22) == (0, 100, 100, 100)


def test_each_augmentation_against_torchvision():
    pixels = reference.pil_to_tensor(scene(40, 30))
    assert torch.equal(HorizontalFlip(prob=1.0).apply(pixels, [0.5]), reference.horizontal_flip(pixels))
    assert torch.equal(HorizontalFlip(prob=0.0).apply(pixels, [0.0]), pixels)
    assert torch.equal(Grayscale(prob=1.0).apply(pixels, [0.5]), reference.rgb_to_grayscale(pixels, 3))
    jitter = ColorJitter(brightness=0.4, contrast=0.0, saturation=0.0, hue=0.0, prob=1.0)
    assert torch.equal(jitter.apply(pixels, [0.0, 1.0, 0.5, 0.5, 0.5]), reference.adjust_brightness(pixels, 1.4))


def test_a_random_stage_without_a_draw_is_refused_and_has_a_version_without_chance():
    with pytest.raises(ValueError, match="random"):
        augmented()(jpeg())
    plain = augmented().without_chance()
    assert (plain.crop, plain.augment, plain.size) == (CenterCrop(), (), 48)
    assert difference(plain(jpeg()), pillow(jpeg(), 48)) < 1.5


def test_the_settings_of_a_stage_name_it():
    assert repr(augmented()) == repr(augmented())
    assert repr(augmented()) != repr(ImageStage(48))
