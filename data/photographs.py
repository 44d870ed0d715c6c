"""Find the photographs of a folder, and read the camera and the time of each from its name and its EXIF data."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from PIL import Image

from utils.errors import UserError
from utils.logs import printable

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff"}

CAMERA_PATTERNS = (
    r"_c(\d+)",  # Market-1501 ("0002_c1s1_000451_03.jpg"), RSTPReid ("0000_c1_0004.jpg"), the demo
    r"(?:^|/)\d+_\d+_(\d+)_",  # ICFG-PEDES ("test/0627/0627_010_05_0303afternoon_1591_0.jpg")
    r"^([^/]+)/",  # CUHK-PEDES ("cam_a/001.jpg"): its folders are sources and cameras
)

_SYSTEM = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
_TIME_IN_NAME = re.compile(r"(20\d\d)[-_.]?([01]\d)[-_.]?([0-3]\d)[-_.T ]?([0-2]\d)[-_.:]?([0-5]\d)[-_.:]?([0-5]\d)?")
_EXIF_OFFSET, _EXIF_TIMES = 0x8769, (0x9003, 0x0132)  # DateTimeOriginal, then DateTime
_MAX_NAMED = 5  # skipped files of a kind that are named


@dataclass
class Skipped:
    """Files and folders that were left out, by reason: their number and the first few names."""

    counts: Counter[str] = field(default_factory=Counter)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        """Count one, and keep its name if it is among the first of its kind."""
        self.counts[reason] += 1
        named = self.names.setdefault(reason, [])
        if len(named) < _MAX_NAMED:
            named.append(printable(name))

    def lines(self) -> list[str]:
        """Return one line for each reason: "3 skipped, no photograph by its suffix: a.txt, b.txt, c.mp4"."""
        return [
            f"{count} skipped, {reason}: {', '.join(self.names[reason])}{' ...' if count > _MAX_NAMED else ''}"
            for reason, count in sorted(self.counts.items())
        ]


def find_photographs(root: Path) -> tuple[list[str], Skipped]:
    """Find the photographs below `root`, at any depth.

    Links are followed, but not in circles. Hidden and system files and folders, other kinds of files, and names that
    are not UTF-8 or hold control characters are left out.

    Returns:
        The paths relative to `root`, with "/", sorted, and what was left out.

    Raises:
        UserError: `root` is not a folder, or cannot be read.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder of photographs")
    skipped = Skipped()
    try:
        found = sorted(_walk(root, "", {_identity(root)}, skipped))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(
            f"{error.filename or root} cannot be read ({reason}): change its permissions, or move it away"
        ) from None
    except RecursionError:
        raise UserError(f"{root} has folders that are nested too deeply: move them away") from None
    return found, skipped


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _walk(folder: Path, prefix: str, above: set[tuple[int, int]], skipped: Skipped) -> Iterator[str]:
    """Yield the photographs of a folder and of those in it; `above` are the folders that contain it, and itself."""
    for entry in os.scandir(folder):
        name = prefix + entry.name
        if entry.name.startswith(".") or entry.name in _SYSTEM:
            skipped.add("hidden or of the system", name)
        elif not entry.name.isprintable():  # lone surrogates stand for bytes that are not UTF-8
            skipped.add("name is not printable text in UTF-8", name)
        elif _is_folder(entry):
            path = Path(entry.path)
            if _identity(path) in above:
                skipped.add("link to a folder that contains it", name)
            else:
                yield from _walk(path, name + "/", above | {_identity(path)}, skipped)
        elif Path(entry.name).suffix.lower() not in IMAGE_SUFFIXES:
            skipped.add("no photograph by its suffix", name)
        elif not Path(entry.path).is_file():
            skipped.add("not a file, or a link to nothing", name)
        else:
            yield name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself
        return False


def camera_of(name: str, pattern: str | None = None) -> str | None:
    """Return the camera that a photograph's path names, or None.

    Args:
        name: path relative to the root of the photographs.
        pattern: regular expression with one group; None tries the first of `CAMERA_PATTERNS`.
    """
    match = re.search(pattern or CAMERA_PATTERNS[0], name)
    return match[1] if match else None


def check_camera_pattern(pattern: str) -> None:
    """Make sure that a pattern is a regular expression with one group.

    Raises:
        UserError: it is not.
    """
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise UserError(f"--camera {pattern}: not a regular expression ({error})") from None
    if groups != 1:
        raise UserError(f"--camera {pattern}: not a regular expression with one group, but with {groups}")


def time_of(name: str, image: Image.Image) -> datetime | None:
    """Return when a photograph was taken, by its EXIF data or else by its name; None if neither says so.

    Args:
        name: path of the file ("c3/2026-05-04_12-30-00_17.jpg").
        image: as opened by Pillow, of which only the header is read.
    """
    with suppress(Exception):  # damaged EXIF data raises errors of any kind, and the photograph itself is intact
        exif = image.getexif()
        for tag in _EXIF_TIMES:
            if text := exif.get_ifd(_EXIF_OFFSET).get(tag) or exif.get(tag):
                return datetime.strptime(str(text).strip("\x00 "), "%Y:%m:%d %H:%M:%S")
    for match in _TIME_IN_NAME.finditer(name):
        try:
            year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
            return datetime(year, month, day, hour, minute, second)
        except ValueError:  # digits that are no date
            continue
    return None
