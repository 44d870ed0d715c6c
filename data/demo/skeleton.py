"""A walking body in three dimensions, and how it looks from where the camera stands.

Lengths are parts of the body's height; x points to the person's left, y down from the crown, z to where the face looks.
Proportions are those of figure drawing: seven and a half heads, the crotch at half the height.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
VIEWS = {"front": 0, "three-quarter front": 42, "side": 88, "three-quarter back": 138, "back": 180}


@dataclass(frozen=True)
class Build:
    """Half-widths and half-depths of one body, as parts of its height."""

    shoulder: float
    chest: float
    waist: float
    hip: float
    depth: float
    limb: float  # how thick arms and legs are, 1 for usual

    @classmethod
    def of(cls, gender: str, stoutness: float) -> Build:
        """The build of a gender's usual silhouette; stoutness 0 is slim, 1 heavy."""
        wide = 1 + 0.16 * (stoutness - 0.35)
        if gender == "male":
            return cls(0.122 * (0.6 + 0.4 * wide), 0.1 * wide, 0.084 * wide**2, 0.086 * wide, 0.066 * wide**2, wide)
        return cls(0.103 * (0.6 + 0.4 * wide), 0.086 * wide, 0.068 * wide**2, 0.092 * wide, 0.06 * wide**2, 0.9 * wide)


@dataclass(frozen=True)
class Pose:
    """Where somebody looks and how far into a step they are.

    Attributes:
        view: one of `VIEWS`.
        heading: degrees from facing the camera, clockwise seen from above; 90 walks to the right of the picture.
        phase: where in the cycle of two steps, 0 to 1.
        stride: 0 stands, 1 walks fast.
        pitch: degrees by which the camera looks down.
    """

    view: str
    heading: float
    phase: float
    stride: float
    pitch: float


class Skeleton:
    """Joints of a body in a pose, and their projection.

    Attributes:
        joints: name -> point [3]; "left" and "right" are the person's own.
    """

    def __init__(self, build: Build, pose: Pose) -> None:
        self.build, self.pose = build, pose
        self.turn = radians(pose.heading)
        sideways, ahead, down = sin(self.turn), cos(self.turn), sin(radians(pose.pitch))
        self._view = np.array([[ahead, -sideways * down, -sideways], [0, 1, 0], [sideways, ahead * down, ahead]])
        self.joints: dict[str, Vector] = {}
        for side, sign, phase in (("left", 1, pose.phase), ("right", -1, pose.phase + 0.5)):
            self._leg(side, sign, 2 * np.pi * phase)
            self._arm(side, sign, 2 * np.pi * phase)
        sole = max(self.joints[f"{side}_{place}"][1] for side in ("left", "right") for place in ("heel", "toe"))
        self.sink = 0.982 - sole  # the lower foot stands on the ground whatever the step
        for joint in self.joints.values():
            joint[1] += self.sink

    def _leg(self, side: str, sign: int, angle: float) -> None:
        stride = self.pose.stride
        thigh = 0.42 * stride * sin(angle) + 0.05 * stride
        bend = 0.06 + stride * (0.12 + 0.75 * max(0.0, cos(angle)) ** 2)
        hip = np.array([sign * self.build.hip * 0.56, 0.485, 0.0])
        knee = hip + 0.245 * np.array([sign * -0.02, cos(thigh), sin(thigh)])
        shin = thigh - bend
        ankle = knee + 0.225 * np.array([0.0, cos(shin), sin(shin)])
        # the heel lifts behind the body, the toes before it
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

    def _arm(self, side: str, sign: int, angle: float) -> None:
        stride = self.pose.stride
        swing = -0.42 * stride * sin(angle)
        elbow_bend = 0.18 + 0.3 * stride * max(0.0, -sin(angle)) + 0.12 * stride
        away = 0.11
        shoulder = np.array([sign * (self.build.shoulder - 0.016), 0.201, -0.004])
        elbow = shoulder + 0.165 * np.array([sign * sin(away), cos(swing), sin(swing)])
        lower = swing + elbow_bend
        wrist = elbow + 0.14 * np.array([sign * 0.02, cos(lower), sin(lower)])
        hand = wrist + 0.045 * np.array([sign * -0.02, cos(lower), sin(lower)])
        self.joints |= {
            f"{side}_shoulder": shoulder,
            f"{side}_elbow": elbow,
            f"{side}_wrist": wrist,
            f"{side}_hand": hand,
        }

    def place(self, point: Vector) -> Vector:
        """Points [..., 3] -> (right, down, towards the camera) [..., 3] as the camera sees them."""
        return point @ self._view

    def half_width(self, across: Vector, deep: Vector) -> Vector:
        """Half-widths [...] in the picture of an upright body with elliptic sections."""
        return np.hypot(across * cos(self.turn), deep * sin(self.turn))

    def on_surface(self, across: float, deep: float, azimuth: float, y: float, forward: float = 0.0) -> Vector:
        """The point [3] of an elliptic section at `azimuth` degrees: 0 is the breast's middle, 90 the left side."""
        at = radians(azimuth)
        return np.array([across * sin(at), y, deep * cos(at) + forward])

    def nearer(self, first: str, second: str) -> bool:
        """Whether the first joint is nearer to the camera than the second."""
        return bool(self.place(self.joints[first])[2] > self.place(self.joints[second])[2])
