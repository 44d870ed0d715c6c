"""Caption files in the published format: reading, writing, and errors for other formats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from data import captions
from data.captions import TestTexts as Texts
from data.captions import (
    check_same_data,
    image_name,
    read_test_texts,
    read_train_captions,
    train_file,
    write_test_texts,
    write_train_captions,
)
from data.captions import query_file as file_of_tests
from data.records import ImageRecord
from utils.errors import UserError

RECORDS = [
    ImageRecord(Path("imgs/a/1.png"), "a/1.png", ("One.", "Two."), 3, "test"),
    ImageRecord(Path("imgs/a/2.png"), "a/2.png", ("Drei.",), 4, "test"),
]


def stored(file: Path, entries: Any) -> Path:
    file.write_text(json.dumps(entries))
    return file


def test_files_have_the_published_names() -> None:
    """cuhk, icfg and rstp; "qwen" for every captioner."""
    for name, prefix in (("cuhk_pedes", "cuhk"), ("icfg_pedes", "icfg"), ("rstpreid", "rstp")):
        assert train_file(Path("f"), name) == Path(f"f/{prefix}_qwen_gen_captions.json")
        assert file_of_tests(Path("f"), name) == Path(f"f/{prefix}_test_qwen_gen_captions.json")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("./data/CUHK-PEDES/imgs/cam_a/000_45.bmp", "cam_a/000_45.bmp"),
        ("/home/author/RSTPReid/imgs/0000_c14_0031.jpg", "0000_c14_0031.jpg"),
        ("C:\\data\\imgs\\train\\1.png", "train/1.png"),
        ("/home/imgs/ICFG-PEDES/imgs/train/1.jpg", "train/1.jpg"),
        ("imgs/a.png", "a.png"),
        ("./imgs/a.png", "a.png"),
        ("./a.png", "a.png"),
        ("train/a.png", "train/a.png"),
        ("notimgs/a.png", "notimgs/a.png"),
    ],
)
def test_the_prefix_of_a_path_is_removed(path: str, name: str) -> None:
    """The name of an image is the part after the last imgs/."""
    assert image_name(path) == name


def test_training_captions_are_read_and_failures_are_none(tmp_path: Path) -> None:
    """null, "null", "None" and blanks are failures, not captions."""
    texts = ["A man.", None, "null", " NULL ", "none", "", "  ", 3, "Nullified jeans."]
    entries: list[dict[str, Any]] = [
        {"id": 1, "image_path": f"/home/x/imgs/{number}.png", "captions": [], "generated_text": text}
        for number, text in enumerate(texts)
    ]
    read = read_train_captions(stored(tmp_path / "f.json", entries))
    assert list(read) == [f"{number}.png" for number in range(9)]
    assert list(read.values()) == ["A man.", None, None, None, None, None, None, None, "Nullified jeans."]


def test_test_texts_are_read_with_failed_rewrites(tmp_path: Path) -> None:
    """A rewrite that is "null" or null is None in the same position; a single string is a list of one."""
    base: dict[str, Any] = {"split": "test", "id": 1, "captions": ["x", "y", "z"]}
    entries: list[dict[str, Any]] = [
        base | {"image_path": "./d/imgs/1.png", "img_gen_text": "Seen.", "generated_text": ["A.", "null", None]},
        base | {"image_path": "imgs/2.png", "img_gen_text": "null", "generated_text": "B."},
        base | {"image_path": "3.png", "img_gen_text": None, "generated_text": None},
    ]
    assert read_test_texts(stored(tmp_path / "f.json", entries)) == {
        "1.png": Texts("Seen.", ("A.", None, None), ("x", "y", "z")),
        "2.png": Texts(None, ("B.",), ("x", "y", "z")),
        "3.png": Texts(None, (None,), ("x", "y", "z")),
    }


def test_a_rewrite_belongs_to_its_query() -> None:
    """Wherever the query is now; if the file has no queries, the number decides."""
    texts = Texts("Seen.", ("A.", "B."), ("one Man", "two men"))
    assert texts.rewrite_of("two  men", 0) == "B."
    assert texts.rewrite_of("one man", 5) == "A."
    assert texts.rewrite_of("three men", 0) is None
    assert Texts("Seen.", ("A.",)).rewrite_of("whatever", 0) == "A."
    assert Texts("Seen.", ("A.",)).rewrite_of("whatever", 1) is None
    assert Texts("Seen.", ("A.",), ("one", "two")).rewrite_of("two", 1) is None


def test_training_captions_round_trip(tmp_path: Path) -> None:
    """In the published fields; records without a caption are not written."""
    file = tmp_path / "new" / "f.json"
    write_train_captions(file, RECORDS, {"a/2.png": "Ein Mann – »grün«."})
    assert read_train_captions(file) == {"a/2.png": "Ein Mann – »grün«."}
    assert json.loads(file.read_text(encoding="utf-8")) == [
        {"id": 4, "image_path": "imgs/a/2.png", "captions": ["Drei."], "generated_text": "Ein Mann – »grün«."}
    ]
    assert "grün" in file.read_text(encoding="utf-8")


def test_test_texts_round_trip(tmp_path: Path) -> None:
    """A failed rewrite is the string "null", as published, and None again when read."""
    own = {record.name: record.captions for record in RECORDS}
    texts = {
        "a/1.png": Texts("Seen.", ("A.", None), own["a/1.png"]),
        "a/2.png": Texts(None, ("C.",), own["a/2.png"]),
    }
    write_test_texts(tmp_path / "f.json", RECORDS, texts)
    assert read_test_texts(tmp_path / "f.json") == texts
    first = json.loads((tmp_path / "f.json").read_text())[0]
    assert first == {
        **{"split": "test", "id": 3, "image_path": "imgs/a/1.png", "img_gen_text": "Seen."},
        **{"captions": ["One.", "Two."], "generated_text": ["A.", "null"]},
    }


@pytest.mark.parametrize("kind", ["train", "test"])
def test_written_files_follow_the_schema_and_broken_ones_do_not(tmp_path: Path, kind: str) -> None:
    """The schema in the repository describes the format that is written."""
    definitions = json.loads((Path(captions.__file__).parent / "caption_files.schema.json").read_text())["$defs"]
    schema = {"$ref": f"#/$defs/{kind}", "$defs": definitions}
    jsonschema.Draft202012Validator.check_schema(schema)
    if kind == "train":
        write_train_captions(tmp_path / "f.json", RECORDS, {"a/1.png": "One.", "a/2.png": "Two."})
    else:
        texts = {"a/1.png": Texts("Seen.", ("A.", None)), "a/2.png": Texts("Also.", ("C.",))}
        write_test_texts(tmp_path / "f.json", RECORDS, texts)
    entries = json.loads((tmp_path / "f.json").read_text())
    jsonschema.validate(entries, schema)
    for key in entries[0]:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate([without(entries[0], key)], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([entries[0] | {"generated_text": 3}], schema)


TRAIN = {"id": 1, "image_path": "1.png", "captions": [], "generated_text": "A."}
TEST = TRAIN | {"split": "test", "img_gen_text": "B.", "generated_text": ["A."]}


def without(entry: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != key}


@pytest.mark.parametrize(
    ("read", "entries", "message"),
    [
        (read_train_captions, {}, "should be a valid list"),
        (read_train_captions, [TRAIN, 3], "entry 1: "),
        (read_train_captions, [without(TRAIN, "image_path")], "entry 0: image_path: Field required"),
        (read_train_captions, [without(TRAIN, "generated_text")], "entry 0: generated_text: Field required"),
        (read_train_captions, [TRAIN | {"image_path": 3}], "entry 0: image_path: Input should be a valid string"),
        (read_test_texts, {"a": 1}, "should be a valid list"),
        (read_test_texts, [TEST, without(TEST, "img_gen_text")], "entry 1: img_gen_text: Field required"),
        (read_test_texts, [TEST | {"generated_text": {"a": 1}}], "entry 0: generated_text: "),
        (read_test_texts, [without(TEST, "image_path")], "entry 0: image_path: Field required"),
    ],
)
def test_a_file_of_another_format_is_an_error(
    tmp_path: Path, read: Callable[[Path], Any], entries: Any, message: str
) -> None:
    """It names the file, the entry and the field, on one line."""
    file = stored(tmp_path / "f.json", entries)
    with pytest.raises(UserError) as error:
        read(file)
    assert str(error.value).startswith(str(file))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("read", [read_train_captions, read_test_texts])
def test_an_unreadable_file_is_an_error(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    """Missing, truncated, or binary."""
    for content, message in ((None, "is missing"), (b'[{"id": 1,', "is not valid JSON"), (b"\xff\xfe", "is not UTF-8")):
        file = tmp_path / "f.json"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(UserError, match=message) as error:
            read(file)
        assert str(file) in str(error.value)
        assert "\n" not in str(error.value)


def test_captions_of_another_data_set_are_refused() -> None:
    """None of the names is a record's; an empty file and a single common name are accepted."""
    check_same_data({}, RECORDS, Path("f.json"))
    check_same_data({"a/2.png": 1, "z.png": 1}, RECORDS, Path("f.json"))
    with pytest.raises(UserError, match=r"f\.json has captions of another data set: .*z\.png"):
        check_same_data({"z.png": 1}, RECORDS, Path("f.json"))
