"""A dressed person, painted from the far side to the near one."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from data.demo.bags import paint_bag
from data.demo.canvas import Canvas
from data.demo.colours import CLOTH_NAMES, Shade, cloth_shade, denim_shade, hair_shade, skin_shade
from data.demo.head import paint_hair_behind, paint_head
from data.demo.people import Person, tones
from data.demo.skeleton import Build, Pose, Skeleton, Vector
from data.demo.stage import Section, Stage

# How far below the crown each garment ends, and how loosely it hangs, in parts of the body's height.
HEMS = {"t-shirt": 0.515, "shirt": 0.53, "sweater": 0.52, "hoodie": 0.525, "jacket": 0.535, "coat": 0.7}
HEMS |= {"tank top": 0.505, "dress": 0.66}
LOOSE = {"t-shirt": 0.007, "shirt": 0.007, "sweater": 0.01, "hoodie": 0.014, "jacket": 0.014, "coat": 0.017}
LOOSE |= {"tank top": 0.003, "dress": 0.005}


@dataclass(frozen=True)
class Shades:
    """The sRGB shades of all that somebody wears, the same in every picture of them."""

    skin: Shade
    hair: Shade
    upper: Shade
    stripe: Shade
    under: Shade
    lower: Shade
    shoes: Shade
    bag: Shade
    hat: Shade

    @classmethod
    def of(cls, person: Person) -> Shades:
        """The shades of a person's colours."""
        rng = Random(f"{person.look} shades")
        skin = skin_shade(tones(person)[0], rng)
        hair = hair_shade(person.hair_color, rng)
        upper = cloth_shade(person.upper_color, rng)
        dark = sum(upper) < 330
        stripe = cloth_shade(rng.choice(("white", "light blue")) if dark else rng.choice(("black", "dark blue")), rng)
        under = cloth_shade(rng.choice([name for name in CLOTH_NAMES[:3] if name != person.upper_color]), rng)
        lower = denim_shade(rng) if person.lower_garment == "jeans" else cloth_shade(person.lower_color, rng)
        if person.lower_garment == "dress":
            lower = upper
        shoes, bag, hat = (cloth_shade(name, rng) for name in (person.shoe_color, person.bag_color, person.hat_color))
        return cls(skin, hair, upper, stripe, under, lower, shoes, bag, hat)


def paint_person(canvas: Canvas, person: Person, pose: Pose, *, height: float, x: float, y: float) -> None:
    """Paint somebody `height` painted pixels tall, whose crown is at row `y` in column `x`."""
    build = Build.of(person.gender, tones(person)[1])
    stage = Stage(canvas, Skeleton(build, pose), scale=height, x=x, y=y)
    shades = Shades.of(person)
    far, near = ("left", "right") if stage.body.nearer("right_shoulder", "left_shoulder") else ("right", "left")
    sideways = abs(stage.faces(90)) > 0.5  # one arm is then hidden by the trunk, else both hang before it

    paint_hair_behind(stage, person, shades.hair)
    paint_bag(stage, person.bag, shades.bag, build, behind=True)
    if sideways:
        _arm(stage, person, shades, far)
    for side in (far, near):
        _leg(stage, person, shades, side)
    _lower(stage, person, shades)
    _upper(stage, person, shades)
    if not sideways:
        _arm(stage, person, shades, far)
    paint_bag(stage, person.bag, shades.bag, build, behind=False)
    _arm(stage, person, shades, near)
    paint_head(stage, person, skin=shades.skin, hair=shades.hair, hat=shades.hat)


def sections(build: Build, hem: float, *, flare: float = 0.0) -> list[Section]:
    """The trunk's sections from the neck to a hem; below the hips it widens by `flare`."""
    usual = [
        (0.152, 0.030, 0.034),
        (0.170, build.shoulder * 0.66, build.depth * 0.6),
        (0.192, build.shoulder * 0.96, build.depth * 0.8),
        (0.225, build.shoulder * 0.98, build.depth * 0.95),
        (0.285, build.chest, build.depth),
        (0.385, build.waist, build.depth * 0.86),
        (0.465, build.hip * 0.98, build.depth * 0.95),
        (0.505, build.hip, build.depth),
    ]
    return [*usual, (hem, build.hip + flare, build.depth + flare)] if hem > 0.505 else usual


def _leg(stage: Stage, person: Person, shades: Shades, side: str) -> None:
    build, limb = stage.body.build, stage.body.build.limb
    hip, knee, ankle = (stage.joint(f"{side}_{name}") for name in ("hip", "knee", "ankle"))
    garment = person.lower_garment
    bare = garment in {"shorts", "skirt", "dress"}
    thick = (0.052 * limb, 0.037 * limb, 0.026 * limb)
    colour, part = (shades.skin, "skin") if bare else (shades.lower, "lower")
    loose = (1.0, 1.0, 1.0) if bare else (1.08, 1.12, 1.35)
    radii = [radius * more for radius, more in zip(thick, loose, strict=True)]
    calf = knee + 0.38 * (ankle - knee)
    _foot(stage, person, shades, side)
    stage.canvas.paint(
        stage.limb([hip, knee, calf, ankle], [radii[0], radii[1], radii[1] * (1.0 if bare else 0.98), radii[2]]),
        colour,
        part,
        depth=0.035 * stage.scale,
        folds=0.0 if bare else 0.1,
    )
    if person.shoes == "boots":
        _boot(stage, shades, side)
    if garment == "shorts":
        end = knee - 0.12 * (knee - hip)
        wide = build.limb * 0.056
        stage.canvas.paint(
            stage.limb([hip, end], [wide, wide * 0.92]), shades.lower, "lower", depth=0.035 * stage.scale, folds=0.1
        )


def _foot(stage: Stage, person: Person, shades: Shades, side: str) -> None:
    ankle, heel, toe = (stage.joint(f"{side}_{name}") for name in ("ankle", "heel", "toe"))
    up = stage.point(0, -0.012, 0) - stage.point(0, 0, 0)
    sole = (228, 226, 220) if person.shoes == "sneakers" else tuple(0.55 * part for part in shades.shoes)
    down = -0.5 * up
    radii = (0.025, 0.027, 0.022)
    middle = 0.55 * toe + 0.45 * heel
    stage.canvas.paint(stage.limb([heel + down, middle + down, toe + down], radii), sole, "shoes", relief=0.2)
    stage.canvas.paint(
        stage.limb([ankle, heel + up * 0.5, middle + up, toe + up * 0.4], (0.027, *radii)),
        shades.shoes,
        "shoes",
        depth=0.02 * stage.scale,
        relief=0.5,
    )


def _boot(stage: Stage, shades: Shades, side: str) -> None:
    knee, ankle = stage.joint(f"{side}_knee"), stage.joint(f"{side}_ankle")
    top = ankle + 0.42 * (knee - ankle)
    radii = (0.036, 0.031)
    stage.canvas.paint(stage.limb([top, ankle], radii), shades.shoes, "shoes", depth=0.025 * stage.scale)


def _lower(stage: Stage, person: Person, shades: Shades) -> None:
    build, garment = stage.body.build, person.lower_garment
    whole = sections(build, 0.53)
    waistband = [(0.43, build.waist * 1.04, build.depth * 0.9), *whole[6:]]
    if garment == "skirt":
        waistband = [*waistband[:-1], (0.56, build.hip + 0.012, build.depth + 0.01)]
        waistband.append((0.69, build.hip + 0.03, build.depth + 0.035))
    if garment != "dress":
        depth = 0.05 * stage.scale
        stage.canvas.paint(stage.trunk(waistband, looser=0.003), shades.lower, "lower", depth=depth, folds=0.1)


def _upper(stage: Stage, person: Person, shades: Shades) -> None:
    build, garment, canvas = stage.body.build, person.upper_garment, stage.canvas
    flare = {"coat": 0.02, "dress": 0.045}.get(garment, 0.004)
    # the neck, which the garment leaves free
    neck = [stage.point(0, 0.11, 0.004), stage.point(0, 0.175, -0.002)]
    canvas.paint(stage.limb(neck, (0.027, 0.032)), shades.skin, "skin", depth=0.02 * stage.scale)
    stripes = (shades.stripe, 0.05 * stage.scale) if person.pattern == "striped" else None
    worn = stage.trunk(sections(build, HEMS[garment], flare=flare), looser=LOOSE[garment])
    canvas.paint(worn, shades.upper, "upper", depth=0.055 * stage.scale, folds=0.11, stripes=stripes, shadow=0.35)
    _neckline(stage, person, shades)


def _neckline(stage: Stage, person: Person, shades: Shades) -> None:
    """What tells one garment from another: an open front, a collar, a hood, buttons, a belt."""
    build, garment, canvas = stage.body.build, person.upper_garment, stage.canvas
    loose = LOOSE[garment]
    dark = tuple(0.62 * part for part in shades.upper)

    def front(azimuth: float, y: float, more: float = 0.0) -> Vector:
        return stage.surface(build.chest * 0.9 + loose + more, build.depth + loose + more, azimuth, y)

    if stage.faces(0) > 0.25:
        deep = {"tank top": 0.225, "dress": 0.22, "jacket": 0.25, "coat": 0.24, "shirt": 0.205}.get(garment, 0.185)
        wide = {"tank top": 24, "dress": 24}.get(garment, 15)
        notch = [stage.point(-0.028, 0.15, 0.02), stage.point(0.028, 0.15, 0.02), front(wide * 0.6, 0.172)]
        notch += [front(0, deep), front(-wide * 0.6, 0.172)]
        open_front = garment in {"jacket", "coat"}
        colour, part = (shades.under, "under") if open_front else (shades.skin, "skin")
        canvas.paint(stage.outline(notch), colour, part, relief=0.15, shadow=0.0, lies_on="upper")
        if garment in {"jacket", "coat", "shirt"}:
            seam = [front(1, y) for y in (deep, 0.35, HEMS[garment] - 0.02)]
            canvas.paint(
                stage.limb(seam, (0.004, 0.004, 0.004)), dark, "upper", relief=0.0, shadow=0.0, lies_on="upper"
            )
        if garment == "hoodie":
            pocket = [front(azimuth, y) for azimuth, y in ((28, 0.4), (36, 0.48), (-36, 0.48), (-28, 0.4))]
            canvas.paint(stage.outline(pocket), dark, "upper", relief=0.1, shadow=0.0, lies_on="upper")
    if garment == "hoodie":
        hood = stage.box(stage.point(0, 0.172, -0.03), (0.06, 0.026, 0.03))
        canvas.paint(hood, tuple(0.86 * part for part in shades.upper), "upper", depth=0.03 * stage.scale)
    if garment in {"shirt", "jacket", "coat"}:
        collar = [
            stage.surface(0.045, 0.05, azimuth, 0.158)
            for azimuth in range(-180, 181, 30)
            if stage.faces(azimuth) > -0.1
        ]
        canvas.paint(
            stage.limb(collar, [0.012] * len(collar)),
            tuple(0.82 * part for part in shades.upper),
            "upper",
            depth=0.01 * stage.scale,
            shadow=0.2,
        )
    if garment in {"dress", "coat"}:
        belt = [(0.382, build.waist, build.depth * 0.88), (0.398, build.waist, build.depth * 0.88)]
        canvas.paint(stage.trunk(belt, looser=loose), dark, "upper", relief=0.2, shadow=0.0, lies_on="upper")


def _arm(stage: Stage, person: Person, shades: Shades, side: str) -> None:
    canvas, limb = stage.canvas, stage.body.build.limb
    shoulder, elbow, wrist, hand = (stage.joint(f"{side}_{name}") for name in ("shoulder", "elbow", "wrist", "hand"))
    depth = 0.022 * stage.scale
    skin = stage.limb([shoulder, elbow, wrist, hand], (0.028 * limb, 0.024 * limb, 0.018 * limb, 0.019 * limb))
    canvas.paint(skin, shades.skin, "skin", depth=depth, shadow=0.4)
    loose = 0.6 * LOOSE[person.upper_garment]
    radii = (0.030 * limb + loose, 0.027 * limb + loose, 0.023 * limb + loose)
    stripes = (shades.stripe, 0.05 * stage.scale) if person.pattern == "striped" else None
    sleeve = {
        "long-sleeved": ([shoulder, elbow, wrist], radii),
        "short-sleeved": ([shoulder, shoulder + 0.72 * (elbow - shoulder)], (radii[0], radii[0])),
    }.get(person.sleeves)
    if sleeve is not None:
        canvas.paint(stage.limb(*sleeve), shades.upper, "upper", depth=depth, folds=0.1, stripes=stripes, shadow=0.4)
