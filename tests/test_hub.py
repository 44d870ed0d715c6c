"""Weights by their name on the hub, from a server on the loopback, with the real client."""

from __future__ import annotations

import hashlib
import json
import threading
from argparse import Namespace
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.evaluation import parse_arguments, select_target
from models.export import export_model
from models.options import DRAWN, ModelOptions
from models.tokenizer import load_tokenizer
from models.tsn import TSN, build_model
from tests.fixtures import FOLDER, write_published_checkpoint
from utils.errors import UserError
from utils.hub import find_weights


class Hub(ThreadingHTTPServer):
    """Serves the model some/model with these files."""

    files: dict[str, bytes]
    asked: list[str]
    commit = "0" * 40


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path.startswith(("/api/models/some/model/tree/", "/api/models/some/model/revision/")) or (
            self.path.partition("?")[0] == "/api/models/some/model"
        ):
            siblings = [{"rfilename": name} for name in self.server.files]
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": "x"}
                for name, content in self.server.files.items()
            ]
            info = {"id": "some/model", "sha": self.server.commit, "siblings": siblings}
            self.answer(json.dumps(tree if "/tree/" in self.path else info).encode())
        elif (name := self.path.rpartition("/")[2]) in self.server.files and self.path.startswith("/some/model/"):
            content = self.server.files[name]
            tag = f'"{hashlib.sha256(content).hexdigest()}"'
            self.answer(content, {"ETag": tag, "X-Repo-Commit": self.server.commit})
        else:
            self.answer(b"{}", {"X-Error-Code": "RepoNotFound"}, status=404)

    def answer(self, content: bytes, headers: dict[str, str] | None = None, *, status: int = 200) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model: model.safetensors, config.json and vocab.txt."""
    folder = tmp_path_factory.mktemp("exported")
    write_published_checkpoint(folder / "checkpoint.pth")
    export_model(folder / "checkpoint.pth", FOLDER / "vocab.txt", folder / "model")
    return folder / "model"


@pytest.fixture
def hub(exported: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A running hub with the exported model, an empty cache, and an empty current folder."""
    server = Hub(("127.0.0.1", 0), Handler)
    server.files = {path.name: path.read_bytes() for path in exported.iterdir()} | {"README.md": b"# A model"}
    server.asked = []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    yield server
    server.shutdown()
    server.server_close()


def without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def options(init: str) -> ModelOptions:
    values: dict[str, Any] = {"preset": "tiny", "init": init, "vocab": None, "image_size": None, "dropout": 0.0}
    return ModelOptions(**values, fuse_padding=False, checkpointed_blocks=0, offload=False)


def test_a_model_on_the_hub_is_tested(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With its own vocabulary; once here, it is found without a network, and nothing but the model is downloaded."""
    config = Path(__file__).parents[1] / "configs" / "cuhk_pedes.yaml"

    def selected() -> Namespace:
        return parse_arguments(["--checkpoint", "some/model", "--config", str(config)], None)

    target = select_target(selected())
    model = TSN.from_checkpoint(target.checkpoint, load_tokenizer(target.vocabulary))
    assert model.tokenizer is not None
    assert Path(target.vocabulary).read_bytes() == (FOLDER / "vocab.txt").read_bytes()
    assert not any("README" in path for path in hub.asked)
    without_network(monkeypatch)
    assert select_target(selected()).checkpoint == target.checkpoint


def test_a_model_on_the_hub_is_where_training_starts(hub: Hub) -> None:
    """As from the same file; one that does not match the preset is an error that names it."""
    tokenizer = load_tokenizer(FOLDER / "vocab.txt")
    with pytest.raises(UserError, match=r"model\.init: .*model\.safetensors does not match model\.preset=tiny"):
        build_model(tokenizer, options("some/model"), seed=0, negatives="hardest", precision="fp32")
    drawn = {path.name: path.read_bytes() for path in DRAWN.iterdir() if path.is_file()}
    hub.commit, hub.files = "1" * 40, drawn
    tokenizer = load_tokenizer(DRAWN / "vocab.txt")
    one, other = (
        build_model(tokenizer, options(init), seed=0, negatives="hardest", precision="fp32").text_proj.weight
        for init in ("some/model", "drawn")
    )
    assert torch.equal(one, other)


def test_which_file_of_a_repository(hub: Hub) -> None:
    """The only one with weights; of several, none is taken at random."""
    content = b"weights"
    hub.files = {"checkpoint_best.pth": content, "config.json": b"{}"}
    assert find_weights("some/model").read_bytes() == content
    hub.files |= {"checkpoint_last.pth": content}
    with pytest.raises(UserError, match=r"some/model .*checkpoint_best\.pth, checkpoint_last\.pth"):
        find_weights("some/model")
    hub.files = {"README.md": b""}
    with pytest.raises(UserError, match=r"some/model .*\.safetensors or \.pth"):
        find_weights("some/model")


def test_paths_are_not_looked_up(hub: Hub, tmp_path: Path) -> None:
    """Files and folders that exist, files of weights that do not, and what lies in a folder that exists."""
    (tmp_path / "some" / "model").mkdir(parents=True)
    for name in ("some/model", "some/other", "gone", "checkpoint/model_base.pth", "a/b/c", "../a/b", "/a/b"):
        assert find_weights(name) == Path(name)
    assert hub.asked == []


@pytest.mark.parametrize("name", ["some/other", "some/model"])
def test_what_cannot_be_found_is_one_line(name: str, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no such model, or no network and no copy."""
    if name == "some/model":
        without_network(monkeypatch)
    with pytest.raises(UserError, match=rf"{name} is no file or folder here, .*hub, it cannot be loaded: ") as error:
        find_weights(name)
    assert "\n" not in str(error.value)
