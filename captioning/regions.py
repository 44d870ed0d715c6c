"""What is seen of a person: the colours of hair and garments, and how much skin they leave bare."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captioning.bags import Bag, find_bag
from captioning.colours import Colour, name_region
from captioning.silhouette import Body, find_body

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """Where a part of the body lies.

    Attributes:
        first, last: its rows, as `Body.height` counts them: 0 at the crown, 0.5 at the waist, 1 at the soles.
        reach: half of its width, as a share of the person's height.
    """

    first: float
    last: float
    reach: float


_HAIR = Part(0.0, 0.075, 0.055)
_FACE = Part(0.04, 0.16, 0.06)
_UPPER = Part(0.20, 0.44, 0.12)
_ARMS = Part(0.24, 0.47, 0.22)  # below are the hands, which no sleeve covers
_LOWER = Part(0.52, 0.64, 0.09)
_HEM = Part(0.62, 0.68, 0.03)
_SHINS = Part(0.74, 0.90, 0.11)

_RIM = 7  # columns at either side, in pixels, where there is ground rather than a foot or a head
_FEET = 0.9  # of the crop's rows are above them: a crop ends at the soles, wherever a body was found
_SHOES = 30.0  # area of two shoes, in pixels
_HEAD = 0.18  # of the crop's rows hold the head
_CREST = 40.0  # area of the hair above a face, in pixels


@dataclass(frozen=True)
class Figure:
    """What is seen of one person.

    Attributes:
        hair, upper, lower, shoes: the colour of each; None where nothing of it is seen.
        crest: colour of what stands out from the ground highest: the hair, where the body seems to begin above it.
        face: share of the face that looks like skin: 0 from behind, in the dark, or too far away to tell.
        bare_arms: area that looks like skin beside and before the trunk, in thousandths of the squared height.
        bare_thighs, bare_shins: share of each that looks like skin.
        hem: share of the middle of the lower thighs, where shorts still cover them, that has the colour from above.
        change: how far the colour of the shins is from the colour above the knees, in CIELAB with lightness at 0.7.
        bag: the clearest thing carried; None where there is none to be sure of.
    """

    hair: Colour | None
    upper: Colour | None
    lower: Colour | None
    shoes: Colour | None
    crest: Colour | None
    face: float
    bare_arms: float
    bare_thighs: float
    bare_shins: float
    hem: float
    change: float
    bag: Bag | None


def look_at(lab: Array) -> Figure:
    """See what the one person of a crop [H, W, 3] in CIELAB wears."""
    body = find_body(lab)
    skin = skin_of(lab)
    upper, thighs, shins = (_window(body, part) for part in (_UPPER, _LOWER, _SHINS))
    cloth = 1 - 0.8 * skin  # not all of it: beige and brown cloth looks like skin
    between = (_mean(lab, shins) - _mean(lab, thighs)) * (0.7, 1.0, 1.0)
    return Figure(
        hair=_name(lab, _window(body, _HAIR), skin),
        upper=_name(lab, upper, skin),
        lower=_name(lab, thighs, skin),
        shoes=_shoes(lab, body, skin),
        crest=_crest(lab, body, skin),
        face=float(_mean(skin, _window(body, _FACE))),
        bare_arms=1000 * float((skin * np.sqrt(_window(body, _ARMS))).sum()) / (body.bottom - body.top) ** 2,
        bare_thighs=float(_mean(skin, thighs)),
        bare_shins=float(_mean(skin, shins)),
        hem=_hem(lab, body, thighs * cloth),
        change=float(np.linalg.norm(between)),
        bag=find_bag(lab, body, skin, upper * cloth, thighs * cloth),
    )


def skin_of(lab: Array) -> Array:
    """How much each pixel [H, W] of a picture [H, W, 3] looks like skin, from 0 to 1."""
    lightness, red, yellow = lab[..., 0], lab[..., 1], lab[..., 2]
    chroma = np.hypot(red, yellow)
    off = np.abs(np.degrees(np.arctan2(yellow, red)) - 48)  # of all tones of skin, the hue differs least
    return _ramp(lightness, 20, 30) * _ramp(chroma, 6, 10) * _ramp(-chroma, -45, -36) * _ramp(-off, -32, -22)


def _ramp(value: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, straight between."""
    return np.clip((value - low) / (high - low), 0, 1)


def _window(body: Body, part: Part) -> Array:
    """Weight of each pixel [H, W] in a part of the body."""
    return body.mask**2 * _inside(body, part)


def _inside(body: Body, part: Part) -> NDArray[np.bool_]:
    """Which pixels [H, W] a part of the body would cover if it were a rectangle."""
    height = body.height()[:, None]
    aside = np.abs(np.arange(body.mask.shape[1])[None] - body.axis[:, None]) / (body.bottom - body.top)
    return (height >= part.first) & (height <= part.last) & (aside <= part.reach)


def _name(lab: Array, weight: Array, skin: Array) -> Colour | None:
    weight = weight * (1 - 0.8 * skin)  # not all of it: beige and brown cloth looks like skin
    seen = weight > 0.05
    return name_region(lab[seen], weight[seen])


def _hem(lab: Array, body: Body, thighs: Array) -> float:
    seen = thighs > 0.3
    if not seen.any():
        return 0.0
    away = np.linalg.norm((lab - np.median(lab[seen], axis=0)) * (0.6, 1.0, 1.0), axis=-1)
    middle = _inside(body, _HEM)
    return float((_ramp(-away, -22, -12) * body.mask * middle).sum() / max(middle.sum(), 1))


def _shoes(lab: Array, body: Body, skin: Array) -> Colour | None:
    """The colour of what stands out from the ground, is no skin, and lies lowest; None where next to nothing does."""
    height, width = body.mask.shape
    feet = slice(round(_FEET * height), height)
    weight = _ramp(_apart(lab[feet]), 12, 18) * (1 - skin[feet]) * (0.3 + 0.7 * body.mask[feet])
    weight = weight * (_aside(width) < 0.36 * width)
    below = weight.sum(1)[::-1].cumsum()[::-1]
    weight = weight * (below <= _SHOES)[:, None]  # what is higher up is the hem of the trousers
    seen = weight > 0.1
    return name_region(lab[feet][seen], weight[seen]) if weight[seen].sum() >= _SHOES / 5 else None


def _crest(lab: Array, body: Body, skin: Array) -> Colour | None:
    """The colour of what stands out from the ground and lies highest; None where little does."""
    height, width = body.mask.shape
    head = slice(round(_HEAD * height))
    weight = _ramp(_apart(lab[head]), 13, 19) * (1 - 0.8 * skin[head]) * (0.3 + 0.7 * body.mask[head])
    weight = weight * (_aside(width) < 0.125 * width)
    above = weight.sum(1).cumsum()
    weight = weight * (above <= _CREST)[:, None]  # what is lower is the face or the collar
    seen = weight > 0.1
    return name_region(lab[head][seen], weight[seen]) if weight[seen].sum() >= 0.4 * _CREST else None


def _aside(width: int) -> Array:
    """How far each column [W] is from the middle, in pixels."""
    return np.abs(np.arange(width) - width / 2)


def _apart(rows: Array) -> Array:
    """How far each pixel of some rows [R, W, 3] is from the ground at either side of them: [R, W] in CIELAB."""
    ground = np.concatenate([rows[:, :_RIM].reshape(-1, 3), rows[:, -_RIM:].reshape(-1, 3)])[::3]
    return _strangeness(rows, ground)


def _strangeness(lab: Array, known: Array) -> Array:
    """How far each pixel of [H, W, 3] is from the three nearest of the colours [N, 3], on average: [H, W] in CIELAB."""
    pixels, others = lab * (0.7, 1.0, 1.0), known * (0.7, 1.0, 1.0)
    squares = (pixels**2).sum(-1)[..., None] + (others**2).sum(1) - 2 * pixels @ others.T
    return np.sqrt(np.maximum(np.partition(squares, 2, -1)[..., :3], 0)).mean(-1)


def _mean(values: Array, weight: Array) -> Array:
    """Weighted mean over the pixels of `values` [H, W] or [H, W, 3]."""
    return np.tensordot(weight, values, 2) / max(weight.sum(), 1e-6)
