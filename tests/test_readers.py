"""Data sets in their real layouts, a folder of one's own, and every way in which they can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from data.readers import READERS, of_split, read_annotated, read_cuhk_pedes, read_folder
from data.records import ImageRecord, person_ids
from tests.pictures import annotate, entry, picture
from utils.errors import UserError

LAYOUTS = [
    ("cuhk_pedes", "reid_raw.json", "file_path", "CUHK01/0363004.png"),
    ("icfg_pedes", "ICFG-PEDES.json", "file_path", "test/0627/0627_010_05_0303afternoon_1591_0.jpg"),
    ("rstpreid", "data_captions.json", "img_path", "3703_c14_0031.jpg"),
]


@pytest.mark.parametrize(("name", "annotation", "key", "image"), LAYOUTS)
def test_each_data_set_is_read_in_its_own_layout(
    tmp_path: Path, name: str, annotation: str, key: str, image: str
) -> None:
    """File name, path key, images below imgs/; fields that nobody reads are no error."""
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


def test_a_single_caption_may_stand_without_a_list(tmp_path: Path) -> None:
    """One sentence is a list of one."""
    annotate(tmp_path, "reid_raw.json", [entry("a.png", captions="A man.")])
    assert read_cuhk_pedes(tmp_path)[0].captions == ("A man.",)


def failed(reader: Any, *arguments: Any) -> str:
    """The one line that a reader refuses with."""
    with pytest.raises(UserError) as told:
        reader(*arguments)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_a_missing_folder_or_annotation_file_says_what_is_expected(tmp_path: Path) -> None:
    """Both name the path and the layout."""
    gone = tmp_path / "gone"
    assert failed(read_cuhk_pedes, gone) == (
        f"data.root: folder {gone} is missing: expected reid_raw.json and imgs/ in it"
    )
    assert failed(read_cuhk_pedes, tmp_path).startswith(f"{tmp_path / 'reid_raw.json'} is missing: data.root should be")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "is not valid JSON (Expecting value at line 1, column 2): mend it or fetch it again"),
        ("{}", "should hold a list of images, one object each"),
        ("[]", "should hold a list of images, one object each"),
        ("[3]", ", entry 0 is not an object"),
    ],
)
def test_an_annotation_file_that_is_none_is_named(tmp_path: Path, text: str, message: str) -> None:
    """Cut short, of another kind, or empty."""
    (tmp_path / "reid_raw.json").write_text(text)
    said = failed(read_cuhk_pedes, tmp_path)
    assert said.startswith(str(tmp_path / "reid_raw.json"))
    assert message in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "valid"}, "split is 'valid', expected train, val or test"),
        ({"split": ["test"]}, "expected train, val or test"),
        ({"captions": [1]}, "captions should be a list of sentences"),
        ({"captions": None}, "captions should be a list of sentences"),
        ({"captions": {"a": "b"}}, "captions should be a list of sentences"),
        ({"id": "7"}, "id should be a whole number and file_path a path"),
        ({"id": 7.5}, "id should be a whole number"),
        ({"file_path": 7}, "id should be a whole number and file_path a path"),
        ({"file_path": "../secret.png"}, "file_path ../secret.png leads out of"),
        ({"file_path": "a/../../secret.png"}, "leads out of"),
        ({"file_path": "/etc/passwd"}, "file_path /etc/passwd leads out of"),
    ],
)
def test_a_wrong_field_names_the_file_and_the_entry(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """The second entry is wrong, and the message says so."""
    picture(tmp_path / "imgs" / "a.png")
    (tmp_path / "reid_raw.json").write_text(json.dumps([entry("a.png"), entry("a.png") | changes]))
    said = failed(read_cuhk_pedes, tmp_path)
    assert said.startswith(f"{tmp_path / 'reid_raw.json'}, entry 1")
    assert message in said


@pytest.mark.parametrize("field", ["split", "id", "file_path", "captions"])
def test_a_missing_field_asks_whether_it_is_another_data_set(tmp_path: Path, field: str) -> None:
    """As when RSTPReid's file, with its img_path, is read as CUHK-PEDES."""
    one = entry("a.png")
    del one[field]
    (tmp_path / "reid_raw.json").write_text(json.dumps([one]))
    assert failed(read_cuhk_pedes, tmp_path).endswith(
        f"entry 0 has no '{field}': is this the annotation file of another data set?"
    )


def test_missing_images_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    """A half-unpacked archive is found before anything is computed."""
    annotate(tmp_path, "notes.json", [entry(f"{number}.png") for number in range(5)])
    (tmp_path / "imgs" / "1.png").unlink()
    (tmp_path / "imgs" / "3.png").unlink()
    said = failed(read_annotated, tmp_path, "notes.json")
    assert said == f"2 of 5 images of {tmp_path / 'notes.json'} are missing, the first {tmp_path / 'imgs' / '1.png'}"


def test_a_folder_of_photographs_is_read_by_its_splits(tmp_path: Path) -> None:
    """To any depth, in order, images alone; captions.json gives captions and ids to those it names."""
    for name in ("train/b.JPG", "train/deep/a.png", "test/1.webp", "test/2.bmp", "test/3.jpeg"):
        picture(tmp_path / name)
    (tmp_path / "test" / "notes.txt").write_text("no image")
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
        ("[]", "captions.json should map image paths to captions"),
        ('{"test/gone.png": "A man."}', "captions.json names test/gone.png, which is not there (1 such)"),
        ('{"test/a.png": 3}', "captions.json: test/a.png should have a sentence, a list of sentences, or an object"),
        ('{"test/a.png": [3]}', "captions.json: test/a.png should have a sentence"),
        ('{"test/a.png": {"caption": ["A man."]}}', "captions.json: test/a.png has the field 'caption'"),
        ('{"test/a.png": {"id": "x"}}', "captions.json: the id of test/a.png should be a whole number"),
    ],
)
def test_a_folder_with_wrong_captions_is_named(tmp_path: Path, notes: str, message: str) -> None:
    """Each mistake names captions.json and the image."""
    picture(tmp_path / "test" / "a.png")
    (tmp_path / "captions.json").write_text(notes)
    assert message in failed(read_folder, tmp_path)


def test_an_empty_or_missing_folder_says_what_is_expected(tmp_path: Path) -> None:
    """train/, val/ and test/ with photographs."""
    assert "holds no image: expected photographs in" in failed(read_folder, tmp_path)
    assert "is missing: expected train/, val/ and test/" in failed(read_folder, tmp_path / "gone")


def test_a_split_without_images_is_refused(tmp_path: Path) -> None:
    """ICFG-PEDES has no validation split; asking for one says so."""
    records = read_cuhk_pedes(annotate(tmp_path, "reid_raw.json", [entry("a.png"), entry("b.png", split="train")]))
    assert [record.name for record in of_split(records, "train", source="here")] == ["b.png"]
    with pytest.raises(UserError, match="here has no image in its val split"):
        of_split(records, "val", source="here")


def test_person_ids_follow_the_names_and_are_all_or_none() -> None:
    """One unknown person makes the whole comparison impossible."""
    records = [ImageRecord(Path(name), name, (), person, "train") for name, person in (("a", 3), ("b", 5), ("c", -1))]
    ids = person_ids(["b", "a"], records)
    assert ids is not None
    assert ids.tolist() == [5, 3]
    assert person_ids(["a", "c"], records) is None
