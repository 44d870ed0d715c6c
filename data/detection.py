"""Crop people out of whole frames, with a detector of torchvision."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torchvision.transforms.functional import to_tensor

from data.images import BrokenImageError, open_image
from data.photographs import find_photographs, time_of
from utils.errors import UserError
from utils.files import atomic_write, read_jsonl
from utils.logs import log, printable
from utils.progress import progress

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels of the frame."""

Detector = Callable[[Image.Image], list[Box]]
"""Finds the people in a frame."""

_PERSON = 1  # label of COCO
_MARGIN = 0.04  # of a box's height, added on every side
_MIN_HEIGHT = 48  # pixels; of smaller people nothing can be recognized
_DATE_TIME = 0x0132  # in EXIF data
_DONE = "frames.jsonl"


def load_detector(name: str, device: str, *, download: bool = False, min_score: float = 0.7) -> Detector:
    """Load a detector by its name in torchvision, such as "fasterrcnn_mobilenet_v3_large_320_fpn".

    Args:
        download: whether its weights may be downloaded if they are not in torch's cache.
        min_score: of a person.

    Raises:
        UserError: there is no such detector, or its weights are missing and may not be downloaded.
    """
    names = torchvision.models.list_models(module=torchvision.models.detection)
    if name not in names:
        raise UserError(f"--detect {name}: torchvision has no such detector; it has {', '.join(sorted(names))}")
    weights = torchvision.models.get_model_weights(name).DEFAULT
    file = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    if not file.is_file() and not download:
        raise UserError(
            f"--detect {name}: its weights are missing: add --download to fetch {weights.url}, or save that as {file}"
        )
    try:
        state = weights.get_state_dict(progress=True, check_hash=True)
        model = torchvision.models.get_model(name, weights=None, weights_backbone=None)
        model.load_state_dict(state)
    except Exception as error:  # a damaged file raises errors of many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"--detect {name}: cannot load {file} ({reason}): delete it, and add --download") from None
    model = model.to(device).eval()

    @torch.inference_mode()
    def detect(image: Image.Image) -> list[Box]:
        (found,) = model([to_tensor(image).to(device)])
        people = (found["labels"] == _PERSON) & (found["scores"] >= min_score)
        return [(box[0], box[1], box[2], box[3]) for box in found["boxes"][people].round().int().tolist()]

    return detect


def crop_people(folder: Path, crops: Path, detect: Detector, *, detector: str) -> str:
    """Write every person in the frames of a folder as `crops/FRAME/LEFT_TOP_RIGHT_BOTTOM.jpg`.

    The crops keep the time of their frames, as EXIF data. Called again, it takes what is new or changed, and removes
    the crops of frames that are gone. A run that is killed continues.

    Args:
        detector: name of the detector; crops of another one are replaced.

    Returns:
        One line that says what was done.
    """
    frames, skipped = find_photographs(folder)
    for line in skipped.lines():
        log.warning(line)
    entries = [entry for entry in read_jsonl(crops / _DONE, key="frame") if _is_below(entry["frame"])]
    done = {entry["frame"]: str(entry.get("content")) for entry in entries if entry.get("by") == detector}
    contents = {frame: _hash(folder / frame) for frame in frames}
    for frame in done.keys() - contents.keys():
        shutil.rmtree(crops / frame, ignore_errors=True)
    new = [frame for frame in frames if done.get(frame) != contents[frame]]
    crops.mkdir(parents=True, exist_ok=True)
    kept = {frame: content for frame, content in done.items() if contents.get(frame) == content}
    with atomic_write(crops / _DONE) as temporary:
        temporary.write_text(
            "".join(_line(frame, content, detector) for frame, content in kept.items()), encoding="utf-8"
        )
    people, broken = 0, []
    with (crops / _DONE).open("a", encoding="utf-8") as journal:
        for frame in progress(new, total=len(new), desc="detecting", unit="frame"):
            try:
                people += _crop(folder / frame, crops / frame, detect)
            except BrokenImageError as error:
                broken.append(printable(str(error)))
                continue
            journal.write(_line(frame, contents[frame], detector))
            journal.flush()
    problems = f", {len(broken)} frames left out, the first: {broken[0]}" if broken else ""
    return f"{people} people in {len(new) - len(broken)} new frames, {len(frames) - len(new)} unchanged{problems}"


def _is_below(frame: str) -> bool:
    """Whether a name is that of a file below a folder, so that a damaged line removes nothing elsewhere."""
    parts = Path(frame).parts
    return bool(parts) and ".." not in parts and not Path(frame).is_absolute()


def _line(frame: str, content: str, detector: str) -> str:
    return json.dumps({"frame": frame, "content": content, "by": detector}, ensure_ascii=False) + "\n"


def _hash(path: Path) -> str:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
    except OSError:  # reported when it is decoded
        return ""


def _crop(frame: Path, folder: Path, detect: Detector) -> int:
    """Write the people of a frame into an emptied folder; return how many."""
    shutil.rmtree(folder, ignore_errors=True)
    image = open_image(frame)
    exif = Image.Exif()
    with Image.open(frame) as header:
        if time := time_of("", header):
            exif[_DATE_TIME] = f"{time:%Y:%m:%d %H:%M:%S}"
    count = 0
    for left, top, right, bottom in detect(image):
        if bottom - top < _MIN_HEIGHT:
            continue
        margin = round(_MARGIN * (bottom - top))
        box = (
            max(0, left - margin),
            max(0, top - margin),
            min(image.width, right + margin),
            min(image.height, bottom + margin),
        )
        with atomic_write(folder / f"{'_'.join(map(str, box))}.jpg") as temporary:
            image.crop(box).save(temporary, "JPEG", quality=92, exif=exif)
        count += 1
    return count
