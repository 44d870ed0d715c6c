"""Paint the head of a person: face, hair and hat."""

from __future__ import annotations

from math import cos, sin
from typing import TYPE_CHECKING

import numpy as np

from data.demo.body import Body
from data.demo.canvas import FLAT, Finish, Points, Shape, darken

if TYPE_CHECKING:
    from data.demo.figure import Figure

_HAIR_ENDS = {"medium-length": 0.165, "long": 0.27}  # lower end of loose hair, as a share of the body's height


def paint_head(figure: Figure) -> None:
    """Paint the head in front of everything painted before."""
    body, person, hair = figure.body, figure.person, figure.shades.hair
    center = _center(body)
    color, part = (figure.shades.skin, "skin") if person.hair_length == "bald" else (hair, "hair")
    figure.canvas.paint(body.ellipse(center, _half_width(body), 0.064), color, part, Finish(0.03 * body.scale))
    if cos(body.turn) > -0.45:
        _paint_face(figure, center)
    if person.hair_length != "bald" and cos(body.turn) > -0.2:
        _paint_fringe(figure, center)
    if person.hair_style == "tied" and body.facing(180) >= -0.6:
        tail = [body.point(0, 0.055, -0.06), body.point(0, 0.1, -0.085), body.point(0, 0.2, -0.075)]
        figure.canvas.paint(body.limb(tail, (0.017, 0.02, 0.012)), hair, "hair", Finish(0.015 * body.scale, folds=0.12))
    if has_hanging_hair(figure):
        if cos(body.turn) <= 0:
            paint_back_hair(figure)
        else:
            _paint_front_hair(figure)
    if person.hat != "none":
        _paint_hat(figure, center)


def _center(body: Body) -> Points:
    return body.project(body.point(0, 0.07, 0.012))


def _half_width(body: Body) -> float:
    return 0.047 + 0.007 * abs(sin(body.turn))


def has_hanging_hair(figure: Figure) -> bool:
    """Whether a person wears loose hair that reaches below the head."""
    return figure.person.hair_length in _HAIR_ENDS and figure.person.hair_style == "loose"


def _paint_face(figure: Figure, head: Points) -> None:
    body, skin, scale = figure.body, figure.shades.skin, figure.body.scale
    ahead, aside = cos(body.turn), sin(body.turn)
    center = head + [0.024 * aside * scale, 0.012 * scale]
    half_width = 0.038 - 0.006 * abs(aside) - (0.012 if ahead < -0.1 else 0.0)
    figure.canvas.paint(body.ellipse(center, half_width, 0.051), skin, "face", Finish(0.025 * body.scale, shadow=0.0))
    if abs(aside) > 0.5 and ahead > -0.2:  # in profile
        nose = center + [(half_width + 0.002) * scale * (1 if aside > 0 else -1), 0.004 * scale]
        figure.canvas.paint(body.ellipse(nose, 0.006, 0.009), skin, "face", Finish(depth=3, shadow=0.0))
    for side in (-1, 1):
        x = 0.017 * side * ahead + 0.016 * aside
        if abs(x) < half_width * 0.95 and ahead > -0.1:
            eye = center + [x * scale, -0.006 * scale]
            figure.canvas.paint(body.ellipse(eye, 0.0055, 0.0035), darken(skin, 0.32), "face", FLAT)
            brow = eye - [0, 0.009 * scale]
            figure.canvas.paint(body.ellipse(brow, 0.009, 0.002), darken(skin, 0.32), "face", FLAT)
    if ahead > 0:
        mouth = center + [0.012 * aside * scale, 0.026 * scale]
        lips = (0.72 * skin[0], 0.5 * skin[1], 0.5 * skin[2])
        figure.canvas.paint(body.ellipse(mouth, 0.011 * max(ahead, 0.5), 0.0032), lips, "face", FLAT)


def _paint_fringe(figure: Figure, head: Points) -> None:
    """Paint the hair over the forehead."""
    body, hair, scale = figure.body, figure.shades.hair, figure.body.scale
    ahead, aside = cos(body.turn), sin(body.turn)
    center = head + [-0.006 * aside * scale, -0.038 * scale]
    fringe = body.ellipse(center, 0.044 + 0.004 * abs(aside), 0.026)
    figure.canvas.paint(fringe, hair, "hair", Finish(0.02 * scale, shadow=0.15))
    if figure.person.gender == "female" and ahead > 0.3:
        parting = head + [0.024 * scale, -0.026 * scale]
        figure.canvas.paint(body.ellipse(parting, 0.02, 0.022), hair, "hair", Finish(0.02 * body.scale, shadow=0.1))


def paint_back_hair(figure: Figure) -> None:
    """Paint loose hair from the crown down the back."""
    body, end = figure.body, _HAIR_ENDS[figure.person.hair_length]
    points = [body.point(0, 0.06, -0.012), body.point(0, 0.13, -0.028), body.point(0, end - 0.035, -0.05)]
    hair = body.limb(points, (0.052, 0.055, 0.05))
    figure.canvas.paint(hair, figure.shades.hair, "hair", Finish(0.035 * body.scale, folds=0.12))


def _paint_front_hair(figure: Figure) -> None:
    """Paint loose hair next to the face and down the chest."""
    body, end = figure.body, _HAIR_ENDS[figure.person.hair_length] - 0.015
    for side in (-1, 1):
        points = [body.point(side * 0.042, 0.05, -0.004), body.point(side * 0.05, 0.11, 0.0)]
        points.append(body.point(side * 0.056, end, 0.03 if end > 0.2 else 0.0))
        lock = body.limb(points, (0.012, 0.017, 0.013))
        figure.canvas.paint(lock, figure.shades.hair, "hair", Finish(0.012 * body.scale, folds=0.1, shadow=0.2))


def _paint_hat(figure: Figure, head: Points) -> None:
    body, scale, cap = figure.body, figure.body.scale, figure.person.hat == "cap"
    ahead, aside = cos(body.turn), sin(body.turn)
    dark = darken(figure.shades.hat, 0.8)
    lower_edge = 0.018 if cap else 0.004  # above the center
    dome = body.ellipse(head + [0, -0.012 * scale], _half_width(body) + 0.006, 0.066).polygons[0]
    line = float(head[1]) - lower_edge * scale
    dome[:, 1] = dome[:, 1].clip(max=line)
    figure.canvas.paint(Shape(polygons=[dome]), figure.shades.hat, "hat", Finish(0.03 * body.scale))
    if not cap:
        half, thick = _half_width(body) * scale, 0.011 * scale
        rim = np.array([[-half, -thick], [half, -thick], [half, thick], [-half, thick]]) + [float(head[0]), line]
        figure.canvas.paint(Shape(polygons=[rim]), dark, "hat")
    elif ahead > -0.5:
        center = head + [0.05 * aside * scale, -lower_edge * scale + 0.004 * scale]
        brim = body.ellipse(center, 0.036 + 0.01 * abs(aside), 0.008 + 0.008 * max(ahead, 0))
        figure.canvas.paint(brim, dark, "hat")
