"""Head, face, hair and hat, from whichever side they are seen."""

from __future__ import annotations

from math import cos, sin

import numpy as np

from data.demo.canvas import Points, Shape
from data.demo.colours import Shade
from data.demo.people import Person
from data.demo.stage import Stage

_CENTRE = 0.07  # of the head below the crown
_FALLS = {"medium-length": 0.165, "long": 0.27}  # where hair ends, in parts of the body's height


def paint_hair_behind(stage: Stage, person: Person, colour: Shade) -> None:
    """Hair that falls behind the shoulders of somebody who is seen from the front."""
    if _hangs(person) and stage.faces(0) > 0:
        _fall(stage, person, colour)


def paint_head(stage: Stage, person: Person, *, skin: Shade, hair: Shade, hat: Shade) -> None:
    """The head over all that is painted already."""
    turn, canvas = stage.body.turn, stage.canvas
    ahead, aside = cos(turn), sin(turn)
    centre = stage.at(stage.point(0, _CENTRE, 0.012))
    wide = 0.047 + 0.007 * abs(aside)
    depth = 0.03 * stage.scale
    bald = person.hair_length == "bald"
    canvas.paint(stage.ellipse(centre, wide, 0.064), skin if bald else hair, "skin" if bald else "hair", depth=depth)
    if ahead > -0.45:
        _face(stage, centre, ahead, aside, skin, bald)
    if not bald and ahead > -0.2:
        _fringe(stage, person, centre, ahead, aside, hair)
    if person.hair_style == "tied":
        _tail(stage, hair)
    elif _hangs(person):
        if ahead <= 0:
            _fall(stage, person, hair)
        else:
            _locks(stage, person, hair)
    if person.hat != "none":
        _hat(stage, person.hat, centre, wide, ahead, aside, hat)


def _hangs(person: Person) -> bool:
    return person.hair_length in _FALLS and person.hair_style == "loose"


def _face(stage: Stage, centre: Points, ahead: float, aside: float, skin: Shade, bald: bool) -> None:
    canvas, scale = stage.canvas, stage.scale
    shift = centre + [0.024 * aside * scale, 0.012 * scale]
    wide = 0.038 - 0.006 * abs(aside) - (0.012 if ahead < -0.1 else 0.0)
    canvas.paint(stage.ellipse(shift, wide, 0.051), skin, "face", depth=0.025 * scale, shadow=0.0)
    if abs(aside) > 0.5 and ahead > -0.2:  # a nose in profile
        nose = shift + [(wide + 0.002) * scale * (1 if aside > 0 else -1), 0.004 * scale]
        canvas.paint(stage.ellipse(nose, 0.006, 0.009), skin, "face", depth=3, shadow=0.0)
    dark = tuple(0.32 * part for part in skin)
    for eye in (-1, 1):
        across = 0.017 * eye * ahead + 0.016 * aside
        if abs(across) < wide * 0.95 and ahead > -0.1:
            spot = shift + [across * scale, -0.006 * scale]
            canvas.paint(stage.ellipse(spot, 0.0055, 0.0035), dark, "face", relief=0, shadow=0)
            brow = spot - [0, 0.009 * scale]
            canvas.paint(stage.ellipse(brow, 0.009, 0.002), dark, "face", relief=0, shadow=0)
    if ahead > 0:
        mouth = shift + [0.012 * aside * scale, 0.026 * scale]
        lips = (0.72 * skin[0], 0.5 * skin[1], 0.5 * skin[2])
        canvas.paint(stage.ellipse(mouth, 0.011 * max(ahead, 0.5), 0.0032), lips, "face", relief=0, shadow=0)


def _fringe(stage: Stage, person: Person, centre: Points, ahead: float, aside: float, hair: Shade) -> None:
    """Hair over the forehead."""
    scale = stage.scale
    over = centre + [-0.006 * aside * scale, -0.038 * scale]
    wide = 0.044 + 0.004 * abs(aside)
    stage.canvas.paint(stage.ellipse(over, wide, 0.026), hair, "hair", depth=0.02 * scale, shadow=0.15)
    if person.gender == "female" and ahead > 0.3:
        parting = centre + [0.024 * scale, -0.026 * scale]
        stage.canvas.paint(stage.ellipse(parting, 0.02, 0.022), hair, "hair", depth=0.02 * scale, shadow=0.1)


def _fall(stage: Stage, person: Person, hair: Shade) -> None:
    """Loose hair as one mass from the crown down the back."""
    end = _FALLS[person.hair_length]
    points = [stage.point(0, 0.06, -0.012), stage.point(0, 0.13, -0.028), stage.point(0, end - 0.035, -0.05)]
    stage.canvas.paint(stage.limb(points, (0.052, 0.055, 0.05)), hair, "hair", depth=0.035 * stage.scale, folds=0.12)


def _locks(stage: Stage, person: Person, hair: Shade) -> None:
    """Loose hair beside the face and down the breast."""
    end = _FALLS[person.hair_length] - 0.015
    for side in (-1, 1):
        points = [stage.point(side * 0.042, 0.05, -0.004), stage.point(side * 0.05, 0.11, 0.0)]
        points.append(stage.point(side * 0.056, end, 0.03 if end > 0.2 else 0.0))
        stage.canvas.paint(
            stage.limb(points, (0.012, 0.017, 0.013)), hair, "hair", depth=0.012 * stage.scale, folds=0.1, shadow=0.2
        )


def _tail(stage: Stage, hair: Shade) -> None:
    """A pony-tail; from the front its end alone shows, or nothing."""
    if stage.faces(180) < -0.6:
        return
    points = [stage.point(0, 0.055, -0.06), stage.point(0, 0.1, -0.085), stage.point(0, 0.2, -0.075)]
    stage.canvas.paint(
        stage.limb(points, (0.017, 0.02, 0.012)), hair, "hair", depth=0.015 * stage.scale, folds=0.12, shadow=0.3
    )


def _hat(stage: Stage, kind: str, centre: Points, wide: float, ahead: float, aside: float, colour: Shade) -> None:
    canvas, scale = stage.canvas, stage.scale
    low = 0.018 if kind == "cap" else 0.004
    dome = stage.ellipse(centre + [0, -0.012 * scale], wide + 0.006, 0.066).polygons[0]
    line = float(centre[1]) - low * scale
    dome[:, 1] = dome[:, 1].clip(max=line)
    canvas.paint(Shape(polygons=[dome]), colour, "hat", depth=0.03 * scale, shadow=0.3)
    darker = tuple(0.8 * part for part in colour)
    if kind == "beanie":
        half, thick = wide * scale, 0.011 * scale
        rim = np.array([[-half, -thick], [half, -thick], [half, thick], [-half, thick]]) + [float(centre[0]), line]
        canvas.paint(Shape(polygons=[rim]), darker, "hat", depth=6)
    elif ahead > -0.5:
        brim = centre + [0.05 * aside * scale, -low * scale + 0.004 * scale]
        canvas.paint(
            stage.ellipse(brim, 0.036 + 0.01 * abs(aside), 0.008 + 0.008 * max(ahead, 0)), darker, "hat", depth=6
        )
