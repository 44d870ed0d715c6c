"""Files that are written completely or not at all, and errors for invalid JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from utils.errors import UserError
from utils.files import as_path, atomic_write, read_json, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_under_another_name_and_renamed(tmp_path: Path) -> None:
    """Until the block ends, the file has its old content."""
    target = tmp_path / "a.txt"
    target.write_text("old")
    with atomic_write(target) as aside:
        aside.write_text("new")
        assert aside.parent == target.parent
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_a_failing_writer_leaves_the_old_file_and_no_temporary_one(tmp_path: Path, error: BaseException) -> None:
    """An error or Ctrl-C during writing, which is raised unchanged."""
    target = tmp_path / "a.txt"
    target.write_text("old")

    def interrupted_write() -> None:
        with atomic_write(target) as aside:
            aside.write_text("half of the n")
            raise error

    with pytest.raises(type(error)):
        interrupted_write()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_failing_first_write_leaves_nothing(tmp_path: Path) -> None:
    """No empty file that looks like a result; a value that is not JSON leaves the old file unchanged."""
    with pytest.raises(ValueError, match="bad"), atomic_write(tmp_path / "a.txt"):
        raise ValueError("bad")
    write_json(tmp_path / "b.json", [1])
    with pytest.raises(TypeError):
        write_json(tmp_path / "b.json", {"x": object()})
    assert read_json(tmp_path / "b.json") == [1]
    assert names(tmp_path) == ["b.json"]


def test_missing_folders_are_created(tmp_path: Path) -> None:
    """Parents need not exist."""
    write_text(tmp_path / "x" / "y" / "a.txt", "é")
    assert (tmp_path / "x" / "y" / "a.txt").read_bytes() == "é".encode()


def test_a_disk_error_is_one_line_that_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, and a folder where the file should be."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*folder: "):
        write_text(tmp_path / "folder", "text")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*a\.txt: No space left on device"):
        write_text(tmp_path / "a.txt", "text")
    assert names(tmp_path) == ["folder"]


def test_a_file_where_a_folder_should_be_is_one_line(tmp_path: Path) -> None:
    """As when captions.dir names a file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/a\.txt"):
        write_text(tmp_path / "file" / "a.txt", "text")


def test_json_comes_back_as_written_and_is_readable(tmp_path: Path) -> None:
    """UTF-8 as it is, one value per line, a line end at the end."""
    value = {"a": [1, 2.5, None, "é – 日本"], "b": {"c": True}}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "日本" in text
    assert text.endswith("}\n")
    assert read_json(tmp_path / "a.json") == value == json.loads(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.json is not valid JSON \(Expecting value at line 1, column 1\)"),
        (b"[1,\n2,,\n3]", r"a\.json is not valid JSON \(.* at line 2, column 3\)"),
        (b"[1] 2", r"a\.json is not valid JSON \(Extra data"),
        (b"\xff\xfe\x00", r"a\.json is not UTF-8 text"),
    ],
)
def test_an_error_for_invalid_json_gives_its_position(tmp_path: Path, content: bytes, message: str) -> None:
    """Line and column, on one line."""
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(error.value)


def test_a_key_that_stands_twice_in_an_object_is_refused(tmp_path: Path) -> None:
    """At any depth; the same key in two objects is fine."""
    file = tmp_path / "a.json"
    file.write_text('{"a": {"b": 1}, "c": {"b": 2}}')
    assert read_json(file) == {"a": {"b": 1}, "c": {"b": 2}}
    file.write_text('{"a": [{"b": 1, "b": 2}]}')
    with pytest.raises(UserError, match=r"a\.json.*'b' twice"):
        read_json(file)


def test_a_missing_json_file_or_a_folder_is_named(tmp_path: Path) -> None:
    """Both are user errors."""
    with pytest.raises(UserError, match=r"a\.json is missing"):
        read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"cannot read .*: Is a directory"):
        read_json(tmp_path)


@pytest.mark.parametrize("text", ["a\0b", "a\nb", "a\udcff", "x" * 300, "x/" * 3000])
def test_arguments_that_no_file_can_have_are_refused(text: str) -> None:
    """In one line; what is unusual but possible is a path."""
    with pytest.raises(UserError) as caught:
        as_path(text)
    assert "\n" not in str(caught.value)
    assert as_path("Ünusual #1 'name'") == Path("Ünusual #1 'name'")
