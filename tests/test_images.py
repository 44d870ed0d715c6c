"""Images from disk: unreadable files are named, and transforms give the size and scale that models expect."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from data.images import BrokenImageError, enlarge, find_broken, open_image
from data.records import ImageRecord
from data.transforms import MEAN, STD, RawPixels, Transform, normalize, train_transform
from data.transforms import test_transform as plain_transform
from tests.pictures import picture


def noise(path: Path) -> bytes:
    """A JPEG of several kilobytes at `path`, and its bytes."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=95)
    return path.read_bytes()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_every_color_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    """Gray, transparent, palette, CMYK and black-and-white files."""
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (8, 16)).save(path)
    image = open_image(path)
    assert (image.mode, image.size) == ("RGB", (8, 16))


def test_pixels_that_nobody_sees_are_white(tmp_path: Path) -> None:
    """Colors under full transparency, in every mode that has it."""
    red = Image.new("RGBA", (8, 16), (200, 0, 0, 0))
    red.paste((0, 0, 200, 255), (0, 0, 8, 8))
    red.save(tmp_path / "rgba.png")
    red.convert("LA").save(tmp_path / "la.png")
    palette = red.convert("RGB").quantize(4)
    palette.save(tmp_path / "p.png", transparency=palette.getpixel((0, 15)))
    for name in ("rgba.png", "la.png", "p.png"):
        image = open_image(tmp_path / name)
        assert image.getpixel((0, 15)) == (255, 255, 255), name
        assert image.getpixel((0, 0)) != (255, 255, 255), name


@pytest.mark.parametrize(("mode", "scale"), [("I;16", 65535), ("I", 65535), ("F", 1.0), ("F", 255.0)])
def test_deep_pixels_are_scaled(tmp_path: Path, mode: str, scale: float) -> None:
    """16-bit and floating-point gray, of which Pillow would clip all but the darkest."""
    values = np.linspace(0, scale, 256).reshape(16, 16)
    dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
    Image.fromarray(values.astype(dtype)).save(tmp_path / "deep.tif")
    assert np.abs(np.asarray(open_image(tmp_path / "deep.tif"))[..., 0].ravel() - np.arange(256.0)).max() <= 1


def test_damaged_exif_data_leave_the_pixels(tmp_path: Path) -> None:
    """The photograph is used as it is stored."""
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 16), "red").save(path, exif=b"Exif\x00\x00MM\x00*\x00\x00\xff\xff" + bytes(range(40)))
    assert open_image(path).size == (8, 16)


def test_only_raster_formats_are_opened(tmp_path: Path) -> None:
    """PostScript would start another program."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(BrokenImageError, match=r"a\.jpg is not an image"):
        open_image(path)


def test_any_error_of_a_decoder_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged files raise errors of any type."""
    path = picture(tmp_path / "a.png")
    for kind in (IndexError, AttributeError, AssertionError, struct.error, RuntimeError, NotImplementedError):

        def load(image: object, kind: type[Exception] = kind) -> None:
            raise kind

        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
        with pytest.raises(BrokenImageError, match=r"a\.png cannot be read"):
            open_image(path)


def test_small_images_are_scaled_up() -> None:
    """To a shortest side, with the same shape; others stay as they are."""
    small = Image.new("RGB", (10, 31))
    assert enlarge(small, 56).size == (56, 174)
    large = Image.new("RGB", (60, 90))
    assert enlarge(large, 56) is large


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_image_is_an_error(tmp_path: Path, share: float) -> None:
    """Pillow's option to fill the rest with gray is not used."""
    content = noise(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(content[: int(share * len(content))])
    with pytest.raises(BrokenImageError, match=r"a\.jpg cannot be read \(") as error:
        open_image(tmp_path / "a.jpg")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_an_image_is_named(tmp_path: Path) -> None:
    """Text, an empty file, a missing file, a folder."""
    (tmp_path / "text.jpg").write_text("<html>")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name in ("text.jpg", "empty.jpg", "gone.jpg", ""):
        with pytest.raises(BrokenImageError) as error:
            open_image(tmp_path / name)
        assert str(error.value).startswith(str(tmp_path / name))


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that would exhaust the memory; the file is named."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(BrokenImageError, match=r"a\.png cannot be read"):
        open_image(picture(tmp_path / "a.png"))


def test_images_are_rotated_by_their_exif_orientation(tmp_path: Path) -> None:
    """Phones store portraits as landscapes with an orientation of 6."""
    landscape = Image.new("RGB", (128, 64))
    exif = landscape.getexif()
    exif[0x0112] = 6
    landscape.save(tmp_path / "phone.jpg", exif=exif)
    assert open_image(tmp_path / "phone.jpg").size == (64, 128)


def test_find_broken_names_unreadable_images_with_the_reason(tmp_path: Path) -> None:
    """Readable ones are not listed."""
    records = [ImageRecord(picture(tmp_path / f"{n}.png"), f"{n}.png", (), n, "train") for n in range(12)]
    records[4].path.write_bytes(records[4].path.read_bytes()[:40])
    records[9].path.unlink()
    broken = find_broken(records, what="images")
    assert list(broken) == ["4.png", "9.png"]
    assert str(records[9].path) in broken["9.png"]
    assert find_broken(records[:3], what="images") == {}


def test_the_test_transform_resizes_and_normalizes() -> None:
    """Height before width; a uniform color stays uniform: (value / 255 - mean) / std."""
    pixels = normalize(plain_transform((32, 16))(Image.new("RGB", (50, 70), (255, 0, 51))))
    assert pixels.shape == (3, 32, 16)
    assert pixels.dtype == torch.float32
    expected = [(value - mean) / std for value, mean, std in zip((1.0, 0.0, 0.2), MEAN, STD, strict=True)]
    assert pixels.amin(dim=(1, 2)).tolist() == pytest.approx(expected, abs=1e-5)
    assert pixels.amax(dim=(1, 2)).tolist() == pytest.approx(expected, abs=1e-5)


def transformed(transform: Transform, count: int = 60) -> torch.Tensor:
    """Transform an image whose left half is black and right half white."""
    image = Image.new("RGB", (112, 224))
    image.paste((255, 255, 255), (56, 0, 112, 224))
    torch.manual_seed(0)
    return torch.stack([normalize(transform(image)) for _ in range(count)])


def test_the_published_transform_flips_shifts_and_erases() -> None:
    """It flips half of the images, shifts by up to 10 of 224 pixels and erases a part of half of them."""
    published = transformed(train_transform((224, 112)))
    assert published.shape == (60, 3, 224, 112)
    white = (1 - MEAN[0]) / STD[0]
    flipped = (published[:, 0, :, 20].median(dim=1).values > white - 0.01).float().mean()
    assert 0.3 < flipped < 0.7
    patch = torch.tensor([MEAN[channel] for channel in range(3)])[:, None, None]
    erased = ((published - patch).abs().amax(dim=1) < 1e-6).float().mean(dim=(1, 2))
    assert 0.3 < (erased > 0.015).float().mean() < 0.7
    assert erased.max() < 0.42


def test_the_light_transform_does_not_erase() -> None:
    """Every pixel is one of the image or of the black border, or interpolated."""
    light = transformed(train_transform((224, 112), augment="light"))
    gray = (light[:, 0] * STD[0] + MEAN[0]).clamp(0, 1)
    assert (((gray < 0.01) | (gray > 0.99)).float().mean(dim=(1, 2)) > 0.95).all()


@pytest.mark.parametrize("augment", ["published", "strong", "light"])
def test_pixels_of_a_batch_are_those_of_torchvision_image_by_image(tmp_path: Path, augment: str) -> None:
    """To the bit, with the same random numbers, though they are normalized and erased as a batch, on the device."""
    noise(tmp_path / "a.jpg")
    image, size = open_image(tmp_path / "a.jpg"), (48, 32)
    ours = train_transform(size, augment=augment)  # type: ignore[arg-type]
    change = ours.args[0]  # type: ignore[attr-defined]
    steps = [change, transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    if augment == "published":
        steps.append(transforms.RandomErasing(scale=(0.02, 0.4), value=MEAN))
    if augment == "strong":
        steps.append(transforms.RandomErasing(0.3, scale=(0.02, 0.2), value=MEAN))
    torch.manual_seed(0)
    expected = torch.stack([transforms.Compose(steps)(image) for _ in range(40)])
    torch.manual_seed(0)
    found = [ours(image) for _ in range(40)]
    batch = RawPixels(*map(torch.stack, zip(*found, strict=True)))
    assert batch.values.dtype == torch.uint8
    assert batch.erased.any() == (augment != "light")
    assert torch.equal(normalize(batch), expected)


def test_a_jpeg_is_decoded_as_by_pillow(tmp_path: Path) -> None:
    """At full resolution."""
    data = noise(tmp_path / "a.jpg")
    with Image.open(BytesIO(data)) as image:
        assert np.array_equal(np.asarray(open_image(tmp_path / "a.jpg")), np.asarray(image.convert("RGB")))
