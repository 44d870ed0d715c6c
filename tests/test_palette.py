"""The palette captioner: drawn people, whose attributes are known, and files that are not images."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from captioning.palette import PaletteCaptioner
from captioning.style.replies import check
from captioning.style.template import Slots, parse
from data.demo import DrawnSet, draw_people

# names that differ in lightness only count as one
BASIC = {"dark blue": "blue", "light blue": "blue"}
NOUN = re.compile(r"^an? | ?(backpack|handbag|shoulder bag)$")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty people, three pictures each."""
    root = tmp_path_factory.mktemp("palette")
    draw_people(root, DrawnSet(2024, 38, 1, 1, train_images=3, eval_images=3), workers=1)
    return root


@pytest.fixture(scope="module")
def described(drawn: Path) -> list[tuple[Slots, dict[str, str | None]]]:
    """The slots that the captioner fills for each picture, and the true attributes."""
    truth = json.loads((drawn / "attributes.json").read_text())
    answers = dict(PaletteCaptioner(1).describe([drawn / "imgs" / name for name in truth]))
    texts = [answers[place].text or "" for place in range(len(truth))]
    assert all(not check(text) for text in texts)
    return [(parse(text), seen) for text, seen in zip(texts, truth.values(), strict=True)]


def agreement(answers: list[tuple[str | None, str | None]]) -> tuple[float, float]:
    """Share of the visible things that are named, and share of the names that are right."""
    pairs = [(BASIC.get(name, name) if name else None, BASIC.get(true, true)) for name, true in answers if true]
    named = [(name, true) for name, true in pairs if name]
    return len(named) / len(pairs), sum(name == true for name, true in named) / len(named)


def test_it_names_the_colors_of_clothes_shoes_and_hair(described: list[tuple[Slots, dict[str, str | None]]]) -> None:
    """Far above chance, which is one in eleven; where little is visible, nothing is named."""
    plain = [(slots, seen) for slots, seen in described if seen["pattern"] == "plain"]
    coverage, right = agreement([(slots.upper_color, seen["upper_color"]) for slots, seen in plain])
    assert coverage > 0.85
    assert right > 0.75
    lower = [
        (slots.lower_color, "blue" if seen["lower_garment"] == "jeans" else seen["lower_color"])
        for slots, seen in described
    ]
    coverage, right = agreement(lower)
    assert coverage > 0.85
    assert right > 0.8
    coverage, right = agreement([(slots.shoe_color, seen["shoe_color"]) for slots, seen in described])
    assert coverage > 0.4
    assert right > 0.65
    coverage, right = agreement([(slots.hair_color, seen["hair_color"]) for slots, seen in described])
    assert coverage > 0.4
    assert right > 0.8


def test_it_names_visible_bags(described: list[tuple[Slots, dict[str, str | None]]]) -> None:
    """About half of them, with kind and color; few false positives."""
    answers = [(slots.belongings, seen) for slots, seen in described if slots.belongings]
    right = [(text, seen) for text, seen in answers if seen["bag"]]
    assert len(right) > 0.75 * len(answers)  # a blind guess: 0.46
    assert len(right) > 0.4 * sum(1 for _, seen in described if seen["bag"])
    assert all(re.fullmatch(r"an? ([a-z ]+ )?(backpack|handbag|shoulder bag)", text) for text, _ in answers)
    back = [("backpack" in text) == (seen["bag"] == "backpack") for text, seen in right]
    assert sum(back) > 0.7 * len(right)
    colors = [(NOUN.sub("", text) or None, seen["bag_color"]) for text, seen in right]
    coverage, same = agreement(colors)
    assert coverage > 0.8
    assert same > 0.7


@pytest.mark.parametrize(
    ("box", "belongings"),
    [
        ((40, 82, 49, 96), "a red handbag"),
        ((27, 38, 41, 58), "a red backpack"),
        (None, None),
        ((20, 44, 46, 52), None),  # a stripe around the trunk
        ((31, 28, 35, 76), None),  # an open jacket
        ((58, 82, 65, 96), None),  # next to the person
    ],
)
def test_a_bag_is_a_patch_that_ends_on_all_sides(
    tmp_path: Path, box: tuple[int, int, int, int] | None, belongings: str | None
) -> None:
    """A figure of rectangles, and one more in red."""
    picture = Image.new("RGB", (66, 155), (128, 134, 128))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((26, 6, 40, 28), (226, 180, 150))
    draw.rectangle((20, 28, 46, 76), (60, 110, 190))
    draw.rectangle((22, 76, 44, 146), (30, 30, 32))
    if box:
        draw.rectangle(box, (190, 30, 36))
    picture.save(tmp_path / "figure.png")
    [(_, answer)] = PaletteCaptioner(1).describe([tmp_path / "figure.png"])
    assert parse(answer.text or "").belongings == belongings


def test_a_picture_of_nearly_one_color_gets_a_caption(tmp_path: Path) -> None:
    """Flat, or dark noise."""
    flat, dark = tmp_path / "flat.png", tmp_path / "dark.png"
    Image.new("RGB", (64, 128), (120, 130, 140)).save(flat)
    noise = np.random.default_rng(0).normal(3, 1, (128, 64, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noise).save(dark)
    assert all(answer.text for _, answer in PaletteCaptioner(1).describe([flat, dark]))


def test_long_trousers_differ_from_bare_legs(described: list[tuple[Slots, dict[str, str | None]]]) -> None:
    """By the skin of the shins."""
    long = [slots.lower_garment for slots, seen in described if seen["lower_garment"] in {"trousers", "jeans"}]
    short = [slots.lower_garment for slots, seen in described if seen["lower_garment"] == "shorts"]
    assert long.count("shorts") < 0.2 * len(long)
    assert long.count("trousers") > 0.4 * len(long)
    assert short.count("trousers") < 0.25 * len(short)


def test_the_answers_do_not_depend_on_the_number_of_processes(drawn: Path) -> None:
    """Each position once, in any order."""
    images = sorted((drawn / "imgs").rglob("*.jpg"))
    alone, together = (list(PaletteCaptioner(workers).describe(images)) for workers in (1, 2))
    assert len(together) == len(images)
    assert dict(together) == dict(alone)


def test_the_generator_can_be_closed_early(drawn: Path) -> None:
    """Its processes end with it."""
    answers = PaletteCaptioner(2).describe(sorted((drawn / "imgs").rglob("*.jpg")))
    assert isinstance(answers, Generator)
    assert isinstance(next(answers)[0], int)
    answers.close()


def test_a_file_that_is_not_an_image_gets_a_problem(drawn: Path, tmp_path: Path) -> None:
    """Truncated, text, or missing: the problem names the file, and the others are captioned."""
    good = min((drawn / "imgs").rglob("*.jpg"))
    cut, text, gone = tmp_path / "cut.jpg", tmp_path / "text.jpg", tmp_path / "gone.jpg"
    cut.write_bytes(good.read_bytes()[:1500])
    text.write_text("no picture")
    answers = dict(PaletteCaptioner(1).describe([cut, good, text, gone]))
    assert answers[1].text
    for place, path in ((0, cut), (2, text), (3, gone)):
        assert answers[place].text is None
        assert str(path) in answers[place].problem
