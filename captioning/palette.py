"""The captioner that needs no weights: it looks at the colours of a crop alone, and says what they are sure to tell."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from PIL import Image

from captioning.bags import BACK, HIP, Bag
from captioning.captioner import Answer, AnswerStream
from captioning.colours import Colour, even_light, to_lab
from captioning.regions import Figure, look_at
from captioning.silhouette import HEIGHT, WIDTH
from captioning.style import Slots, render, with_article
from data.images import BrokenImageError, open_image
from utils.errors import UserError
from utils.interrupts import exit_with_parent, ignore_sigint_in_children

_CHUNK = 32  # images that one task of a worker describes
_LIKE_SKIN = frozenset({"beige", "brown", "orange", "pink", "yellow"})  # cloth that may be taken for bare arms


class PaletteCaptioner:
    """Describes photographs by their colours; an answer depends on the pixels alone.

    Args:
        workers: processes that describe side by side; with 1, no other process is started.
    """

    name = "palette 2"  # another number where it says something else of the same pixels: journals ask anew

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def describe(self, images: Sequence[Path]) -> AnswerStream:
        """Yield `(position, answer)`: in order with one worker, else as workers hand answers in."""
        if self.workers <= 1 or len(images) <= _CHUNK:
            yield from ((position, _describe(path)) for position, path in enumerate(images))
        else:
            yield from self._side_by_side(images)

    def _side_by_side(self, images: Sequence[Path]) -> AnswerStream:
        context = multiprocessing.get_context("forkserver")  # this process may hold threads, which forking breaks
        pool = ProcessPoolExecutor(self.workers, context, initializer=exit_with_parent)
        try:
            with ignore_sigint_in_children():
                tasks = {
                    pool.submit(_describe_all, images[start : start + _CHUNK]): start
                    for start in range(0, len(images), _CHUNK)
                }
            for task in as_completed(tasks):
                yield from enumerate(task.result(), tasks[task])
        except BrokenProcessPool:
            raise UserError("a process that described images was killed (out of memory?): run again") from None
        finally:  # also when nobody wants the rest: wait for the tasks at work, drop those that are not
            pool.shutdown(wait=True, cancel_futures=True)


def _describe_all(images: Sequence[Path]) -> list[Answer]:
    return [_describe(path) for path in images]


def _describe(path: Path) -> Answer:
    try:
        image = open_image(path)
    except BrokenImageError as error:
        return Answer(None, problem=str(error))
    return Answer(render(describe_figure(look_at(_pixels(image)))))


def _pixels(image: Image.Image) -> np.ndarray:
    """A crop at the working size, in CIELAB [HEIGHT, WIDTH, 3]."""
    small = image.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    return even_light(to_lab(np.asarray(small)))


def describe_figure(figure: Figure) -> Slots:
    """Put into words what is sure enough; the rest is left out."""
    return Slots(
        upper_color=_colour(figure.upper, 0.45),
        upper_garment=_sleeves(figure),
        lower_color=_colour(figure.lower, 0.45),
        lower_garment=_legs(figure),
        shoe_color=_shoes(figure),
        hair_color=_hair(figure.hair) or _hair(figure.crest),
        belongings=_belongings(figure.bag),
    )


def _colour(colour: Colour | None, least: float) -> str | None:
    return colour.name if colour is not None and colour.share >= least else None


def _sleeves(figure: Figure) -> str:
    like_skin = figure.upper is not None and figure.upper.basic in _LIKE_SKIN
    if figure.bare_arms > 4.5 and not like_skin:
        return "short-sleeved top"
    # that no arm is bare tells something only where the face shows that skin would be seen
    return "long-sleeved top" if figure.bare_arms < 0.2 and figure.face > 0.2 else "top"


def _legs(figure: Figure) -> str | None:
    if figure.bare_thighs > 0.5 and figure.change < 8:  # bare legs, or trousers of the colour of skin
        return None
    if figure.bare_shins > 0.12:
        return "shorts" if figure.hem > 0.7 else None  # shorter: as likely a skirt or a dress
    return "trousers" if figure.bare_shins < 0.03 and figure.change < 16 else None


def _shoes(figure: Figure) -> str | None:
    """The colour of the shoes, unless it may be that of a long hem; black is the one that both often share."""
    colour = figure.shoes
    if colour is None or (figure.lower is not None and figure.lower.basic == colour.basic != "black"):
        return None
    return _colour(colour, 0.5)


def _hair(colour: Colour | None) -> str | None:
    """What hair can be: yellow and beige are blonde, orange is red; the rest is mostly a hat or the background."""
    if colour is None or colour.share < 0.5:
        return None
    if colour.basic in {"beige", "yellow"}:
        return "blonde"
    if colour.basic == "orange":
        return "red"
    return colour.basic if colour.basic in {"black", "brown"} else None


def _belongings(bag: Bag | None) -> str | None:
    """A bag by where it hangs: backpacks on the back, shoulder bags at the hip, handbags below."""
    if bag is None:
        return None
    noun = "backpack" if bag.height < BACK else "shoulder bag" if bag.height < HIP else "handbag"
    colour = _colour(bag.colour, 0.5)
    return with_article(f"{colour} {noun}" if colour else noun)
