"""A data set that is drawn: seeded people of known looks before several cameras, in CUHK-PEDES's layout."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from data.demo.people import Person, people_of
from data.demo.photograph import Photograph, take_photograph
from data.demo.scene import CAMERAS
from data.demo.skeleton import VIEWS
from data.demo.words import two_queries
from utils.errors import UserError
from utils.files import atomic_write, read_json, write_json
from utils.interrupts import ignore_sigint_in_children
from utils.progress import Progress

VERSION = 2  # of the drawing: another one is drawn anew
STAMP, ANNOTATION, ATTRIBUTES = "demo.json", "reid_raw.json", "attributes.json"


@dataclass(frozen=True)
class Sitting:
    """One person and the pictures to take of them."""

    number: int
    split: str
    person: Person
    images: int


def draw_demo(
    root: Path,
    *,
    seed: int = 2024,
    train_people: int = 400,
    val_people: int = 50,
    test_people: int = 100,
    train_images: int = 6,
    eval_images: int = 4,
    workers: int | None = None,
) -> None:
    """Draw the data set into `root`, unless this very one stands there; half a minute on two cores.

    Written: imgs/, reid_raw.json (two queries an image), attributes.json (what is visible in each image) and, first
    and last, demo.json, which says what was asked for and whether it was finished. The files depend on the arguments
    alone, not on the number of workers; a drawing that was interrupted is begun again.

    Args:
        root: the folder; made where there is none.
        seed: of people, poses and words.
        train_people, val_people, test_people: how many people each split has, no one in two.
        train_images, eval_images: pictures of each, in `train` and in the other two.
        workers: processes; None for one a core.

    Raises:
        UserError: `root` holds something else, or cannot be written to.
    """
    counts = {"train": train_people, "val": val_people, "test": test_people}
    asked = {"version": VERSION, "seed": seed, "people": counts, "images": [train_images, eval_images]}
    if root.is_dir() and any(not path.name.startswith(".") for path in root.iterdir()):
        stamp = read_json(root / STAMP) if (root / STAMP).is_file() else None
        if not isinstance(stamp, dict) or "finished" not in stamp:
            raise UserError(f"data.root: {root} holds something else than a drawn data set: name an empty folder")
        if stamp == asked | {"finished": True}:
            return
        shutil.rmtree(root / "imgs", ignore_errors=True)
    write_json(root / STAMP, asked | {"finished": False})

    images = {"train": train_images, "val": eval_images, "test": eval_images}
    people = [(split, person) for split, people in people_of(seed, counts).items() for person in people]
    sittings = [Sitting(number, split, person, images[split]) for number, (split, person) in enumerate(people)]
    entries: list[dict[str, Any]] = []
    attributes: dict[str, dict[str, str | None]] = {}
    with Progress(sum(sitting.images for sitting in sittings), desc="drawing the demo", unit="picture") as bar:
        for sitting, photographs in _sit(sittings, seed, workers or len(os.sched_getaffinity(0))):
            words = Random(f"{seed} words {sitting.number}")
            for place, photograph in enumerate(photographs):
                name = f"{sitting.split}/{sitting.number:04d}_c{photograph.camera + 1}_{place}.jpg"
                with atomic_write(root / "imgs" / name) as aside:
                    aside.write_bytes(photograph.jpeg)
                queries = list(two_queries(photograph.seen, words))
                entry = {"split": sitting.split, "captions": queries, "file_path": name, "id": sitting.number}
                entries.append(entry)
                camera = CAMERAS[photograph.camera].place
                attributes[name] = photograph.seen | {"view": photograph.view, "camera": camera}
                bar.advance()
    write_json(root / ATTRIBUTES, attributes)
    write_json(root / ANNOTATION, entries)
    write_json(root / STAMP, asked | {"finished": True})


def _sit(sittings: list[Sitting], seed: int, workers: int) -> Iterator[tuple[Sitting, list[Photograph]]]:
    """Photograph everybody, in order."""
    photograph = partial(_photographs, seed=seed)
    if workers == 1:
        yield from zip(sittings, map(photograph, sittings), strict=True)
        return
    # a fresh process has no threads of a library that a fork would break
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        with ignore_sigint_in_children():
            taken = pool.map(photograph, sittings, chunksize=2)
        yield from zip(sittings, taken, strict=True)
    except BrokenProcessPool:
        raise UserError("a process that drew pictures was killed (out of memory?): run again") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _photographs(sitting: Sitting, *, seed: int) -> list[Photograph]:
    """All pictures of one person: each from another camera while there are some left, in changing views."""
    rng = Random(f"{seed} sitting {sitting.number}")
    cameras = rng.sample(range(len(CAMERAS)), len(CAMERAS))
    views = rng.sample(sorted(VIEWS), len(VIEWS))
    return [
        take_photograph(
            sitting.person,
            camera=cameras[place % len(cameras)],
            view=views[place % len(views)],
            seed=(seed, sitting.number, place),
        )
        for place in range(sitting.images)
    ]
