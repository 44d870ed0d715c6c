"""Images joined with captions: reproducible in any order, with any number of workers, and without person ids."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from data.images import BrokenImageError, ImageOpener, open_image
from data.pairs import ImageDataset, PairDataset, UnlabelledPairs, load_training_pairs
from data.records import ImageRecord
from data.transforms import ImageCache, RawPixels, normalize, train_transform
from data.transforms import test_transform as plain_transform
from tests.pictures import picture
from utils.errors import UserError


def numbered(caption: str, random: np.random.Generator, count: int) -> list[str]:
    """Paraphrases that show the random numbers that were drawn."""
    return [f"{caption} {random.integers(10**6)}" for _ in range(count)]


@pytest.fixture
def pairs(tmp_path: Path) -> UnlabelledPairs:
    names = tuple(f"{number}.png" for number in range(7))
    for number, name in enumerate(names):
        picture(tmp_path / name, (30 * number, 200, 255 - 30 * number))
    return UnlabelledPairs(names, tuple(tmp_path / name for name in names), tuple(f"caption {name}" for name in names))


def caption_file(folder: Path, captions: dict[str, str | None]) -> Path:
    """Write a training caption file."""
    entries = [{"image_path": name, "generated_text": caption} for name, caption in captions.items()]
    (folder / "captions.json").write_text(json.dumps(entries))
    return folder / "captions.json"


class Sealed(ImageRecord):
    """A record whose person id and human captions must not be read."""

    def __getattribute__(self, name: str) -> object:
        if name in ("person_id", "captions"):
            raise AssertionError(f"{name} was read")
        return super().__getattribute__(name)


def test_joining_reads_neither_person_ids_nor_human_captions(tmp_path: Path) -> None:
    """Training is unsupervised; the pairs are in the order of the records."""
    sealed = [Sealed(picture(tmp_path / name), name, ("human",), 1, "train") for name in ("a.png", "b.png")]
    pairs = load_training_pairs(sealed, caption_file(tmp_path, {"b.png": "two", "z.png": "no record", "a.png": "one"}))
    assert pairs == UnlabelledPairs(("a.png", "b.png"), (tmp_path / "a.png", tmp_path / "b.png"), ("one", "two"))
    assert set(UnlabelledPairs.__dataclass_fields__) == {"names", "paths", "captions", "others"}


def test_images_that_are_left_out_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr: each unreadable file, and the number of images without a caption."""
    names = [f"{number}.png" for number in range(4)]
    file = caption_file(tmp_path, {name: "a man" if name < "3" else None for name in names})
    images = [ImageRecord(picture(tmp_path / name), name, (), -1, "train") for name in names]
    images[1].path.write_bytes(b"")
    assert load_training_pairs(images, file).names == ("0.png", "2.png")
    captured = capsys.readouterr()
    first, second = [line for line in captured.err.splitlines() if "left out" in line]
    assert str(images[1].path) in first
    assert "1 of 4" in second
    assert "3.png" in second
    with pytest.raises(UserError, match=r"of 2, 1 have no caption and 1 are broken; .*gen_train_data\.py"):
        load_training_pairs([images[1], images[3]], file)
    with pytest.raises(UserError, match=r"none\.json is missing: .*gen_train_data\.py"):
        load_training_pairs(images, tmp_path / "none.json")


def test_equal_captions_have_the_same_label() -> None:
    """One label for each distinct caption, in any order."""
    pairs = UnlabelledPairs(("a", "b", "c", "d"), (Path(),) * 4, ("red", "blue", "red", "green"))
    labels = pairs.labels_by_caption()
    assert labels.dtype == np.int64
    assert labels[0] == labels[2]
    assert sorted(labels[[0, 1, 3]].tolist()) == [0, 1, 2]


def loaded(
    pairs: UnlabelledPairs, indices: list[int], *, workers: int = 0, seed: int = 3, opener: ImageOpener = open_image
) -> dict[int, tuple[torch.Tensor, str]]:
    """Load the pairs at these indices as {index: (pixels, caption)}."""
    dataset = PairDataset(
        pairs, train_transform((32, 16)), indices=indices, paraphrase=numbered, seed=seed, opener=opener
    )
    assert len(dataset) == len(indices)
    loader = DataLoader(dataset, batch_size=2, num_workers=workers)
    batches = list(loader)
    assert [int(index) for *_, batch in batches for index in batch] == indices
    return {
        int(index): (normalize(RawPixels(*pixels))[row], captions[row])
        for pixels, captions, batch in batches
        for row, index in enumerate(batch)
    }


def same(one: dict[int, tuple[torch.Tensor, str]], other: dict[int, tuple[torch.Tensor, str]]) -> bool:
    return all(torch.equal(one[index][0], other[index][0]) and one[index][1] == other[index][1] for index in other)


def test_augmentation_depends_only_on_the_seed_and_the_pair(pairs: UnlabelledPairs) -> None:
    """Not on the order, the other pairs, the number of workers or the global generator."""
    first = loaded(pairs, [0, 1, 2, 3, 4, 5, 6])
    torch.manual_seed(99)
    torch.rand(17)
    assert same(first, loaded(pairs, [6, 2, 4, 0, 1, 3, 5]))
    assert same(first, loaded(pairs, [5, 3]))
    assert same(first, loaded(pairs, [6, 5, 4, 3, 2, 1, 0], workers=2))
    assert not same(first, loaded(pairs, [0, 1, 2, 3, 4, 5, 6], seed=4))


def test_a_cache_gives_the_same_pixels_without_reading_files(pairs: UnlabelledPairs) -> None:
    """Images that are not cached are opened from their files."""
    first = loaded(pairs, [0, 1, 2, 3, 4])
    cache = ImageCache(pairs.paths[:3], (32, 16))
    for path in pairs.paths[:3]:
        path.unlink()
    assert same(first, loaded(pairs, [4, 3, 2, 1, 0], opener=cache))
    assert same(first, loaded(pairs, [4, 3, 2, 1, 0], opener=cache, workers=2))
    assert cache(pairs.paths[4]).size == (16, 32)


def test_augmentation_does_not_use_the_global_generator(pairs: UnlabelledPairs) -> None:
    """Dropout and initial weights do not depend on how many images were loaded."""
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    loaded(pairs, [1, 2])
    state = torch.random.get_rng_state()
    PairDataset(pairs, train_transform((32, 16)))[0]
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(5)
    PairDataset(pairs, train_transform((32, 16)))[0]
    assert torch.equal(torch.rand(4), expected)


def test_each_item_is_pixels_its_own_caption_and_its_index(pairs: UnlabelledPairs) -> None:
    """Without a paraphrase, the caption is the generated one."""
    dataset = PairDataset(pairs, plain_transform((32, 16)))
    assert len(dataset) == 7
    pixels, caption, index = dataset[4]
    assert (pixels.values.shape, caption, index) == ((3, 32, 16), "caption 4.png", 4)
    assert torch.equal(pixels.values, ImageDataset(pairs.paths, plain_transform((32, 16)))[4].values)


def test_a_second_wording_is_of_the_same_caption_or_of_another_one_of_the_image(pairs: UnlabelledPairs) -> None:
    """Each caption of an image is drawn, for either wording; images without further captions have their own."""
    pairs = replace(pairs, others=tuple(("other",) if index else () for index in range(len(pairs))))
    items = [
        PairDataset(pairs, plain_transform((32, 16)), paraphrase=numbered, seed=seed, reword=True)[index]
        for seed in range(20)
        for index in (0, 4)
    ]
    drawn = {(index, first.split()[0], second.split()[0]) for _, first, index, second in items}
    assert drawn == {
        (0, "caption", "caption"),
        *((4, a, b) for a in ("caption", "other") for b in ("caption", "other")),
    }
    assert all(first != second for _, first, _, second in items)
    assert pairs.texts == (*pairs.captions, *["other"] * (len(pairs) - 1))


def test_an_image_that_disappears_is_named(pairs: UnlabelledPairs) -> None:
    """A `BrokenImageError` names the file."""
    pairs.paths[2].unlink()
    with pytest.raises(BrokenImageError, match=r"2\.png cannot be read"):
        PairDataset(pairs, plain_transform((32, 16)))[2]
