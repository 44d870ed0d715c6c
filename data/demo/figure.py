"""Paint a person: limbs, clothes and bag from the far side to the near one, then the head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np

from data.demo.body import Body, Build, Pose, Section, Vector
from data.demo.canvas import FLAT, Canvas, Color, Finish, Stripes, darken
from data.demo.head import has_hanging_hair, paint_back_hair, paint_head
from data.demo.people import Person, Shades, Vary
from utils.files import read_tables

_GARMENTS = read_tables(Path(__file__).with_suffix(".yaml"))


class Figure:
    """A person in a pose on a canvas."""

    def __init__(self, canvas: Canvas, person: Person, pose: Pose, vary: Vary | None = None) -> None:
        rng = Random(f"{person.look} body")
        tone, stoutness = rng.betavariate(1.1, 1.7), rng.betavariate(2, 2.6)
        self.canvas, self.person = canvas, person
        self.body = Body(Build.of(person.gender, stoutness), pose)
        self.shades = Shades.of(person, tone, vary)


def paint_figure(figure: Figure) -> None:
    """Paint a person on the figure's canvas."""
    if has_hanging_hair(figure) and figure.body.facing(0) > 0:
        paint_back_hair(figure)
    _paint_clothed_body(figure)
    paint_head(figure)


def _paint_clothed_body(figure: Figure) -> None:
    """Paint everything except the head."""
    body = figure.body
    right, left = (body.nearness(body.joints[f"{side}_shoulder"]) for side in ("right", "left"))
    far, near = ("left", "right") if right > left else ("right", "left")
    sideways = abs(body.facing(90)) > 0.5  # the trunk then hides one arm; otherwise both arms are in front of it

    _paint_bag(figure, behind=True)
    if sideways:
        _paint_arm(figure, far)
    for side in (far, near):
        _paint_leg(figure, side)
    _paint_lower_garment(figure)
    _paint_upper_garment(figure)
    if not sideways:
        _paint_arm(figure, far)
    _paint_bag(figure, behind=False)
    _paint_arm(figure, near)


def _trunk_sections(build: Build) -> list[Section]:
    """Return the sections of the trunk from the neck to the hips."""
    return [
        (0.152, 0.030, 0.034),
        (0.170, build.shoulder * 0.66, build.depth * 0.6),
        (0.192, build.shoulder * 0.96, build.depth * 0.8),
        (0.225, build.shoulder * 0.98, build.depth * 0.95),
        (0.285, build.chest, build.depth),
        (0.385, build.waist, build.depth * 0.86),
        (0.465, build.hip * 0.98, build.depth * 0.95),
        (0.505, build.hip, build.depth),
    ]


def _paint_leg(figure: Figure, side: str) -> None:
    body, person, shades = figure.body, figure.person, figure.shades
    thick = body.build.limb
    hip, knee, ankle, heel, toe = (body.joints[f"{side}_{name}"] for name in ("hip", "knee", "ankle", "heel", "toe"))

    up = np.array([0, -0.012, 0])
    middle = 0.55 * toe + 0.45 * heel
    sole_color = (228, 226, 220) if person.shoes == "sneakers" else darken(shades.shoes, 0.55)
    radii = (0.025, 0.027, 0.022)
    sole = body.limb([heel - 0.5 * up, middle - 0.5 * up, toe - 0.5 * up], radii)
    figure.canvas.paint(sole, sole_color, "shoes", Finish(relief=0.2))
    shoe = body.limb([ankle, heel + up * 0.5, middle + up, toe + up * 0.4], (0.027, *radii))
    figure.canvas.paint(shoe, shades.shoes, "shoes", Finish(0.02 * body.scale, relief=0.5))

    calf = knee + 0.38 * (ankle - knee)
    if person.lower_garment in {"shorts", "skirt", "dress"}:
        leg = body.limb([hip, knee, calf, ankle], (0.052 * thick, 0.037 * thick, 0.037 * thick, 0.026 * thick))
        figure.canvas.paint(leg, shades.skin, "skin", Finish(0.035 * body.scale))
    else:
        width = 0.037 * thick * 1.12
        leg = body.limb([hip, knee, calf, ankle], (0.052 * thick * 1.08, width, width * 0.98, 0.026 * thick * 1.35))
        figure.canvas.paint(leg, shades.lower, "lower", Finish(0.035 * body.scale, folds=0.1))
    if person.shoes == "boots":
        shaft = body.limb([ankle + 0.42 * (knee - ankle), ankle], (0.036, 0.031))
        figure.canvas.paint(shaft, shades.shoes, "shoes", Finish(0.025 * body.scale))
    if person.lower_garment == "shorts":
        width = thick * 0.056
        leg = body.limb([hip, knee - 0.12 * (knee - hip)], (width, width * 0.92))
        figure.canvas.paint(leg, shades.lower, "lower", Finish(0.035 * body.scale, folds=0.1))


def _paint_arm(figure: Figure, side: str) -> None:
    body, person = figure.body, figure.person
    thick, loose = body.build.limb, 0.6 * _GARMENTS[person.upper_garment]["loose"]
    shoulder, elbow, wrist, hand = (body.joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist", "hand"))
    arm = body.limb([shoulder, elbow, wrist, hand], (0.028 * thick, 0.024 * thick, 0.018 * thick, 0.019 * thick))
    figure.canvas.paint(arm, figure.shades.skin, "skin", Finish(0.022 * body.scale, shadow=0.4))
    upper = 0.030 * thick + loose
    if person.sleeves == "long-sleeved":
        sleeve = body.limb([shoulder, elbow, wrist], (upper, 0.027 * thick + loose, 0.023 * thick + loose))
    elif person.sleeves == "short-sleeved":
        sleeve = body.limb([shoulder, shoulder + 0.72 * (elbow - shoulder)], (upper, upper))
    else:
        return
    figure.canvas.paint(sleeve, _upper_color(figure), "upper", Finish(0.022 * body.scale, folds=0.1, shadow=0.4))


def _upper_color(figure: Figure) -> Color | Stripes:
    if figure.person.pattern == "striped":
        return Stripes(figure.shades.upper, figure.shades.stripe, 0.05 * figure.body.scale)
    return figure.shades.upper


def _paint_lower_garment(figure: Figure) -> None:
    """Paint the lower garment down to the hips, a skirt completely; a dress is painted as the upper garment."""
    body, build, garment = figure.body, figure.body.build, figure.person.lower_garment
    if garment == "dress":
        return
    sections = [(0.43, build.waist * 1.04, build.depth * 0.9), *_trunk_sections(build)[6:]]
    if garment == "skirt":
        sections += [(0.56, build.hip + 0.012, build.depth + 0.01), (0.69, build.hip + 0.03, build.depth + 0.035)]
    else:
        sections.append((0.53, build.hip, build.depth))
    worn = body.trunk(sections, loose=0.003)
    figure.canvas.paint(worn, figure.shades.lower, "lower", Finish(0.05 * body.scale, folds=0.1))


def _paint_upper_garment(figure: Figure) -> None:
    body, garment, shades = figure.body, figure.person.upper_garment, figure.shades
    neck = [body.point(0, 0.11, 0.004), body.point(0, 0.175, -0.002)]
    figure.canvas.paint(body.limb(neck, (0.027, 0.032)), shades.skin, "skin", Finish(0.02 * body.scale))
    cut = _GARMENTS[garment]
    sections = _trunk_sections(body.build)
    if cut["hem"] > 0.505:
        sections.append((cut["hem"], body.build.hip + cut["flare"], body.build.depth + cut["flare"]))
    worn = body.trunk(sections, loose=cut["loose"])
    figure.canvas.paint(worn, _upper_color(figure), "upper", Finish(0.055 * body.scale, folds=0.11, shadow=0.35))
    if body.facing(0) > 0.25:
        _paint_front(figure)
    if garment == "hoodie":
        hood = body.box(body.point(0, 0.172, -0.03), (0.06, 0.026, 0.03))
        figure.canvas.paint(hood, darken(shades.upper, 0.86), "upper", Finish(0.03 * body.scale))
    if garment in {"shirt", "jacket", "coat"}:
        angles = [azimuth for azimuth in range(-180, 181, 30) if body.facing(azimuth) > -0.1]
        collar = body.limb([body.surface(0.045, 0.05, azimuth, 0.158) for azimuth in angles], [0.012] * len(angles))
        figure.canvas.paint(collar, darken(shades.upper, 0.82), "upper", Finish(0.01 * body.scale, shadow=0.2))
    if garment in {"dress", "coat"}:
        waist, depth = body.build.waist, body.build.depth * 0.88
        belt = body.trunk([(0.382, waist, depth), (0.398, waist, depth)], loose=cut["loose"])
        figure.canvas.paint(belt, darken(shades.upper, 0.62), "upper", Finish(relief=0.2, shadow=0.0), only_on="upper")


def _paint_front(figure: Figure) -> None:
    """Paint the neckline, the seam of an open front, and the pocket of a hoodie."""
    body, garment, shades = figure.body, figure.person.upper_garment, figure.shades
    loose, end = _GARMENTS[garment]["loose"], _GARMENTS[garment]["neckline"]

    def front(azimuth: float, y: float) -> Vector:
        return body.surface(body.build.chest * 0.9 + loose, body.build.depth + loose, azimuth, y)

    width = (24 if garment in {"tank top", "dress"} else 15) * 0.6
    neckline = [body.point(-0.028, 0.15, 0.02), body.point(0.028, 0.15, 0.02), front(width, 0.172)]
    neckline += [front(0, end), front(-width, 0.172)]
    color, part = (shades.under, "under") if garment in {"jacket", "coat"} else (shades.skin, "skin")
    figure.canvas.paint(body.polygon(neckline), color, part, Finish(relief=0.15, shadow=0.0), only_on="upper")
    dark = darken(shades.upper, 0.62)
    if garment in {"jacket", "coat", "shirt"}:
        seam = body.limb([front(1, y) for y in (end, 0.35, _GARMENTS[garment]["hem"] - 0.02)], (0.004, 0.004, 0.004))
        figure.canvas.paint(seam, dark, "upper", FLAT, only_on="upper")
    if garment == "hoodie":
        pocket = [front(azimuth, y) for azimuth, y in ((28, 0.4), (36, 0.48), (-36, 0.48), (-28, 0.4))]
        figure.canvas.paint(body.polygon(pocket), dark, "upper", Finish(relief=0.1, shadow=0.0), only_on="upper")


def _paint_bag(figure: Figure, *, behind: bool) -> None:
    """Paint the parts of the bag that are behind the trunk, or those in front of it."""
    body, bag = figure.body, figure.person.bag
    if bag == "backpack":
        if behind == (body.facing(180) <= 0.1):
            _paint_backpack(figure)
        if not behind:
            for side in (-1, 1):
                strap = [(side * 28, 0.172), (side * 30, 0.2), (side * 33, 0.24), (side * 42, 0.29), (side * 68, 0.335)]
                _paint_strap(figure, strap, body.build.shoulder * 0.82, radius=0.013)
    elif bag == "handbag" and behind == (body.nearness(body.joints["right_hand"]) < -0.03):
        _paint_handbag(figure)
    elif bag == "shoulder bag":
        if not behind:  # the strap from the left shoulder across chest and back to the right hip
            strap = [(38, 0.172), (20, 0.235), (0, 0.3), (-28, 0.37), (-60, 0.435)]
            for path in (strap, [(180 - azimuth, y) for azimuth, y in strap]):
                _paint_strap(figure, path, body.build.chest + 0.012, radius=0.0085)
        if behind == (body.facing(-75) < -0.15):
            _paint_shoulder_bag(figure)


def _paint_backpack(figure: Figure) -> None:
    body, color = figure.body, figure.shades.bag
    back, dark = -body.build.depth, darken(color, 0.75)
    pack = body.box(body.point(0, 0.305, back - 0.04), (0.068, 0.095, 0.036))
    figure.canvas.paint(pack, color, "bag", Finish(0.04 * body.scale, folds=0.06, shadow=0.4))
    if body.facing(180) > 0.3:
        pocket = body.box(body.point(0, 0.348, back - 0.08), (0.048, 0.034, 0.012))
        figure.canvas.paint(pocket, dark, "bag", Finish(0.02 * body.scale, shadow=0.2))
        flap = body.limb([body.point(x, 0.262, back - 0.078) for x in (-0.058, 0.058)], (0.005, 0.005))
        figure.canvas.paint(flap, dark, "bag", FLAT)


def _paint_strap(figure: Figure, path: Sequence[tuple[float, float]], half_width: float, radius: float) -> None:
    """Paint the visible part of a strap on the trunk through points (azimuth, y)."""
    body = figure.body
    depth = body.build.depth + (0.016 if figure.person.bag == "backpack" else 0.014)
    points = [body.surface(half_width, depth, azimuth, y) for azimuth, y in path if body.facing(azimuth) > 0.05]
    if len(points) > 1:
        finish = Finish(depth=5, shadow=0.35) if figure.person.bag == "backpack" else Finish(depth=4)
        figure.canvas.paint(body.limb(points, [radius] * len(points)), figure.shades.bag, "strap", finish)


def _paint_handbag(figure: Figure) -> None:
    body, color, hand = figure.body, figure.shades.bag, figure.body.joints["right_hand"]
    center = hand + [0, 0.105, 0]
    for z in (-0.035, 0.035):
        handle = body.limb([hand, center + [0, -0.045, z]], (0.005, 0.005))
        figure.canvas.paint(handle, darken(color, 0.7), "strap", Finish(relief=0, shadow=0.1))
    figure.canvas.paint(body.box(center, (0.022, 0.05, 0.07)), color, "bag", Finish(0.03 * body.scale))
    clasp = body.ellipse(body.project(center + [-0.022, -0.03, 0]), 0.008, 0.006)
    figure.canvas.paint(clasp, (206, 178, 96), "bag", Finish(relief=0.2, shadow=0))


def _paint_shoulder_bag(figure: Figure) -> None:
    body, color = figure.body, figure.shades.bag
    center = body.surface(body.build.hip + 0.035, body.build.depth + 0.02, -80, 0.485)
    bag = body.box(center, (0.024, 0.052, 0.075))
    figure.canvas.paint(bag, color, "bag", Finish(0.03 * body.scale, folds=0.05, shadow=0.35))
    flap = body.box(center + [-0.012, -0.02, 0], (0.02, 0.026, 0.076))
    figure.canvas.paint(flap, darken(color, 0.75), "bag", Finish(0.02 * body.scale, shadow=0.1))
