"""The drawn data set: its contents, reading it, and interrupted or repeated drawing."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from itertools import combinations
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

import data.demo
from captioning.exact import ExactCaptioner, slots
from captioning.rules import read
from captioning.style.template import parse
from data.demo import DrawnSet, Shot, draw_people, take_photograph
from data.demo.canvas import Canvas, Shape
from data.demo.people import sample_people, write_queries
from data.demo.randomized import random_shade
from data.demo.scene import CAMERAS
from data.images import find_broken
from data.readers import READERS
from tests.pictures import picture
from utils.errors import UserError

FEW = DrawnSet(seed=2024, train_people=3, val_people=2, test_people=2, train_images=3, eval_images=2)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo of seven people, drawn by one process."""
    root = tmp_path_factory.mktemp("demo")
    draw_people(root, FEW, workers=1)
    return root


def contents(root: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_it_has_the_layout_of_cuhk_pedes_and_every_picture_can_be_read(drawn: Path) -> None:
    records = READERS["cuhk_pedes"](drawn)
    assert {split: sum(record.split == split for record in records) for split in ("train", "val", "test")} == {
        "train": 9,
        "val": 4,
        "test": 4,
    }
    assert len({record.person_id for record in records}) == 7
    assert all(len(record.captions) == 2 for record in records)
    assert not find_broken(records, what="demo")
    attributes = json.loads((drawn / "attributes.json").read_text())
    assert attributes.keys() == {record.name for record in records}
    of_first = [attributes[record.name] for record in records if record.person_id == 0]
    assert len({seen["camera"] for seen in of_first}) == len({seen["view"] for seen in of_first}) == 3


def test_the_files_do_not_depend_on_the_number_of_processes(drawn: Path, tmp_path: Path) -> None:
    draw_people(tmp_path, FEW, workers=2)
    assert contents(tmp_path) == contents(drawn)


def test_a_finished_set_is_not_drawn_again_and_another_seed_replaces_it(tmp_path: Path) -> None:
    one = DrawnSet(seed=2024, train_people=1, val_people=1, test_people=1, train_images=1, eval_images=1)
    draw_people(tmp_path, one, workers=1)
    stamp = (tmp_path / "demo.json").stat().st_mtime_ns
    before = contents(tmp_path)
    draw_people(tmp_path, one, workers=1)
    assert (tmp_path / "demo.json").stat().st_mtime_ns == stamp
    draw_people(tmp_path, replace(one, seed=7), workers=1)
    after = contents(tmp_path)
    assert len(after) == len(before)
    assert after != before


def test_interrupted_drawing_starts_again(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(data.demo, "write_queries", interrupted)
        with pytest.raises(KeyboardInterrupt):
            draw_people(tmp_path, FEW, workers=1)
    assert not (tmp_path / "reid_raw.json").exists()
    draw_people(tmp_path, FEW, workers=1)
    assert contents(tmp_path) == contents(drawn)


def test_a_folder_with_other_files_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=str(tmp_path)):
        draw_people(tmp_path, FEW, workers=1)
    assert contents(tmp_path) == {"thesis.txt": b"mine"}


def test_descriptions_are_unique_and_a_tenth_of_the_people_have_a_twin_with_one_difference() -> None:
    splits = sample_people(2024, {"train": 60, "test": 40})
    everyone = [person.description() for people in splits.values() for person in people]
    assert len(set(everyone)) == 100
    for people in splits.values():
        looks = [person.description() for person in people]
        twins = {
            place
            for pair in combinations(range(len(looks)), 2)
            if sum(a != b for a, b in zip(looks[pair[0]], looks[pair[1]], strict=True)) == 1
            for place in pair
        }
        assert len(twins) >= 0.1 * len(people)


def test_queries_mention_only_what_is_visible_in_words_that_the_rewriter_knows() -> None:
    people = sample_people(5, {"test": 60})["test"]
    genders = 0
    for number, person in enumerate(people):
        camera, view = number % len(CAMERAS), ("front", "side", "back")[number % 3]
        _, seen = take_photograph(Shot(5, number, 0, "test", person, camera, view))
        first, second = write_queries(seen, Random(number))
        assert first != second
        for query in (first, second):
            found = read(query)
            assert found.gender in {None, seen["gender"]}
            genders += found.gender is not None
            assert found.upper_color is None or found.upper_color.removesuffix(" striped") in {
                seen["upper_color"],
                "striped",
            }
            lower = "blue" if seen["lower_garment"] == "jeans" else seen["lower_color"]
            assert found.lower_color in {None, lower}
            assert found.shoe_color in {None, seen["shoe_color"]}
            assert found.hair_color in {None, seen["hair_color"]}
            for bag in ("backpack", "handbag", "shoulder bag"):
                assert bag not in (found.belongings or "") or seen["bag"] == bag
            assert "hat" not in (found.belongings or "").split() or seen["hat"] is not None
    assert 0.75 < genders / 120 < 1


def test_what_an_obstacle_hides_is_not_visible() -> None:
    person = sample_people(3, {"test": 1})["test"][0]
    seen = [take_photograph(Shot(9, 0, place, "test", person, camera=2, view="front"))[1] for place in range(40)]
    assert {visible["shoe_color"] for visible in seen} == {
        person.shoe_color,
        None,
    }  # in some pictures a car hides the feet


def test_randomized_pictures_show_the_same_people_in_other_surroundings_and_shades() -> None:
    """Each picture has a camera of its own; what is visible is still recorded, and drawing can be repeated."""
    person = sample_people(5, {"test": 1})["test"][0]
    shots = [Shot(5, 0, place, "test", person, camera=2, view="front", randomized=True) for place in range(8)]
    pictures = [np.asarray(Image.open(BytesIO(take_photograph(shot)[0]))) for shot in shots]
    assert len({take_photograph(shot)[0] for shot in shots}) == 8
    assert np.array_equal(pictures[3], np.asarray(Image.open(BytesIO(take_photograph(shots[3])[0]))))
    demo = [np.asarray(Image.open(BytesIO(take_photograph(replace(shot, randomized=False))[0]))) for shot in shots]
    # One camera of the demo has one kind of background and light; random ones differ in brightness far more.
    assert np.std([picture.mean() for picture in pictures]) > 2 * np.std([picture.mean() for picture in demo])
    assert all(take_photograph(shot)[1]["gender"] == person.gender for shot in shots)


def test_a_random_shade_keeps_its_hue() -> None:
    """Red stays red; the shades of a person are the same in every picture."""
    for seed in range(50):
        red, green, blue = random_shade((182, 32, 38), Random(seed))
        assert red > 2 * max(green, blue)
        assert max(abs(a - b) for a, b in combinations(random_shade((124, 124, 122), Random(seed)), 2)) < 16
    assert random_shade((48, 98, 180), Random(3)) == random_shade((48, 98, 180), Random(3))


def test_exact_captions_say_what_is_visible(drawn: Path) -> None:
    """Of every picture of a drawn data set, in the words of the other captioners."""
    attributes = json.loads((drawn / "attributes.json").read_text())
    names = list(attributes)
    answers = list(ExactCaptioner().describe([drawn / "imgs" / name for name in names]))
    assert [position for position, _ in answers] == list(range(len(names)))
    for name, (_, answer) in zip(names, answers, strict=True):
        assert answer.text is not None
        found, seen = parse(answer.text), attributes[name]
        assert found.gender == seen["gender"]
        assert found.shoe_color == seen["shoe_color"]
        if seen["lower_garment"] not in {"jeans", "dress"}:
            assert (found.lower_color, found.lower_garment) == (seen["lower_color"], seen["lower_garment"])
        assert (seen["bag"] or "none") == "none" or seen["bag"] in (found.belongings or "")


def test_a_dress_is_a_lower_garment_and_jeans_are_blue_trousers() -> None:
    """As the rules rewrite sentences about them."""
    unseen = dict.fromkeys(("gender", "shoe_color", "shoes", "hair_length", "hair_color", "bag", "bag_color", "hat"))
    unseen |= {"hat_color": None, "pattern": "plain", "sleeves": "short-sleeved"}
    dress = {"upper_color": "red", "upper_garment": "dress", "lower_color": "red", "lower_garment": "dress"}
    assert slots(unseen | dress) == read("a person in a red dress")
    jeans = {"upper_color": "white", "upper_garment": "shirt", "lower_color": "dark blue", "lower_garment": "jeans"}
    assert slots(unseen | jeans) == read("a person in a white short-sleeved shirt and blue jeans")
    striped = {"upper_color": "red", "upper_garment": "t-shirt", "lower_color": None, "lower_garment": None}
    assert slots(unseen | striped | {"pattern": "striped"}).upper_color == "red striped"


def test_only_drawn_pictures_have_exact_captions(tmp_path: Path) -> None:
    """A photograph has no record of what it shows."""
    with pytest.raises(UserError, match=r"captioner\.backend=exact: .*attributes\.json is missing"):
        list(ExactCaptioner().describe([picture(tmp_path / "imgs" / "a.png")]))


def test_prints_change_pictures_and_no_description(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of the people have them."""
    people = sample_people(11, {"test": 12})["test"]
    shots = [Shot(5, n, 0, "test", person, camera=2, view="front", randomized=True) for n, person in enumerate(people)]
    printed = [take_photograph(shot) for shot in shots]
    monkeypatch.setattr("data.demo.print_on_cloth", lambda *_: None)
    plain = [take_photograph(shot) for shot in shots]
    assert [described for _, described in printed] == [described for _, described in plain]
    assert 2 <= sum(one != other for (one, _), (other, _) in zip(printed, plain, strict=True)) < 12


def test_a_print_colors_a_part_and_leaves_its_area() -> None:
    """Only where the part is visible."""
    canvas = Canvas(60, 120, (0.3, 0.6), np.random.default_rng(0))
    canvas.paint(Shape(polygons=[np.array([[10, 10], [50, 10], [50, 60], [10, 60]])]), (200, 0, 0), "upper")
    before = canvas.visible_areas()
    assert canvas.extent("lower") is None
    left, top, right, bottom = canvas.extent("upper") or (0, 0, 0, 0)
    assert (left, top) == (10, 10)
    assert (right, bottom) in {(50, 60), (49, 59)}
    canvas.print_on("upper", np.ones((120, 60), bool), (0, 0, 200))
    assert canvas.visible_areas() == before
    picture = canvas.compose(np.zeros((40, 20, 3), np.float32))
    assert picture[10, 10, 2] > 100
    assert picture[10, 10, 0] == 0
    assert picture[38, 10].sum() == 0
