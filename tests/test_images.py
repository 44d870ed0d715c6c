"""Photographs from disk: what cannot be read is named, and views have the size and the scale that models expect."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.images import BrokenImageError, find_broken, open_image
from data.records import ImageRecord
from data.transforms import MEAN, STD, train_transform
from data.transforms import test_transform as plain_transform
from tests.pictures import picture


def noise(path: Path) -> bytes:
    """A JPEG of several kilobytes at `path`, and its bytes."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=95)
    return path.read_bytes()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    """Grey, transparent, palette, print and black-and-white files."""
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (8, 16)).save(path)
    image = open_image(path)
    assert (image.mode, image.size) == ("RGB", (8, 16))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_photograph_is_named(tmp_path: Path, share: float) -> None:
    """Not filled up with grey: half a picture teaches nothing."""
    whole = noise(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(BrokenImageError, match=r"a\.jpg cannot be read \(") as told:
        open_image(tmp_path / "a.jpg")
    assert "\n" not in str(told.value)


def test_what_is_no_photograph_is_named(tmp_path: Path) -> None:
    """Text, an empty file, a missing file, a folder, and a picture too large to be one."""
    (tmp_path / "text.jpg").write_text("<html>")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name in ("text.jpg", "empty.jpg", "gone.jpg", ""):
        with pytest.raises(BrokenImageError) as told:
            open_image(tmp_path / name)
        assert str(told.value).startswith(str(tmp_path / name))


def test_a_bomb_is_no_photograph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that would fill the memory is refused by name."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(BrokenImageError, match=r"a\.png cannot be read"):
        open_image(picture(tmp_path / "a.png"))


def test_a_photograph_stands_as_its_camera_was_held(tmp_path: Path) -> None:
    """A phone writes the pixels lying and says in the EXIF data that they should stand."""
    lying = Image.new("RGB", (128, 64))
    exif = lying.getexif()
    exif[0x0112] = 6
    lying.save(tmp_path / "phone.jpg", exif=exif)
    assert open_image(tmp_path / "phone.jpg").size == (64, 128)


def test_broken_photographs_are_found_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By name with why; sound ones are not listed."""
    records = [ImageRecord(picture(tmp_path / f"{n}.png"), f"{n}.png", (), n, "train") for n in range(12)]
    records[4].path.write_bytes(records[4].path.read_bytes()[:40])
    records[9].path.unlink()
    broken = find_broken(records, what="photographs")
    assert list(broken) == ["4.png", "9.png"]
    assert str(records[9].path) in broken["9.png"]
    assert find_broken(records[:3], what="photographs") == {}


def test_a_test_view_is_resized_and_normalised() -> None:
    """Height before width; one colour stays one colour: (value / 255 - mean) / std."""
    pixels = plain_transform((32, 16))(Image.new("RGB", (50, 70), (255, 0, 51)))
    assert pixels.shape == (3, 32, 16)
    assert pixels.dtype == torch.float32
    expected = [(value - mean) / std for value, mean, std in zip((1.0, 0.0, 0.2), MEAN, STD, strict=True)]
    assert pixels.amin(dim=(1, 2)).tolist() == pytest.approx(expected, abs=1e-5)
    assert pixels.amax(dim=(1, 2)).tolist() == pytest.approx(expected, abs=1e-5)


def views(transform: object, count: int = 60) -> torch.Tensor:
    """Views of a picture whose left half is black and right half white."""
    image = Image.new("RGB", (112, 224))
    image.paste((255, 255, 255), (56, 0, 112, 224))
    torch.manual_seed(0)
    return torch.stack([transform(image) for _ in range(count)])  # type: ignore[operator]


def test_training_views_flip_shift_and_erase() -> None:
    """The published view is flipped half of the time, moved by up to 10 of 224 pixels and often erased in part."""
    published = views(train_transform((224, 112)))
    assert published.shape == (60, 3, 224, 112)
    white = (1 - MEAN[0]) / STD[0]
    flipped = (published[:, 0, :, 20].median(dim=1).values > white - 0.01).float().mean()
    assert 0.3 < flipped < 0.7
    patch = torch.tensor([MEAN[channel] for channel in range(3)])[:, None, None]
    erased = ((published - patch).abs().amax(dim=1) < 1e-6).float().mean(dim=(1, 2))
    assert 0.3 < (erased > 0.015).float().mean() < 0.7
    assert erased.max() < 0.42


def test_light_views_do_not_erase() -> None:
    """Every pixel is one of the picture or of the black rim, or between them."""
    light = views(train_transform((224, 112), augment="light"))
    grey = (light[:, 0] * STD[0] + MEAN[0]).clamp(0, 1)
    assert (((grey < 0.01) | (grey > 0.99)).float().mean(dim=(1, 2)) > 0.95).all()


def test_a_photograph_is_the_same_through_jpeg_in_memory(tmp_path: Path) -> None:
    """Decoding is Pillow's, in full."""
    data = noise(tmp_path / "a.jpg")
    with Image.open(BytesIO(data)) as image:
        assert np.array_equal(np.asarray(open_image(tmp_path / "a.jpg")), np.asarray(image.convert("RGB")))
