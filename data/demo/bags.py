"""Bags: on the back, in the hand, across the shoulder."""

from __future__ import annotations

from data.demo.canvas import Shape
from data.demo.colours import Shade
from data.demo.skeleton import Build, Vector
from data.demo.stage import Stage

_SIDE = "right"  # the hand and hip that carry


def paint_bag(stage: Stage, kind: str, colour: Shade, build: Build, *, behind: bool) -> None:
    """Paint what of a bag is behind the trunk, or what is before it.

    Args:
        stage: who carries it.
        kind: "backpack", "handbag", "shoulder bag" or "none".
        colour: its shade.
        build: of who carries it.
        behind: whether the trunk is still to be painted.
    """
    if kind == "backpack":
        on_near_side = stage.faces(180) > 0.1
        if behind != on_near_side:
            _pack(stage, colour, build)
        if not behind:
            _straps(stage, colour, build)
    elif kind == "handbag" and behind == (_nearness(stage, stage.joint(f"{_SIDE}_hand")) < -0.03):
        _handbag(stage, colour)
    elif kind == "shoulder bag":
        if not behind:
            _belt(stage, colour, build)
        if behind == (stage.faces(-75) < -0.15):
            _satchel(stage, colour, build)


def _pack(stage: Stage, colour: Shade, build: Build) -> None:
    canvas = stage.canvas
    darker = tuple(0.75 * part for part in colour)
    body = stage.box(stage.point(0, 0.305, -build.depth - 0.04), (0.068, 0.095, 0.036))
    canvas.paint(body, colour, "bag", depth=0.04 * stage.scale, folds=0.06, shadow=0.4)
    if stage.faces(180) > 0.3:
        pocket = stage.box(stage.point(0, 0.348, -build.depth - 0.08), (0.048, 0.034, 0.012))
        canvas.paint(pocket, darker, "bag", depth=0.02 * stage.scale, shadow=0.2)
        flap = [stage.point(x, 0.262, -build.depth - 0.078) for x in (-0.058, 0.058)]
        canvas.paint(stage.limb(flap, (0.005, 0.005)), darker, "bag", relief=0, shadow=0)


def _straps(stage: Stage, colour: Shade, build: Build) -> None:
    for side in (-1, 1):
        way = [(28, 0.172), (30, 0.2), (33, 0.24), (42, 0.29), (68, 0.335)]
        points = [
            stage.surface(build.shoulder * 0.82, build.depth + 0.016, side * azimuth, y)
            for azimuth, y in way
            if stage.faces(side * azimuth) > 0.05
        ]
        if len(points) > 1:
            stage.canvas.paint(stage.limb(points, [0.013] * len(points)), colour, "strap", depth=5, shadow=0.35)


def _handbag(stage: Stage, colour: Shade) -> None:
    canvas, hand = stage.canvas, stage.joint(f"{_SIDE}_hand")
    darker = tuple(0.7 * part for part in colour)
    centre = hand + stage.point(0, 0.105, 0) - stage.point(0, 0, 0)
    for along in (-0.035, 0.035):
        grip = [hand, centre + [0, -0.045, along]]
        canvas.paint(stage.limb(grip, (0.005, 0.005)), darker, "strap", relief=0, shadow=0.1)
    canvas.paint(stage.box(centre, (0.022, 0.05, 0.07)), colour, "bag", depth=0.03 * stage.scale, shadow=0.3)
    clasp = stage.at(centre + [-0.022, -0.03, 0])
    canvas.paint(stage.ellipse(clasp, 0.008, 0.006), (206, 178, 96), "bag", relief=0.2, shadow=0)


def _belt(stage: Stage, colour: Shade, build: Build) -> None:
    """The strap from the left shoulder across breast and back to the right hip."""
    for sign in (1, -1):
        ends: tuple[tuple[float, float], ...] = ((38, 0.172), (20, 0.235), (0, 0.3), (-28, 0.37), (-60, 0.435))
        if sign < 0:
            ends = tuple((180 - azimuth, y) for azimuth, y in ends)
        across = build.chest + 0.012
        points = [stage.surface(across, build.depth + 0.014, a, y) for a, y in ends if stage.faces(a) > 0.05]
        if len(points) > 1:
            stage.canvas.paint(stage.limb(points, [0.0085] * len(points)), colour, "strap", depth=4, shadow=0.3)


def _satchel(stage: Stage, colour: Shade, build: Build) -> None:
    darker = tuple(0.75 * part for part in colour)
    centre = stage.surface(build.hip + 0.035, build.depth + 0.02, -80, 0.485)
    stage.canvas.paint(
        stage.box(centre, (0.024, 0.052, 0.075)), colour, "bag", depth=0.03 * stage.scale, folds=0.05, shadow=0.35
    )
    flap: Shape = stage.box(centre + [-0.012, -0.02, 0], (0.02, 0.026, 0.076))
    stage.canvas.paint(flap, darker, "bag", depth=0.02 * stage.scale, shadow=0.1)


def _nearness(stage: Stage, point: Vector) -> float:
    return float(stage.body.place(point)[2])
