"""From joints and measures of a body to outlines on the canvas."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.spatial import ConvexHull

from data.demo.canvas import Canvas, Points, Shape
from data.demo.skeleton import Skeleton, Vector

Section = tuple[float, float, float]  # height on the body, half-width across, half-depth


class Stage:
    """A body that stands on the canvas.

    Args:
        canvas: what is painted on.
        body: the joints and where they are seen from.
        scale: painted pixels of the body's height.
        x: painted column of the body's middle.
        y: painted row of the crown.
    """

    def __init__(self, canvas: Canvas, body: Skeleton, *, scale: float, x: float, y: float) -> None:
        self.canvas, self.body, self.scale = canvas, body, scale
        self._origin = np.array([x, y])

    def at(self, point: Vector) -> Points:
        """Points [..., 3] of the body -> painted pixels [..., 2]."""
        return self.body.place(point)[..., :2] * self.scale + self._origin

    def joint(self, name: str) -> Vector:
        """A joint of the body, [3]."""
        return self.body.joints[name]

    def point(self, x: float, y: float, z: float) -> Vector:
        """A point of the upright body, which sinks into its step with all the rest."""
        return np.array([x, y + self.body.sink, z])

    def surface(self, across: float, deep: float, azimuth: float, y: float) -> Vector:
        """A point of the trunk's skin, or of what is worn on it; 0 degrees is the middle of the front."""
        return self.body.on_surface(across, deep, azimuth, y + self.body.sink)

    def faces(self, azimuth: float) -> float:
        """How squarely the trunk's side at `azimuth` degrees looks at the camera: 1 fully, below 0 away from it."""
        return float(np.cos(np.radians(azimuth) + self.body.turn))

    def limb(self, points: Sequence[Vector], radii: Sequence[float]) -> Shape:
        """A chain of rounded cones through points of the body, with radii in parts of its height."""
        centres, sizes = self.at(np.stack(points)), self.scale * np.array(radii)[:, None]
        along = np.diff(centres, axis=0)
        normals = along[:, ::-1] * [-1, 1] / np.maximum(np.hypot(*along.T), 1e-6)[:, None]
        starts, ends = normals * sizes[:-1], normals * sizes[1:]
        a, b = centres[:-1], centres[1:]
        cones = np.stack([a + starts, b + ends, b - ends, a - starts], 1)
        discs = [(x, y, r) for x, y, r in np.concatenate([centres, sizes], 1).tolist()]
        return Shape(polygons=list(cones), discs=discs)

    def trunk(self, sections: Sequence[Section], *, looser: float = 0.0) -> Shape:
        """An upright stack of elliptic sections from top to bottom, each wider by `looser`."""
        rows, across, deep = _smoothed(tuple(sections))
        half = self.body.half_width(across + looser, deep + looser)
        zeros = np.zeros_like(rows)
        middle = self.at(np.stack([zeros, rows + self.body.sink, zeros], -1))
        aside = np.stack([half * self.scale, zeros], -1)
        return Shape(polygons=[np.concatenate([middle - aside, (middle + aside)[::-1]])])

    def box(self, centre: Vector, half: tuple[float, float, float]) -> Shape:
        """A box with rounded corners, along the body's axes."""
        corner = 0.3 * min(half) * self.scale
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        corners = self.at(centre + signs * np.array(half))
        middle = corners.mean(0)
        inner = middle + (corners - middle) * (1 - corner / np.maximum(np.abs(corners - middle).max(), 1.0))
        angles = np.arange(0, 2 * np.pi, 0.5)
        circle = corner * np.stack([np.cos(angles), np.sin(angles)], -1)
        cloud = (inner[:, None] + circle).reshape(-1, 2)
        return Shape(polygons=[cloud[ConvexHull(cloud).vertices]])

    def ellipse(self, centre: Points, across: float, down: float) -> Shape:
        """An upright ellipse around a painted point, with half-axes in parts of the body's height."""
        angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        outline = np.stack([np.cos(angles) * across, np.sin(angles) * down], -1) * self.scale
        return Shape(polygons=[centre + outline])

    def outline(self, points: Sequence[Vector]) -> Shape:
        """The polygon through points of the body."""
        return Shape(polygons=[self.at(np.stack(points))])


@lru_cache(maxsize=64)  # one person wears the same in every picture
def _smoothed(sections: tuple[Section, ...]) -> Vector:
    """Sections -> [3, 28]: heights, half-widths and half-depths along a smooth outline."""
    heights, *halves = np.array(sections).T
    rows = np.linspace(heights[0], heights[-1], 28)
    return np.stack([rows, *PchipInterpolator(heights, halves, axis=1)(rows)])
