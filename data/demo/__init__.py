"""Draw a data set: random people, each photographed by several cameras, in CUHK-PEDES's layout."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from data.demo.body import VIEWS, Pose
from data.demo.canvas import OVERSAMPLING, Canvas, Floats
from data.demo.figure import Figure, paint_figure
from data.demo.people import Person, sample_people, sample_person, write_queries
from data.demo.randomized import print_on_cloth, random_background, random_camera, random_shade
from data.demo.scene import CAMERAS, Camera, Rng, cast_shadow, paint_background, paint_obstacle, record
from utils.errors import UserError
from utils.files import atomic_write, read_json, write_json
from utils.processes import map_in_processes
from utils.progress import Progress

VERSION = 2  # of the drawing: raise it when pictures change, so that existing data sets are drawn again
RANDOMIZED_VERSION = 2  # the same for randomized pictures alone
STAMP, ANNOTATION, ATTRIBUTES = "demo.json", "reid_raw.json", "attributes.json"

# Area in which a part can be recognized, in pixels of the picture.
_MIN_AREAS = {"hair": 14, "upper": 120, "lower": 90, "shoes": 22, "bag": 34, "strap": 30, "hat": 14}


@dataclass(frozen=True)
class Shot:
    """A picture to take of a person; everything random in it depends on `seed`, `number` and `place`."""

    seed: int
    number: int  # of the person
    place: int  # among the pictures of the person
    split: str
    person: Person
    camera: int  # index in `CAMERAS`
    view: str  # a key of `VIEWS`
    randomized: bool = False  # a random camera, surroundings, framing and shades instead of the demo's


@dataclass(frozen=True)
class DrawnSet:
    """What to draw.

    Attributes:
        seed: of people, poses and queries.
        train_people, val_people, test_people: number of people in each split; no person is in two.
        train_images, eval_images: pictures of each person, in the training split and in the other two.
        randomized: whether cameras, surroundings, framing and shades are random, see `data.demo.randomized`.
    """

    seed: int
    train_people: int
    val_people: int
    test_people: int
    train_images: int
    eval_images: int
    randomized: bool = False


DEMO = DrawnSet(seed=2024, train_people=400, val_people=50, test_people=100, train_images=6, eval_images=4)
PRETRAINING = DrawnSet(
    seed=7, train_people=8000, val_people=60, test_people=60, train_images=4, eval_images=4, randomized=True
)


def draw_people(root: Path, drawn: DrawnSet = DEMO, *, workers: int | None = None) -> None:
    """Draw a data set into `root`, unless it exists there already; takes half a minute for the demo on two cores.

    Writes imgs/, reid_raw.json (two queries per image), attributes.json (what is visible in each image) and, first and
    last, demo.json with the arguments and whether drawing is finished. The files depend on the arguments only, not on
    the number of workers; interrupted drawing starts again.

    Args:
        root: the folder, which is created if necessary.
        drawn: what to draw.
        workers: number of processes; None for one per core.

    Raises:
        UserError: `root` contains other files, or cannot be written to.
    """
    seed, randomized = drawn.seed, drawn.randomized
    counts = {"train": drawn.train_people, "val": drawn.val_people, "test": drawn.test_people}
    images = {"train": drawn.train_images, "val": drawn.eval_images, "test": drawn.eval_images}
    requested = {"version": VERSION, "seed": seed, "people": counts, "images": [images["train"], images["val"]]}
    requested |= {"randomized": RANDOMIZED_VERSION} if randomized else {}
    if root.is_dir() and any(not path.name.startswith(".") for path in root.iterdir()):
        stamp = read_json(root / STAMP) if (root / STAMP).is_file() else None
        if not isinstance(stamp, dict) or "finished" not in stamp:
            raise UserError(f"data.root: {root} contains files other than a drawn data set: choose an empty folder")
        if stamp == requested | {"finished": True}:
            return
        shutil.rmtree(root / "imgs", ignore_errors=True)
    write_json(root / STAMP, requested | {"finished": False})

    shots = _plan(seed, counts, images, randomized=randomized)
    words = {shot.number: Random(f"{seed} words {shot.number}") for shot in shots}
    entries: list[dict[str, Any]] = []
    attributes: dict[str, dict[str, str | None]] = {}
    pictures = map_in_processes(take_photograph, shots, workers or len(os.sched_getaffinity(0)), chunk_size=12)
    with Progress(len(shots), desc=f"drawing {root}", unit="picture") as bar:
        for shot, (jpeg, visible) in zip(shots, pictures, strict=True):
            name = f"{shot.split}/{shot.number:04d}_c{shot.camera + 1}_{shot.place}.jpg"
            with atomic_write(root / "imgs" / name) as temporary:
                temporary.write_bytes(jpeg)
            queries = list(write_queries(visible, words[shot.number]))
            entries.append({"split": shot.split, "captions": queries, "file_path": name, "id": shot.number})
            camera = "random" if randomized else CAMERAS[shot.camera].place
            attributes[name] = visible | {"view": shot.view, "camera": camera}
            bar.advance()
    write_json(root / ATTRIBUTES, attributes)
    write_json(root / ANNOTATION, entries)
    write_json(root / STAMP, requested | {"finished": True})


def _plan(seed: int, counts: dict[str, int], images: dict[str, int], *, randomized: bool) -> list[Shot]:
    """Return all pictures to take; cameras and views of a person repeat only after all of them were used."""
    people = [(split, person) for split, people in sample_people(seed, counts).items() for person in people]
    shots = []
    for number, (split, person) in enumerate(people):
        rng = Random(f"{seed} sitting {number}")
        cameras = rng.sample(range(len(CAMERAS)), len(CAMERAS))
        views = rng.sample(sorted(VIEWS), len(VIEWS))
        for place in range(images[split]):
            camera, view = cameras[place % len(cameras)], views[place % len(views)]
            shots.append(Shot(seed, number, place, split, person, camera, view, randomized))
    return shots


def take_photograph(shot: Shot) -> tuple[bytes, dict[str, str | None]]:
    """Return a JPEG file, and what it shows: {attribute: value, or None where it cannot be seen}."""
    rng = np.random.default_rng((shot.seed, shot.number, shot.place))
    site = random_camera(rng) if shot.randomized else CAMERAS[shot.camera]
    width, height = int(rng.integers(64, 73)) * OVERSAMPLING, int(rng.integers(144, 161)) * OVERSAMPLING
    if shot.randomized:  # detectors that cut off feet or heads, or leave a margin
        tall = height * rng.uniform(0.8, 1.04)
        x = width * (0.5 + rng.normal(0, 0.06))
        crown = height * rng.uniform(0.93, 1.03) - 0.985 * tall
        background = random_background(width, height, rng)
        if rng.random() < 0.25:
            background = _add_passer_by(background, site, shot, rng)
    else:
        tall = height * rng.uniform(0.86, 0.93)
        x = width * (0.5 + rng.normal(0, 0.025))
        crown = height * rng.uniform(0.955, 0.985) - 0.985 * tall  # the crop of a detector ends at the soles
        background = paint_background(site, width, height, rng)
    cast_shadow(background, x, crown + 0.985 * tall, tall, site.light)
    canvas = Canvas(width, height, site.light, rng)
    pose = Pose(
        heading=float((1 if rng.random() < 0.5 else -1) * VIEWS[shot.view] + rng.normal(0, 7)),
        phase=float(rng.random()),
        stride=float(rng.choice([0.15, 0.7, 0.9]) * rng.uniform(0.8, 1.1)),
        pitch=site.pitch + float(rng.normal(0, 1.5)),
        height=tall,
        x=x,
        y=crown,
    )
    paint_figure(Figure(canvas, shot.person, pose, random_shade if shot.randomized else None))
    if shot.randomized:
        look = np.random.default_rng((shot.person.look, 1))  # the same prints in every picture of the person
        for part, share in (("upper", 0.4), ("lower", 0.15)):
            if look.random() < share:
                print_on_cloth(canvas, part, look)
    if rng.random() < site.obstacle_share:
        paint_obstacle(canvas, site, rng)
    jpeg = record(canvas.compose(background), site, rng)
    return jpeg, _visible_attributes(canvas.visible_areas(), shot.person, shot.view)


def _add_passer_by(background: Floats, site: Camera, shot: Shot, rng: Rng) -> Floats:
    """Return the background with another person in it, smaller or at the edge of the picture."""
    height, width = (OVERSAMPLING * side for side in background.shape[:2])
    canvas = Canvas(width, height, site.light, rng)
    tall = height * rng.uniform(0.4, 0.9)
    view = VIEWS[sorted(VIEWS)[int(rng.integers(len(VIEWS)))]]
    pose = Pose(
        heading=float((1 if rng.random() < 0.5 else -1) * view + rng.normal(0, 7)),
        phase=float(rng.random()),
        stride=float(rng.uniform(0.1, 0.9)),
        pitch=site.pitch,
        height=tall,
        x=width * float(rng.choice([-0.05, 0.08, 0.92, 1.05]) + rng.normal(0, 0.06)),
        y=height * rng.uniform(0.6, 1.0) - 0.985 * tall,
    )
    person = sample_person(Random(f"{shot.seed} passer-by {shot.number} {shot.place}"))
    paint_figure(Figure(canvas, person, pose, random_shade))
    return canvas.compose(background)


def _visible_attributes(areas: dict[str, float], person: Person, view: str) -> dict[str, str | None]:
    """Return {attribute: value, or None where it cannot be seen}, given the visible area of each part."""
    shown = {part: areas.get(part, 0.0) >= area for part, area in _MIN_AREAS.items()}
    bald = person.hair_length == "bald"
    # tied hair looks short from the front, and a hat hides whether hair is short
    length = person.hair_style == "loose" or "back" in view or view == "side"
    if person.hat != "none" and person.hair_length in {"short", "bald"}:
        length = False
    lower = shown["lower"] or person.lower_garment == "dress"
    hair = shown["hair"] and not bald
    bag = person.bag != "none" and (shown["bag"] or (shown["strap"] and person.bag == "backpack"))
    hat = person.hat != "none" and shown["hat"]
    visible = {
        "gender": True,
        **dict.fromkeys(("upper_color", "upper_garment", "pattern", "sleeves"), shown["upper"]),
        **dict.fromkeys(("lower_color", "lower_garment"), lower),
        **dict.fromkeys(("shoe_color", "shoes"), shown["shoes"]),
        "hair_length": length and (hair or bald),
        "hair_color": hair,
        **{"bag": bag, "bag_color": bag, "hat": hat, "hat_color": hat},
    }
    return {name: getattr(person, name) if is_visible else None for name, is_visible in visible.items()}
