"""Photographs in folders: which are taken, their camera and time, and people cropped out of whole frames."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image

from data.detection import crop_people
from data.photographs import camera_of, find_photographs, time_of
from tests.pictures import picture


def test_a_walk_takes_photographs_alone(tmp_path: Path) -> None:
    """At any depth, through links but not in circles, and without what is hidden or of the system."""
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for name in ("a.JPG", "deep/er/b.png", ".hidden/c.png", ".d.png", "__MACOSX/e.png", ".ipynb_checkpoints/f.png"):
        picture(root / name) if not name.endswith("JPG") else picture(root / "a.jpg").rename(root / name)
    (root / "notes.txt").write_text("x")
    picture(root / "line\nfeed.png")
    picture(elsewhere / "g.webp")
    (root / "linked").symlink_to(elsewhere)
    (root / "deep" / "again").symlink_to(root)
    (root / "gone.png").symlink_to(tmp_path / "nothing")
    os.mkfifo(root / "pipe.png")
    (root / os.fsdecode(b"caf\xe9.png")).write_bytes((root / "deep/er/b.png").read_bytes())
    found, skipped = find_photographs(root)
    assert found == ["a.JPG", "deep/er/b.png", "linked/g.webp"]
    assert skipped.counts.total() == 10
    lines = "\n".join(skipped.lines())
    assert "notes.txt" in lines
    assert "deep/again" in lines
    assert "line\\nfeed.png" in lines
    assert "caf" in lines


def test_camera_and_time_of_a_photograph(tmp_path: Path) -> None:
    """The camera by the name; the time by EXIF first, then by the name; digits that are no date are none."""
    assert camera_of("x/0002_c3s1_000451_03.jpg") == "3"
    assert camera_of("north/1.jpg") is None
    assert camera_of("north/1.jpg", r"^([^/]+)/") == "north"
    plain = Image.open(picture(tmp_path / "a.png"))
    assert time_of("door_2026-05-04_12-30-59.png", plain) == datetime(2026, 5, 4, 12, 30, 59)
    assert time_of("20260504T1230.png", plain) == datetime(2026, 5, 4, 12, 30)
    assert time_of("20269999_123059.png", plain) is None
    exif = Image.Exif()
    exif[0x0132] = "2025:01:02 03:04:05"
    plain.convert("RGB").save(tmp_path / "b.jpg", exif=exif)
    assert time_of("2026-05-04_12-30-59.jpg", Image.open(tmp_path / "b.jpg")) == datetime(2025, 1, 2, 3, 4, 5)


def test_people_are_cropped_out_of_frames(tmp_path: Path) -> None:
    """With the frame, the box and the time; what is new is taken, what is gone is removed."""
    frames, crops = tmp_path / "frames", tmp_path / "crops"
    exif = Image.Exif()
    exif[0x0132] = "2025:01:02 03:04:05"
    for name in ("c1/a.jpg", "c1/b.jpg"):
        picture(frames / name, size=(300, 200))
        Image.open(frames / name).save(frames / name, exif=exif)
    seen: list[tuple[int, int]] = []

    def detect(image: Image.Image) -> list[tuple[int, int, int, int]]:
        seen.append(image.size)
        return [(10, 20, 60, 120), (200, 100, 299, 199), (0, 0, 10, 20)]  # the last is too small

    assert "4 people in 2 new frames" in crop_people(frames, crops, detect, detector="a")
    found, _ = find_photographs(crops)
    assert found == [f"c1/{name}.jpg/{box}.jpg" for name in "ab" for box in ("196_96_300_200", "6_16_64_124")]
    crop = Image.open(crops / found[1])
    assert crop.size == (58, 108)
    assert time_of(found[1], crop) == datetime(2025, 1, 2, 3, 4, 5)
    (frames / "c1" / "a.jpg").unlink()
    picture(frames / "c2" / "new.png", size=(300, 200))
    (frames / "c2" / "broken.png").write_bytes(b"x")
    assert "2 people in 1 new frames, 1 unchanged, 1 frames left out" in crop_people(
        frames, crops, detect, detector="a"
    )
    assert len(seen) == 3
    assert {name.rpartition("/")[0] for name in find_photographs(crops)[0]} == {"c1/b.jpg", "c2/new.png"}


@pytest.mark.parametrize("frame", ["../../kept", "", ".", "{root}/kept"])
def test_a_damaged_list_of_frames_removes_nothing_elsewhere(frame: str, tmp_path: Path) -> None:
    """Lines that name no frame are left out."""
    frames, crops, kept = tmp_path / "frames", tmp_path / "a" / "crops", picture(tmp_path / "kept" / "a.jpg")
    picture(frames / "b.jpg", size=(300, 200))
    crop_people(frames, crops, lambda image: [(10, 20, 60, 120)], detector="a")
    found = find_photographs(crops)[0]
    with (crops / "frames.jsonl").open("a") as file:
        file.write(json.dumps({"frame": frame.format(root=tmp_path), "by": "a"}) + '\n{"frame": 7}\n{}\n')
    assert "1 unchanged" in crop_people(frames, crops, lambda image: [], detector="a")
    assert kept.is_file()
    assert find_photographs(crops)[0] == found != []
