"""The caption scripts on a folder of images: which texts are generated, which stay, and which are generated again."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

import gen_test_data
import gen_train_data
import test as test_script
from tests.chat_server import ChatServer
from tests.pictures import picture
from utils.errors import UserError

RED, BLUE = (190, 30, 35), (40, 60, 180)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, one with two queries."""
    root = tmp_path / "photos #1"
    for name in ("train/1.png", "train/imgs/2.png", "test/3.png"):
        picture(root / name, RED)
    queries = {"test/3.png": {"captions": ["A red top.", "Red slacks."], "id": 3}}
    (root / "captions.json").write_text(json.dumps(queries))
    return root


def arguments(root: Path) -> list[str]:
    """Arguments of either script, with captions next to the images."""
    return [
        *("--config", "configs/custom.yaml", "--set", f"data.root={root}", f"captions.dir={root / 'texts'}"),
        f"run.dir={root / 'run'}",
    ]


def written(root: Path, name: str) -> dict[str, dict[str, Any]]:
    """Entries of a caption file by image."""
    return {entry["image_path"]: entry for entry in json.loads((root / "texts" / name).read_text())}


def test_existing_texts_are_not_generated_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gen_train_data.main(arguments(folder))
    gen_test_data.main(arguments(folder))
    assert written(folder, "custom_qwen_gen_captions.json").keys() == {"imgs/train/1.png", "imgs/train/imgs/2.png"}
    capsys.readouterr()
    gen_train_data.main(arguments(folder))
    gen_test_data.main(arguments(folder))
    output = capsys.readouterr().out
    for count in ("all 2 images have captions", "all 1 images have captions", "all 2 queries have rewrites"):
        assert count in output


def test_a_replaced_image_is_described_again(folder: Path) -> None:
    gen_train_data.main(arguments(folder))
    before = written(folder, "custom_qwen_gen_captions.json")
    picture(folder / "train" / "1.png", BLUE)
    gen_train_data.main(arguments(folder))
    after = written(folder, "custom_qwen_gen_captions.json")
    assert "blue" in after["imgs/train/1.png"]["generated_text"]
    assert after["imgs/train/imgs/2.png"] == before["imgs/train/imgs/2.png"]


def test_entries_of_other_images_and_existing_captions_stay(folder: Path) -> None:
    """A file that was paid for loses nothing when a gap is filled."""
    (folder / "texts").mkdir()
    paid: list[dict[str, Any]] = [
        {"id": 1, "image_path": f"/home/author/imgs/{name}", "captions": [], "generated_text": text}
        for name, text in (("train/1.png", "A paid caption."), ("train/imgs/2.png", None), ("elsewhere.png", "Too."))
    ]
    paid[1]["image_path"] = "imgs/train/imgs/2.png"
    (folder / "texts" / "custom_qwen_gen_captions.json").write_text(json.dumps(paid))
    gen_train_data.main(arguments(folder))
    after = written(folder, "custom_qwen_gen_captions.json")
    assert after["/home/author/imgs/elsewhere.png"] == paid[2]
    assert after["imgs/train/1.png"]["generated_text"] == "A paid caption."
    assert after["imgs/train/imgs/2.png"]["generated_text"]


def test_changed_queries_and_failed_rewrites_are_generated(folder: Path) -> None:
    """The other queries keep their rewrites, also in another order."""
    gen_test_data.main(arguments(folder))
    entry = written(folder, "custom_test_qwen_gen_captions.json")["imgs/test/3.png"]
    entry |= {"img_gen_text": "Paid.", "generated_text": ["Paid too.", "null"]}
    (folder / "texts" / "custom_test_qwen_gen_captions.json").write_text(json.dumps([entry]))
    queries = {"test/3.png": {"captions": ["Red slacks.", "A green coat.", "A red top."], "id": 3}}
    (folder / "captions.json").write_text(json.dumps(queries))
    gen_test_data.main(arguments(folder))
    entry = written(folder, "custom_test_qwen_gen_captions.json")["imgs/test/3.png"]
    assert entry["img_gen_text"] == "Paid."
    assert entry["generated_text"][2] == "Paid too."
    assert "red trousers" in entry["generated_text"][0]
    assert "green coat" in entry["generated_text"][1]


def test_a_folder_without_test_images_or_queries_has_nothing_to_test(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that train.bash succeeds after training."""
    (folder / "captions.json").unlink()
    (folder / "run").mkdir()
    (folder / "run" / "best.pth").touch()
    test_script.main(arguments(folder))
    assert "no test image has a query in captions.json" in capsys.readouterr().out
    (folder / "test" / "3.png").unlink()
    gen_test_data.main(arguments(folder))
    assert "has no test split: there is nothing to describe or rewrite" in capsys.readouterr().out


def remote(root: Path, *more: str) -> list[str]:
    """Arguments of either script with a model at a host that is not this machine, and does not exist."""
    values = ["captioner.backend=openai", "captioner.rewriter=openai", "captioner.model=m", "captioner.retries=0"]
    return [*arguments(root), *values, "captioner.base_url=http://photos.invalid:8000/v1", *more]


def test_nothing_is_sent_to_a_host_that_the_user_has_not_named(folder: Path) -> None:
    """How much of what would go to which host, and the key that allows it; nothing is written."""
    with pytest.raises(UserError, match=r"1 photographs of people .* photos\.invalid.*captioner\.send_to=.*--yes"):
        gen_train_data.main(remote(folder))
    with pytest.raises(UserError, match=r"2 sentences about people .* photos\.invalid"):
        gen_test_data.main(remote(folder, "captioner.backend=palette"))
    with pytest.raises(UserError, match=r"sent to words\.invalid"):  # before any photograph is paid for
        gen_test_data.main(
            remote(folder, "captioner.rewriter_base_url=http://words.invalid/v1", "captioner.send_to=photos.invalid")
        )
    assert not (folder / "texts").exists()


@pytest.mark.parametrize(
    "allow",
    [["--yes"], ["--set", "captioner.send_to=other, Photos.INVALID"], ["--set", "captioner.send_to=[photos.invalid]"]],
)
def test_a_host_is_allowed_by_name_or_by_yes(
    folder: Path, allow: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is sent is said; a proxy on the way is named without its password."""
    monkeypatch.setenv("http_proxy", "http://user:sesame@127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(UserError, match="cannot reach"):
        gen_train_data.main([*remote(folder), *allow])
    assert "sending 1 photographs of people to photos.invalid (through the proxy 127.0.0.1)" in capsys.readouterr().out


def test_a_dry_run_names_the_host(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It sends nothing, and needs no leave."""
    assert gen_train_data.main(["--dry-run", *remote(folder)]) == 0
    assert "2 to request from openai:m at photos.invalid" in capsys.readouterr().out


def test_a_server_on_this_machine_needs_no_leave(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer() as server:
        url = server.url.replace("127.0.0.1", "localhost")
        assert gen_train_data.main(remote(folder, f"captioner.base_url={url}")) == 0
    assert "sending" not in capsys.readouterr().out


def test_a_restart_in_a_folder_that_is_read_only_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers stay where they are."""
    gen_train_data.main(arguments(folder))
    before = {path.name: path.read_bytes() for path in (folder / "texts").iterdir()}
    replace = Path.replace

    def refuse(path: Path, target: Path) -> Path:
        if path.suffix == ".jsonl":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(UserError, match=r"cannot write .*journal\.jsonl: Read-only file system"):
        gen_train_data.main([*arguments(folder), "--restart"])
    assert before.items() <= {path.name: path.read_bytes() for path in (folder / "texts").iterdir()}.items()
