"""Photographs joined with captions: what training sees, the same in any order and from any number of workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from data.cache import ImageCache
from data.images import BrokenImageError, Opener, open_image
from data.pairs import PairImages, Photographs, UnlabelledPairs, join_captions
from data.records import ImageRecord
from data.transforms import test_transform as plain_transform
from data.transforms import train_transform
from tests.pictures import picture
from utils.errors import UserError


def said_again(caption: str, random: np.random.Generator) -> str:
    """A paraphrase that tells what was drawn."""
    return f"{caption} {random.integers(10**6)}"


@pytest.fixture
def pairs(tmp_path: Path) -> UnlabelledPairs:
    names = tuple(f"{number}.png" for number in range(7))
    for number, name in enumerate(names):
        picture(tmp_path / name, (30 * number, 200, 255 - 30 * number))
    return UnlabelledPairs(names, tuple(tmp_path / name for name in names), tuple(f"caption {name}" for name in names))


def records(*people: int) -> list[ImageRecord]:
    return [
        ImageRecord(Path(f"imgs/{number}.png"), f"{number}.png", (f"human {number}",), person, "train")
        for number, person in enumerate(people)
    ]


def test_captions_are_joined_in_the_order_of_the_records() -> None:
    """Missing and failed captions and broken images are left out, and told apart."""
    captions = {"4.png": "four", "0.png": "zero", "1.png": None, "3.png": "three", "9.png": "of nobody"}
    pairs, left_out = join_captions(records(1, 1, 2, 2, 3), captions, {"3.png": "cut short"})
    assert pairs.names == ("0.png", "4.png")
    assert pairs.paths == (Path("imgs/0.png"), Path("imgs/4.png"))
    assert pairs.captions == ("zero", "four")
    assert len(pairs) == 2
    assert left_out.uncaptioned == ("1.png", "2.png")
    assert left_out.broken == {"3.png": "cut short"}


class Sealed(ImageRecord):
    """A record whose person and human captions may not be looked at."""

    def __getattribute__(self, name: str) -> object:
        if name in ("person_id", "captions"):
            raise AssertionError(f"{name} was read")
        return super().__getattribute__(name)


def test_joining_reads_neither_person_ids_nor_human_captions() -> None:
    """Training is unsupervised: what a record knows of its person does not get there."""
    sealed = [Sealed(Path("a.png"), "a.png", ("human",), 1, "train"), Sealed(Path("b.png"), "b.png", (), 2, "train")]
    pairs, _ = join_captions(sealed, {"a.png": "one", "b.png": "two"}, {})
    assert pairs.captions == ("one", "two")
    others = [replace(record, person_id=9 - record.person_id, captions=("else",)) for record in records(1, 2)]
    texts = {"0.png": "zero", "1.png": "one"}
    assert join_captions(records(1, 2), texts, {}) == join_captions(others, texts, {})
    assert set(UnlabelledPairs.__dataclass_fields__) == {"names", "paths", "captions"}


def test_nothing_left_says_what_to_run() -> None:
    """It counts what is missing and what is broken."""
    with pytest.raises(UserError, match=r"of 2, 1 have no caption and 1 are broken; run gen_train_data\.py first"):
        join_captions(records(1, 2), {"0.png": "zero"}, {"0.png": "cut short"})


def test_equal_captions_are_one_group() -> None:
    """Labels for the first epochs: one for each distinct caption, whatever the order."""
    pairs = UnlabelledPairs(("a", "b", "c", "d"), (Path(),) * 4, ("red", "blue", "red", "green"))
    groups = pairs.caption_groups()
    assert groups.dtype == np.int64
    assert groups[0] == groups[2]
    assert sorted(groups[[0, 1, 3]].tolist()) == [0, 1, 2]


def drawn(
    pairs: UnlabelledPairs, chosen: list[int], *, workers: int = 0, seed: int = 3, opener: Opener = open_image
) -> dict[int, tuple[torch.Tensor, str]]:
    """{index: (pixels, caption)} of chosen pairs, through a loader."""
    dataset = PairImages(
        pairs, train_transform((32, 16)), chosen=chosen, paraphrase=said_again, seed=seed, opener=opener
    )
    assert len(dataset) == len(chosen)
    loader = DataLoader(dataset, batch_size=2, num_workers=workers)
    batches = [(pixels, captions, indices) for pixels, captions, indices in loader]
    assert [int(index) for _, _, indices in batches for index in indices] == chosen
    return {
        int(index): (pixels[place], captions[place])
        for pixels, captions, indices in batches
        for place, index in enumerate(indices)
    }


def same(one: dict[int, tuple[torch.Tensor, str]], other: dict[int, tuple[torch.Tensor, str]]) -> bool:
    return all(torch.equal(one[index][0], other[index][0]) and one[index][1] == other[index][1] for index in other)


def test_a_view_depends_on_the_seed_and_the_pair_alone(pairs: UnlabelledPairs) -> None:
    """Not on order, on which others are chosen, on the number of workers or on what was drawn before."""
    first = drawn(pairs, [0, 1, 2, 3, 4, 5, 6])
    torch.manual_seed(99)
    torch.rand(17)
    assert same(first, drawn(pairs, [6, 2, 4, 0, 1, 3, 5]))
    assert same(first, drawn(pairs, [5, 3]))
    assert same(first, drawn(pairs, [6, 5, 4, 3, 2, 1, 0], workers=2))
    assert not same(first, drawn(pairs, [0, 1, 2, 3, 4, 5, 6], seed=4))


def test_a_cache_changes_no_view_and_needs_its_files_no_more(pairs: UnlabelledPairs) -> None:
    """Photographs that it was not given are still opened."""
    first = drawn(pairs, [0, 1, 2, 3, 4])
    cache = ImageCache(pairs.paths[:3], (32, 16))
    for path in pairs.paths[:3]:
        path.unlink()
    assert same(first, drawn(pairs, [4, 3, 2, 1, 0], opener=cache))
    assert same(first, drawn(pairs, [4, 3, 2, 1, 0], opener=cache, workers=2))
    assert cache(pairs.paths[4]).size == (16, 32)


def test_drawing_views_leaves_the_global_generator_alone(pairs: UnlabelledPairs) -> None:
    """Dropout and initial weights do not depend on how many photographs were read."""
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    drawn(pairs, [1, 2])
    state = torch.random.get_rng_state()
    PairImages(pairs, train_transform((32, 16)))[0]
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(5)
    PairImages(pairs, train_transform((32, 16)))[0]
    assert torch.equal(torch.rand(4), expected)


def test_each_item_is_pixels_its_own_caption_and_its_index(pairs: UnlabelledPairs) -> None:
    """Without a paraphrase the caption is the one that was generated."""
    dataset = PairImages(pairs, plain_transform((32, 16)))
    assert len(dataset) == 7
    pixels, caption, index = dataset[4]
    assert (pixels.shape, caption, index) == ((3, 32, 16), "caption 4.png", 4)
    assert torch.equal(pixels, Photographs(pairs.paths, plain_transform((32, 16)))[4])


def test_a_photograph_that_breaks_later_is_named(pairs: UnlabelledPairs) -> None:
    """Not a traceback without a file name."""
    pairs.paths[2].unlink()
    with pytest.raises(BrokenImageError, match=r"2\.png cannot be read"):
        PairImages(pairs, plain_transform((32, 16)))[2]
