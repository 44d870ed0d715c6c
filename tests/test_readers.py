"""Data sets in their original layouts, folders of images, and errors for invalid ones."""

from __future__ import annotations

import json
import os
import re
import subprocess
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from data.photographs import find_photographs
from data.readers import READERS, of_split, read_folder
from data.records import ImageRecord, person_ids
from tests.pictures import annotate, entry, picture
from utils.errors import UserError

read_cuhk_pedes = READERS["cuhk_pedes"]
LAYOUTS = [
    ("cuhk_pedes", "reid_raw.json", "file_path", "CUHK01/0363004.png"),
    ("icfg_pedes", "ICFG-PEDES.json", "file_path", "test/0627/0627_010_05_0303afternoon_1591_0.jpg"),
    ("rstpreid", "data_captions.json", "img_path", "3703_c14_0031.jpg"),
]


@pytest.mark.parametrize(("name", "annotation", "key", "image"), LAYOUTS)
def test_each_data_set_is_read_in_its_layout(tmp_path: Path, name: str, annotation: str, key: str, image: str) -> None:
    """File name, path key, images in imgs/; unknown fields are ignored."""
    train = f"train/{image.rpartition('/')[2]}"
    entries = [
        entry(image, key=key, captions=["One.", "Two."], processed_tokens=[["one"], ["two"]]),
        entry(train, key=key, split="train", id=0),
    ]
    records = READERS[name](annotate(tmp_path, annotation, entries, key=key))
    assert records == [
        ImageRecord(tmp_path / "imgs" / image, image, ("One.", "Two."), 7, "test"),
        ImageRecord(tmp_path / "imgs" / train, train, ("A man in red.",), 0, "train"),
    ]


def test_a_single_caption_need_not_be_a_list(tmp_path: Path) -> None:
    """It is read as a list of one."""
    annotate(tmp_path, "reid_raw.json", [entry("a.png", captions="A man.")])
    assert read_cuhk_pedes(tmp_path)[0].captions == ("A man.",)


def test_entries_of_one_image_are_merged(tmp_path: Path) -> None:
    """As in annotations with an entry per caption; else queries and gallery would double."""
    entries = [
        entry("a.png", captions="A man."),
        entry("b.png", captions="Another."),
        entry("a.png", captions=["In red.", "A man."]),
    ]
    records = read_cuhk_pedes(annotate(tmp_path, "reid_raw.json", entries))
    assert [(record.name, record.captions) for record in records] == [
        ("a.png", ("A man.", "In red.", "A man.")),
        ("b.png", ("Another.",)),
    ]
    for change in ({"id": 8}, {"split": "train"}):
        annotate(tmp_path, "reid_raw.json", [entry("a.png"), entry("a.png", **change)])
        message = error_of(read_cuhk_pedes, tmp_path)
        assert "reid_raw.json" in message
        assert "a.png" in message


def test_an_id_beyond_64_bits_is_refused(tmp_path: Path) -> None:
    """numpy could not hold it."""
    annotate(tmp_path, "reid_raw.json", [entry("a.png", id=2**63)])
    assert "entry 0: id" in error_of(read_cuhk_pedes, tmp_path)


def error_of(reader: Any, *arguments: Any) -> str:
    """Return the one-line error that a reader raises."""
    with pytest.raises(UserError) as error:
        reader(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_error_for_missing_files_describes_the_layout(tmp_path: Path) -> None:
    """For a missing folder and for a missing annotation file."""
    gone = tmp_path / "gone"
    for root in (gone, tmp_path):
        message = error_of(read_cuhk_pedes, root)
        assert "data.root" in message
        assert str(root) in message
        assert "reid_raw.json and imgs/" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "is not valid JSON (Expecting value at line 1, column 2)"),
        ("{}", "should be a valid list"),
        ("[]", "should be a list"),
        ("[3]", ", entry 0: "),
    ],
)
def test_an_invalid_annotation_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    """Truncated, of another format, or empty."""
    (tmp_path / "reid_raw.json").write_text(text)
    found = error_of(read_cuhk_pedes, tmp_path)
    assert found.startswith(str(tmp_path / "reid_raw.json"))
    assert message in found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "valid"}, "split: Input should be 'train', 'val' or 'test'"),
        ({"split": ["test"]}, "split: "),
        ({"captions": [1]}, "captions: 0: "),
        ({"captions": None}, "captions: 0: "),
        ({"captions": {"a": "b"}}, "captions: "),
        ({"id": "7"}, "id: Input should be a valid integer"),
        ({"id": True}, "id: "),
        ({"id": 7.5}, "id: "),
        ({"file_path": 7}, "file_path: Input should be a valid string"),
        ({"file_path": "../secret.png"}, "file_path: ../secret.png points outside"),
        ({"file_path": "a/../../secret.png"}, "points outside"),
        ({"file_path": "/etc/passwd"}, "file_path: /etc/passwd points outside"),
    ],
)
def test_an_error_for_an_invalid_field_names_the_file_and_the_entry(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    """Of two entries, the second is invalid."""
    picture(tmp_path / "imgs" / "a.png")
    (tmp_path / "reid_raw.json").write_text(json.dumps([entry("a.png"), entry("a.png") | changes]))
    found = error_of(read_cuhk_pedes, tmp_path)
    assert found.startswith(f"{tmp_path / 'reid_raw.json'}, entry 1")
    assert message in found


@pytest.mark.parametrize("field", ["split", "id", "file_path", "captions"])
def test_an_error_for_a_missing_field_names_it(tmp_path: Path, field: str) -> None:
    """For example, if RSTPReid's file, which has img_path, is read as CUHK-PEDES."""
    one = entry("a.png")
    del one[field]
    (tmp_path / "reid_raw.json").write_text(json.dumps([one]))
    assert f"entry 0: {field}: Field required" in error_of(read_cuhk_pedes, tmp_path)


def test_missing_images_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    """An incompletely extracted archive is found before anything is computed."""
    annotate(tmp_path, "reid_raw.json", [entry(f"{number}.png") for number in range(5)])
    (tmp_path / "imgs" / "1.png").unlink()
    (tmp_path / "imgs" / "3.png").unlink()
    found = error_of(read_cuhk_pedes, tmp_path)
    assert found.startswith(f"2 of 5 images of {tmp_path / 'reid_raw.json'} are missing")
    assert str(tmp_path / "imgs" / "1.png") in found


def test_a_folder_of_images_is_read_by_split(tmp_path: Path) -> None:
    """Recursively, sorted, only images; captions.json has captions and ids of some of them."""
    for name in ("train/b.JPG", "train/deep/a.png", "test/1.webp", "test/2.bmp", "test/3.jpeg"):
        picture(tmp_path / name)
    (tmp_path / "test" / "notes.txt").write_text("not an image")
    notes = {"test/1.webp": "A man.", "test/2.bmp": ["One.", "Two."], "test/3.jpeg": {"captions": ["C."], "id": 4}}
    (tmp_path / "captions.json").write_text(json.dumps(notes))
    assert [(r.name, r.captions, r.person_id, r.split) for r in read_folder(tmp_path)] == [
        ("train/b.JPG", (), -1, "train"),
        ("train/deep/a.png", (), -1, "train"),
        ("test/1.webp", ("A man.",), -1, "test"),
        ("test/2.bmp", ("One.", "Two."), -1, "test"),
        ("test/3.jpeg", ("C.",), 4, "test"),
    ]
    assert READERS["custom"](tmp_path) == read_folder(tmp_path)


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        ("[", "captions.json is not valid JSON"),
        ("[]", "captions.json: "),
        ('{"test/gone.png": "A man."}', "/test/gone.png"),
        ('{"test/a.png": 3}', "captions.json, entry test/a.png: captions: "),
        ('{"test/a.png": [3]}', "captions.json, entry test/a.png: captions: "),
        ('{"test/a.png": {"caption": ["A man."]}}', "captions.json, entry test/a.png: caption: "),
        ('{"test/a.png": {"id": "x"}}', "captions.json, entry test/a.png: id: Input should be a valid integer"),
    ],
)
def test_invalid_entries_of_captions_json_are_named(tmp_path: Path, notes: str, message: str) -> None:
    """The error names captions.json and the image."""
    picture(tmp_path / "test" / "a.png")
    (tmp_path / "captions.json").write_text(notes)
    assert message in error_of(read_folder, tmp_path)


def test_an_error_for_an_empty_or_missing_folder_describes_the_layout(tmp_path: Path) -> None:
    """train/, val/ and test/ with images."""
    assert f"has no images: expected some in {tmp_path}/train" in error_of(read_folder, tmp_path)
    assert "is missing: it should contain train/, val/ and test/" in error_of(read_folder, tmp_path / "gone")


def test_missing_images_of_captions_json_can_be_read(tmp_path: Path) -> None:
    """With `missing_ok`, the path decides the split."""
    picture(tmp_path / "train" / "a.png")
    (tmp_path / "captions.json").write_text(json.dumps({"test/b.png": {"captions": "A man.", "id": 4}}))
    missing = read_folder(tmp_path, missing_ok=True)[-1]
    assert missing == ImageRecord(tmp_path / "test/b.png", "test/b.png", ("A man.",), 4, "test")


def test_a_split_without_images_is_refused(tmp_path: Path) -> None:
    """For example, ICFG-PEDES has no validation split."""
    records = read_cuhk_pedes(annotate(tmp_path, "reid_raw.json", [entry("a.png"), entry("b.png", split="train")]))
    assert [record.name for record in of_split(records, "train", source="here")] == ["b.png"]
    with pytest.raises(UserError, match="here has no images in its val split"):
        of_split(records, "val", source="here")


def test_person_ids_are_those_of_the_names_or_none() -> None:
    """One unknown person is enough for None."""
    records = [ImageRecord(Path(name), name, (), person, "train") for name, person in (("a", 3), ("b", 5), ("c", -1))]
    ids = person_ids(["b", "a"], records)
    assert ids is not None
    assert ids.tolist() == [5, 3]
    assert person_ids(["a", "c"], records) is None


@pytest.mark.parametrize("depth", [300, 1500])
def test_folders_that_are_nested_too_deeply_are_named(tmp_path: Path, depth: int) -> None:
    """Beyond the length of a path, or the depth of our search."""
    name = "d" * 20 if depth == 300 else "d"
    with chdir(tmp_path):
        for _ in range(depth):
            os.mkdir(name)  # noqa: PTH102 - relative to a path that is too long
            os.chdir(name)
    try:
        with pytest.raises(UserError, match=re.escape(str(tmp_path))):
            find_photographs(tmp_path)
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / name)], check=True)


BAD_NAMES = {"x\ud800.png": "surrogate", "x\0.png": "NUL", "x\ny.png": "control", "x" * 5000 + ".png": "too long"}


@pytest.mark.parametrize("name", BAD_NAMES, ids=BAD_NAMES.values())
def test_names_that_no_file_of_ours_can_hold(tmp_path: Path, name: str) -> None:
    """In an annotation file and in captions.json: one line that names the file and the entry."""
    for root, annotation in ((tmp_path / "cuhk", [entry(name)]), (tmp_path / "custom", {f"test/{name}": ["a man"]})):
        file = root / ("captions.json" if isinstance(annotation, dict) else "reid_raw.json")
        file.parent.mkdir()
        file.write_text(json.dumps(annotation))
        picture(root / "test" / "1.png", (9, 9, 9))
        with pytest.raises(UserError, match=rf"{file.name}.*{BAD_NAMES[name]}") as caught:
            READERS["cuhk_pedes" if file.name == "reid_raw.json" else "custom"](root)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 1000


def test_half_a_surrogate_pair_in_a_caption_is_refused(tmp_path: Path) -> None:
    """Before anything is made of it; whole pairs, which JSON writes as two escapes, are text."""
    picture(tmp_path / "test" / "1.png", (9, 9, 9))
    file = tmp_path / "captions.json"
    file.write_text(json.dumps({"test/1.png": ["a man", "a \ud83d man"]}))
    with pytest.raises(UserError, match=r"captions\.json, test/1\.png.*surrogate"):
        READERS["custom"](tmp_path)
    file.write_text(json.dumps({"./test/1.png": ["a man 😀"]}))
    assert [one.captions for one in READERS["custom"](tmp_path)] == [("a man 😀",)]
