"""Downloads from a server on the loopback that cuts, lies about sizes and sends wrong bytes, with the real clients."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import download
from download import RemoteFile, Source
from utils.errors import UserError

CONTENT = bytes(range(256)) * 4000


class Server(ThreadingHTTPServer):
    """Serves CONTENT at /weights.pth, and a repository of the hub with one file."""

    cut_at: int | None = None
    length: int = len(CONTENT)
    wrong = False
    ranges: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        if self.path.startswith("/api/datasets/some/data/tree/"):
            sha = hashlib.sha256(CONTENT).hexdigest()
            lfs = {"oid": sha, "size": len(CONTENT), "pointerSize": 1}
            files = [{"type": "file", "path": name, "size": len(CONTENT), "oid": "x", "lfs": lfs} for name in FILES]
            data = json.dumps(files).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        start = 0
        if given := self.headers.get("Range"):
            self.server.ranges.append(given)
            match = re.match(r"bytes=(\d+)-", given)
            start = int(match[1]) if match else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(self.server.length - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        if body:
            end = self.server.cut_at or len(CONTENT)
            data = CONTENT[start:end]
            self.wfile.write(bytes(len(data)) if self.server.wrong else data)
            self.close_connection = True


FILES = ["cuhk_qwen_gen_captions.json", "more/rstp_qwen_gen_captions.json", "README.md", ".gitattributes"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """A running server; downloads go to a temporary folder, and are retried without waiting."""
    running = Server(("127.0.0.1", 0), Handler)
    running.ranges = []
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)  # what is lost of a cut download
    yield running
    running.shutdown()
    running.server_close()


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def weights(server: Server, *, sha256: str | None = None) -> RemoteFile:
    return RemoteFile(f"{address(server)}/weights.pth", Path("checkpoint/weights.pth"), len(CONTENT), sha256)


def test_a_cut_download_continues(server: Server) -> None:
    """Where it was cut, and the file appears when it is whole."""
    server.cut_at = 300_000
    with pytest.raises(UserError, match=r"weights\.pth.*continues"):
        download.download(weights(server))
    assert not Path("checkpoint/weights.pth").exists()
    assert Path("checkpoint/weights.pth.part").stat().st_size == 300_000
    server.cut_at = None
    download.download(weights(server, sha256=hashlib.sha256(CONTENT).hexdigest()))
    assert Path("checkpoint/weights.pth").read_bytes() == CONTENT
    assert "bytes=300000-" in server.ranges
    assert list(Path("checkpoint").iterdir()) == [Path("checkpoint/weights.pth")]
    server.ranges.clear()
    download.download(weights(server))  # nothing to do


def test_wrong_bytes_are_refused(server: Server) -> None:
    """By the published hash; they are not kept."""
    server.wrong = True
    with pytest.raises(UserError, match="damaged"):
        download.download(weights(server, sha256=hashlib.sha256(CONTENT).hexdigest()))
    assert list(Path("checkpoint").iterdir()) == []


def test_a_wrong_size_is_refused(server: Server) -> None:
    """Of the download, and of a file that is there already."""
    server.length = len(CONTENT) // 2
    server.cut_at = len(CONTENT) // 2
    with pytest.raises(UserError, match=r"weights\.pth"):
        download.download(weights(server))
    assert not Path("checkpoint/weights.pth").exists()
    Path("checkpoint/weights.pth").write_bytes(b"another")
    with pytest.raises(UserError, match="move it away"):
        download.download(weights(server))
    assert Path("checkpoint/weights.pth").read_bytes() == b"another"


def test_a_repository_is_downloaded_by_name(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its files but its own, through the client of the hub."""
    monkeypatch.setenv("HF_ENDPOINT", address(server))
    source = Source("captions", Path("pre_gen_data"), repository="some/data", kind="dataset")
    monkeypatch.setitem(download.SOURCES, "captions", source)
    download.main(["captions"])
    found = sorted(path.as_posix() for path in Path("pre_gen_data").rglob("*.json"))
    assert found == [f"pre_gen_data/{name}" for name in FILES[:2]]
    assert Path(found[1]).read_bytes() == CONTENT


def test_listing_downloads_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It shows sizes and sources, and where to ask for the data sets."""
    url = f"{address(server)}/weights.pth"
    monkeypatch.setattr(download, "SOURCES", {"blip-base": Source("weights", Path("checkpoint"), url=url)})
    download.main(["--list"])
    out = capsys.readouterr().out
    assert url in out
    assert "1 MB" in out
    assert "CUHK-PEDES: must be requested" in out
    assert not Path("checkpoint").exists()


def test_unknown_names_and_no_network(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that names what was asked for."""
    with pytest.raises(UserError, match="blip-base"):
        download.main(["blip"])
    with pytest.raises(UserError, match="--list"):
        download.main([])
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="jieLong09/TSN_data"):
        download.main(["captions"])
    server.server_close()
    with pytest.raises(UserError, match=r"127\.0\.0\.1"):
        download.download(RemoteFile("http://127.0.0.1:9/x.pth", Path("checkpoint/x.pth")))
