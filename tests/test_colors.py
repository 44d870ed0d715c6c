"""Conversion to CIELAB against known values, and the names of plain colors."""

from __future__ import annotations

import numpy as np
import pytest

from captioning.lexicon import COLORS
from captioning.palette.colors import COLOR_NAMES, name_color, normalize_brightness, rgb_to_lab
from tests.small import COLORS as GARMENTS


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 0, 0), (53.2, 80.1, 67.2)),
        ((0, 255, 0), (87.7, -86.2, 83.2)),
        ((0, 0, 255), (32.3, 79.2, -107.9)),
        ((255, 255, 0), (97.1, -21.6, 94.5)),
        ((0, 255, 255), (91.1, -48.1, -14.1)),
        ((255, 0, 255), (60.3, 98.2, -60.8)),
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((119, 119, 119), (50.0, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
    ],
)
def test_known_colors_have_known_values(rgb: tuple[int, int, int], lab: tuple[float, float, float]) -> None:
    """sRGB under D65, from published tables."""
    assert rgb_to_lab(np.array(rgb, np.uint8)) == pytest.approx(lab, abs=0.1)


def test_a_picture_is_converted_pixel_by_pixel() -> None:
    """Any leading shape; gray has no hue; L* rises with every step of brightness."""
    random = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    lab = rgb_to_lab(random)
    assert lab.shape == (4, 5, 3)
    assert lab[2, 3] == pytest.approx(rgb_to_lab(random[2, 3]))
    gray = rgb_to_lab(np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1))
    assert np.abs(gray[:, 1:]).max() < 0.05
    assert (np.diff(gray[:, 0]) > 0).all()


def name_of(rgb: tuple[int, int, int]) -> str:
    color = name_color(rgb_to_lab(np.tile(np.array(rgb, np.uint8), (20, 1))), np.ones(20))
    assert color is not None
    assert color.share == pytest.approx(1)
    assert color.name.endswith(color.basic)
    return color.name


@pytest.mark.parametrize("name", GARMENTS)
def test_plain_garments_have_plain_names(name: str) -> None:
    """Black, white, red, green, blue and yellow as they come out in a photograph."""
    assert name_of(GARMENTS[name]) == name


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((128, 128, 128), "gray"),
        ((230, 120, 20), "orange"),
        ((110, 50, 140), "purple"),
        ((240, 150, 180), "pink"),
        ((110, 70, 40), "brown"),
        ((15, 25, 70), "dark blue"),
        ((150, 190, 230), "light blue"),
        ((205, 185, 150), "beige"),
        ((255, 255, 255), "white"),
        ((0, 0, 0), "black"),
    ],
)
def test_other_plain_colors_have_theirs(rgb: tuple[int, int, int], name: str) -> None:
    """One shade each, well inside its name."""
    assert name_of(rgb) == name


def test_every_name_is_a_word_of_the_lexicon() -> None:
    """Captions and rewritten queries use the same color words."""
    assert [name for name in COLOR_NAMES if COLORS.get(name) != name] == []


def test_a_region_is_named_by_most_of_its_weight() -> None:
    """60 % of the weight is red though most pixels are blue, and two shades of red are one color."""
    pixels = rgb_to_lab(np.array([(190, 30, 35), (120, 20, 25)] + [(40, 60, 180)] * 6, np.uint8))
    weight = np.array([3.0] * 2 + [4 / 6] * 6)
    color = name_color(pixels, weight)
    assert color is not None
    assert (color.name, color.basic) == ("red", "red")
    assert color.share == pytest.approx(0.6)


def test_an_empty_region_has_no_color() -> None:
    """Nor has one with too little weight."""
    assert name_color(np.zeros((0, 3)), np.zeros(0)) is None
    assert name_color(np.zeros((50, 3)), np.full(50, 0.01)) is None


def test_a_dark_photograph_is_brightened_within_bounds() -> None:
    """A well-lit one hardly changes, a dark one by a quarter at most, and black stays black."""
    dark, lit = np.full((8, 4, 3), 30.0), np.full((8, 4, 3), 78.0)
    dark[..., 1:] = lit[..., 1:] = 0
    assert normalize_brightness(lit)[..., 0] == pytest.approx(78)
    brighter = normalize_brightness(dark)[..., 0]
    assert 30 < brighter.min() <= brighter.max() <= 30 * 1.25 + 1e-9
    assert not normalize_brightness(np.zeros((8, 4, 3))).any()
