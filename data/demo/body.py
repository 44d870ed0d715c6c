"""The body of a walking person: its joints in three dimensions, and the outlines that a camera sees.

Lengths are shares of the body's height; x points to the person's left, y down from the crown, z where the person faces.
Proportions are those of figure drawing: seven and a half heads, the crotch at half the height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import cos, radians, sin

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.spatial import ConvexHull

from data.demo.canvas import Points, Shape

Vector = NDArray[np.float64]
Section = tuple[float, float, float]  # y, half-width, half-depth

VIEWS = {"front": 0, "three-quarter front": 42, "side": 88, "three-quarter back": 138, "back": 180}
SIDES = ("left", "right")  # the person's own


@dataclass(frozen=True)
class Build:
    """Half-widths and half-depths of a body."""

    shoulder: float
    chest: float
    waist: float
    hip: float
    depth: float
    limb: float  # factor of the thickness of arms and legs

    @classmethod
    def of(cls, gender: str, stoutness: float) -> Build:
        """Return the typical build of a gender; stoutness 0 is slim, 1 heavy."""
        wide = 1 + 0.16 * (stoutness - 0.35)
        if gender == "male":
            return cls(0.122 * (0.6 + 0.4 * wide), 0.1 * wide, 0.084 * wide**2, 0.086 * wide, 0.066 * wide**2, wide)
        return cls(0.103 * (0.6 + 0.4 * wide), 0.086 * wide, 0.068 * wide**2, 0.092 * wide, 0.06 * wide**2, 0.9 * wide)


@dataclass(frozen=True)
class Pose:
    """Phase of a step, the direction from which it is seen, and the position on the canvas."""

    heading: float  # degrees from facing the camera, clockwise from above; 90 walks to the right of the picture
    phase: float  # position in the cycle of two steps, 0 to 1
    stride: float  # 0 for standing, 1 for walking fast
    pitch: float  # degrees by which the camera looks down
    height: float  # of the body, in canvas pixels
    x: float  # column of the crown
    y: float  # row of the crown


class Body:
    """A body in a pose, which turns parts of itself into shapes on the canvas.

    Attributes:
        joints: {name: point [3]}, such as "left_knee".
        turn: heading in radians.
        scale: height of the body in canvas pixels.
    """

    def __init__(self, build: Build, pose: Pose) -> None:
        self.build, self.scale = build, pose.height
        self.turn = radians(pose.heading)
        self._origin = np.array([pose.x, pose.y])
        sideways, ahead, down = sin(self.turn), cos(self.turn), sin(radians(pose.pitch))
        self._view = np.array([[ahead, -sideways * down, -sideways], [0, 1, 0], [sideways, ahead * down, ahead]])
        self.joints: dict[str, Vector] = {}
        for side, sign, phase in (("left", 1, pose.phase), ("right", -1, pose.phase + 0.5)):
            self._place_leg(side, sign, pose.stride, 2 * np.pi * phase)
            self._place_arm(side, sign, pose.stride, 2 * np.pi * phase)
        sole = max(self.joints[f"{side}_{joint}"][1] for side in SIDES for joint in ("heel", "toe"))
        self._sink = 0.982 - sole  # puts the lower foot on the ground
        for joint in self.joints.values():
            joint[1] += self._sink

    def _place_leg(self, side: str, sign: int, stride: float, angle: float) -> None:
        thigh = 0.42 * stride * sin(angle) + 0.05 * stride
        bend = 0.06 + stride * (0.12 + 0.75 * max(0.0, cos(angle)) ** 2)
        hip = np.array([sign * self.build.hip * 0.56, 0.485, 0.0])
        knee = hip + 0.245 * np.array([sign * -0.02, cos(thigh), sin(thigh)])
        shin = thigh - bend
        ankle = knee + 0.225 * np.array([0.0, cos(shin), sin(shin)])
        # the heel lifts behind the body, the toes in front of it
        lift = 0.55 * min(shin, 0.0) * -1.0 - 0.5 * max(thigh - 0.1, 0.0) * (bend < 0.4)
        forward = np.array([sign * 0.18, sin(lift), cos(lift)])
        down = np.array([0.0, cos(lift), -sin(lift)])
        self.joints |= {
            f"{side}_hip": hip,
            f"{side}_knee": knee,
            f"{side}_ankle": ankle,
            f"{side}_heel": ankle + 0.022 * down - 0.02 * forward,
            f"{side}_toe": ankle + 0.026 * down + 0.088 * forward,
        }

    def _place_arm(self, side: str, sign: int, stride: float, angle: float) -> None:
        upper = -0.42 * stride * sin(angle)
        lower = upper + (0.18 + 0.3 * stride * max(0.0, -sin(angle)) + 0.12 * stride)
        shoulder = np.array([sign * (self.build.shoulder - 0.016), 0.201, -0.004])
        elbow = shoulder + 0.165 * np.array([sign * sin(0.11), cos(upper), sin(upper)])
        wrist = elbow + 0.14 * np.array([sign * 0.02, cos(lower), sin(lower)])
        hand = wrist + 0.045 * np.array([sign * -0.02, cos(lower), sin(lower)])
        self.joints |= {
            f"{side}_shoulder": shoulder,
            f"{side}_elbow": elbow,
            f"{side}_wrist": wrist,
            f"{side}_hand": hand,
        }

    def point(self, x: float, y: float, z: float) -> Vector:
        """Return a point [3] of the body: the trunk sinks with each step."""
        return np.array([x, y + self._sink, z])

    def surface(self, half_width: float, half_depth: float, azimuth: float, y: float) -> Vector:
        """Return a point [3] of an elliptic section at `azimuth` degrees: 0 is the front, 90 the left side."""
        angle = radians(azimuth)
        return np.array([half_width * sin(angle), y + self._sink, half_depth * cos(angle)])

    def facing(self, azimuth: float) -> float:
        """Return how directly the side at `azimuth` degrees faces the camera: 1 fully, below 0 away from it."""
        return float(np.cos(np.radians(azimuth) + self.turn))

    def nearness(self, point: Vector) -> float:
        """Return how close a point [3] is to the camera, relative to the body's axis."""
        return float((point @ self._view)[2])

    def project(self, points: Vector) -> Points:
        """Project points [..., 3] of the body to the canvas [..., 2]."""
        return (points @ self._view)[..., :2] * self.scale + self._origin

    def limb(self, points: Sequence[Vector], radii: Sequence[float]) -> Shape:
        """Return a chain of rounded cones through points of the body."""
        centers, sizes = self.project(np.stack(points)), self.scale * np.array(radii)[:, None]
        along = np.diff(centers, axis=0)
        normals = along[:, ::-1] * [-1, 1] / np.maximum(np.hypot(*along.T), 1e-6)[:, None]
        starts, ends = normals * sizes[:-1], normals * sizes[1:]
        a, b = centers[:-1], centers[1:]
        cones = np.stack([a + starts, b + ends, b - ends, a - starts], 1)
        discs = [(x, y, r) for x, y, r in np.concatenate([centers, sizes], 1).tolist()]
        return Shape(polygons=list(cones), discs=discs)

    def trunk(self, sections: Sequence[Section], *, loose: float = 0.0) -> Shape:
        """Return an upright stack of elliptic sections from top to bottom, each wider by `loose`."""
        rows, half_width, half_depth = _smooth_sections(tuple(sections))
        visible_half = np.hypot((half_width + loose) * cos(self.turn), (half_depth + loose) * sin(self.turn))
        zeros = np.zeros_like(rows)
        middle = self.project(np.stack([zeros, rows + self._sink, zeros], -1))
        offset = np.stack([visible_half * self.scale, zeros], -1)
        return Shape(polygons=[np.concatenate([middle - offset, (middle + offset)[::-1]])])

    def box(self, center: Vector, half: Section) -> Shape:
        """Return a box with rounded corners; `half` are its half-lengths along x, y and z."""
        radius = 0.3 * min(half) * self.scale
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        corners = self.project(center + signs * np.array(half))
        middle = corners.mean(0)
        inner = middle + (corners - middle) * (1 - radius / np.maximum(np.abs(corners - middle).max(), 1.0))
        angles = np.arange(0, 2 * np.pi, 0.5)
        circle = radius * np.stack([np.cos(angles), np.sin(angles)], -1)
        points = (inner[:, None] + circle).reshape(-1, 2)
        return Shape(polygons=[points[ConvexHull(points).vertices]])

    def ellipse(self, center: Points, half_width: float, half_height: float) -> Shape:
        """Return an upright ellipse around a point of the canvas."""
        angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        outline = np.stack([np.cos(angles) * half_width, np.sin(angles) * half_height], -1)
        return Shape(polygons=[center + outline * self.scale])

    def polygon(self, points: Sequence[Vector]) -> Shape:
        """Return the polygon through points of the body."""
        return Shape(polygons=[self.project(np.stack(points))])


@lru_cache(maxsize=64)  # a person wears the same in every picture
def _smooth_sections(sections: tuple[Section, ...]) -> Vector:
    """Interpolate sections to [3, 28]: y, half-widths and half-depths of a smooth outline."""
    y, *halves = np.array(sections).T
    rows = np.linspace(y[0], y[-1], 28)
    return np.stack([rows, *PchipInterpolator(y, halves, axis=1)(rows)])
