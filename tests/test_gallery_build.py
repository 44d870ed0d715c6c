"""Building an index: what is taken, what is left out, what changes, and what survives a kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from PIL import Image

import search
from data.detection import load_detector
from retrieval.gallery import Gallery, build
from retrieval.gallery.index import connect, read_manifest, writing
from tests.chat_server import OK, ChatServer
from tests.pictures import picture
from tests.test_caption_runs import KILLS
from utils.errors import UserError


def rows_of(index: Path) -> list[dict[str, Any]]:
    """The rows of an index, by path."""
    table = connect(index).open_table(read_manifest(index).table)
    return sorted(table.search().limit(1000).to_list(), key=lambda row: row["path"])


def run(folder: Path, index: Path, *more: str) -> int:
    return search.main(["index", str(folder), "--index", str(index), *more])


@pytest.fixture
def own(photographs: Path, tmp_path: Path) -> Path:
    """A copy of eight photographs."""
    folder = tmp_path / "own"
    for path in sorted((photographs / "test").iterdir())[:8]:
        folder.mkdir(exist_ok=True)
        shutil.copy(path, folder)
    return folder


def test_an_update_takes_what_changed(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """New and changed photographs are embedded, what is gone is forgotten, and no caption is requested twice."""
    index = tmp_path / "index"
    assert run(own, index) == 0
    assert "8 new" in capsys.readouterr().out
    before = rows_of(index)
    first, second, third, *_ = sorted(own.iterdir())
    first.unlink()
    picture(second, (20, 160, 60), (64, 128))
    third.rename(own / "renamed.jpg")
    journal = next(index.glob("*.journal.jsonl"))
    answered = len(journal.read_text().splitlines())
    assert run(own, index) == 0
    assert "1 new, 1 changed, 2 forgotten, 5 unchanged" in capsys.readouterr().out
    after = {row["path"]: row for row in rows_of(index)}
    assert set(after) == {path.name for path in own.iterdir()}
    assert len(journal.read_text().splitlines()) == answered + 1, "the renamed one was captioned again"
    assert after["renamed.jpg"]["vector"] == next(row["vector"] for row in before if row["path"] == third.name)
    assert after[second.name]["content"] != next(row["content"] for row in before if row["path"] == second.name)
    assert run(own, index) == 0
    assert "0 new, 0 changed, 0 forgotten, 7 unchanged" in capsys.readouterr().out


def test_a_broken_photograph_is_left_out(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, the others are indexed, and a good one that breaks is forgotten."""
    index = tmp_path / "index"
    (own / "broken one.jpg").write_bytes(b"\xff\xd8 not a photograph")
    assert run(own, index) == 0
    out = capsys.readouterr().out
    assert "8 new" in out
    assert "1 left out: broken one.jpg (is not an image)" in out
    assert len(rows_of(index)) == 8
    sorted(own.glob("*_*.jpg"))[0].write_bytes(b"broken later")
    assert run(own, index) == 0
    assert "1 forgotten" in capsys.readouterr().out
    assert len(rows_of(index)) == 7


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda own, index: ["index", str(own / "nothing"), "--index", str(index)], "nothing"),
        (lambda own, index: ["index", "--index", str(index)], "FOLDER"),
        (lambda own, index: ["index", str(own)], "--index"),
        (lambda own, index: ["index", str(own), "--index", str(own)], "other files"),
        (lambda own, index: ["index", str(own), "--index", str(index), "--camera", "("], "regular expression"),
        (lambda own, index: ["index", str(own), "--index", str(index), "--camera", r"\\d+"], "one group"),
        (lambda own, index: ["index", str(own), "--index", str(index), "--run", str(own)], "no finished run"),
        (lambda own, index: ["index", str(own), "--index", str(index), "--checkpoint", "x/y.pth"], "vocab.txt"),
        (lambda own, index: ["query", "a man", "--index", str(index)], "not an index"),
        (lambda own, index: ["serve", "--index", str(index)], "not an index"),
    ],
)
def test_wrong_arguments(own: Path, tmp_path: Path, change: Any, named: str) -> None:
    """One line names what is wrong, and nothing is written."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=named):
        search.main(change(own, tmp_path / "index"))
    assert sorted(path for path in tmp_path.rglob("*") if path.name not in ("index", ".lock")) == before


def test_an_empty_folder(tmp_path: Path) -> None:
    """There is nothing to index."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="no photograph"):
        run(tmp_path / "empty", tmp_path / "index")


def test_another_model_is_refused(own: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """Both are named; --reindex builds the index again, with the captions that it has."""
    index, checkpoint = tmp_path / "index", uninterrupted / "best.pth"
    run(own, index)
    with pytest.raises(UserError, match=r"drawn/model\.safetensors.*best\.pth"):
        run(own, index, "--checkpoint", str(checkpoint), "--set", "model.image_size=[32,16]")
    journal = next(index.glob("*.journal.jsonl"))
    answered = journal.read_text()
    before = rows_of(index)
    assert run(own, index, "--reindex", "--checkpoint", str(checkpoint), "--set", "model.image_size=[32,16]") == 0
    assert journal.read_text() == answered
    after = rows_of(index)
    assert [row["caption"] for row in after] == [row["caption"] for row in before]
    assert after[0]["vector"] != before[0]["vector"]
    assert len(connect(index).list_tables().tables) == 1
    assert run(own, index) == 0, "without a model, the index keeps its own"
    with pytest.raises(UserError, match="folder"):
        run(own.parent, index)


def test_other_captions_and_cameras_reach_the_rows(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another captioner with --reindex, another pattern without; the photographs are the same."""
    index = tmp_path / "index"
    run(own, index)
    before = rows_of(index)
    capsys.readouterr()
    assert run(own, index, "--camera", r"^(\d)") == 0
    assert "8 changed" in capsys.readouterr().out
    assert {row["camera"] for row in rows_of(index)} == {"0"}
    with ChatServer() as server:
        values = ["captioner.backend=openai", f"captioner.base_url={server.url}", "captioner.model=m"]
        with pytest.raises(UserError, match="captioner palette, not openai m"):
            run(own, index, "--set", *values)
        assert run(own, index, "--reindex", "--set", *values) == 0
    after = rows_of(index)
    assert all(row["caption"] != other["caption"] for row, other in zip(after, before, strict=True))
    assert read_manifest(index).captioner.backend == "openai"
    # without a config, the index keeps its captioner, which has nothing to do
    assert run(own, index) == 0
    assert "8 unchanged" in capsys.readouterr().out.splitlines()[-2]


def test_photographs_without_a_caption_are_asked_about_again(own: Path, tmp_path: Path) -> None:
    """They are searched by their pixels until then."""
    index = tmp_path / "index"
    with ChatServer(lambda request: "refusal") as server:
        values = ("--set", "captioner.backend=openai", f"captioner.base_url={server.url}", "captioner.model=m")
        assert run(own, index, *values) == 0
        rows = rows_of(index)
        width = len(rows[0]["vector"]) // 2
        assert all(row["caption"] is None for row in rows)
        assert all(row["vector"][:width] == row["vector"][width:] for row in rows)
        server.plan = lambda request: OK
        assert run(own, index, *values) == 0
    assert all(row["caption"] for row in rows_of(index))


def test_photographs_are_sent_to_other_hosts_only_if_that_is_allowed(own: Path, tmp_path: Path) -> None:
    """--yes is for one run; the index remembers the key alone, for sentences as well."""
    index, url = tmp_path / "index", "captioner.base_url=http://photos.invalid/v1"
    values = ("--set", "captioner.backend=openai", "captioner.rewriter=openai", "captioner.model=m", url)
    with pytest.raises(UserError, match=r"8 photographs of people .* photos\.invalid"):
        run(own, index, *values)
    with pytest.raises(UserError, match="cannot reach"):
        run(own, index, "--yes", *values, "captioner.retries=0")
    with ChatServer() as server:
        here = f"captioner.base_url={server.url}"
        assert run(own, index, "--yes", *values, here, f"captioner.rewriter_{url.partition('.')[2]}") == 0
    assert read_manifest(index).captioner.send_to is None
    results = Gallery.open(index, device="cpu").search("a man in red")
    assert results.hits
    assert any("1 sentences about people would be sent to photos.invalid" in note for note in results.notes)


def test_an_unfinished_index_answers_as_before(
    own: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first build that is interrupted is no index yet; a rebuild that is interrupted leaves the old one."""
    index = tmp_path / "index"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("retrieval.gallery.build.write_manifest", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(own, index)
    with pytest.raises(UserError, match="not an index"):
        Gallery.open(index)
    assert run(own, index) == 0
    gallery = Gallery.open(index, device="cpu")
    before = gallery.search("a man in red")
    more = ("--reindex", "--checkpoint", str(uninterrupted / "best.pth"), "--set", "model.image_size=[32,16]")
    with monkeypatch.context() as patch:
        patch.setattr("retrieval.gallery.build.write_manifest", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(own, index, *more)
    assert gallery.search("a man in red") == before
    assert run(own, index, *more) == 0
    after = gallery.search("a man in red")  # the open gallery has noticed the other model
    assert [hit.score for hit in after.hits] != [hit.score for hit in before.hits]
    assert len(after.hits) == len(before.hits)


def test_a_link_to_itself_is_skipped(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are indexed."""
    (own / "self.jpg").symlink_to("self.jpg")
    assert run(own, tmp_path / "index") == 0
    assert "self.jpg" in capsys.readouterr().err


def test_one_process_writes_at_a_time(own: Path, tmp_path: Path) -> None:
    """The second is told so."""
    with writing(tmp_path / "index"), pytest.raises(UserError, match="another process"):
        run(own, tmp_path / "index")


def test_a_killed_run_goes_on(own: Path, tmp_path: Path) -> None:
    """Killed at different moments (ten times with TSN_KILLS=10), it ends with the rows of an undisturbed run."""
    index, undisturbed = tmp_path / "index", tmp_path / "undisturbed"
    code = (
        "import sys, retrieval.gallery.build as build; build._BATCH = 2; import search; "
        f"sys.exit(search.main(['index', {str(own)!r}, '--index', {str(index)!r}]))"
    )
    kills = 0
    for attempt in range(KILLS):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            table = index / "lance"
            versions = len([*table.rglob("*.manifest")]) if table.exists() else 0
            if versions > attempt * 5 // KILLS:  # later and later
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.002)
        if process.wait() == 0:
            break
    assert kills
    assert run(own, index) == 0
    assert run(own, undisturbed) == 0

    found, wanted = rows_of(index), rows_of(undisturbed)
    # Which photographs share a batch changes the last bit of an embedding.
    assert [row.pop("vector") for row in found] == [pytest.approx(row.pop("vector"), abs=1e-3) for row in wanted]
    assert found == wanted


def test_a_changed_checkpoint_is_noticed(own: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """Embeddings of two models must not be compared: the file is named."""
    copy = tmp_path / "model"
    copy.mkdir()
    for name in ("best.pth", "vocab.txt"):
        shutil.copy(uninterrupted / name, copy)
    index = tmp_path / "index"
    arguments = ["--checkpoint", str(copy / "best.pth"), "--set", "model.image_size=[32,16]"]
    assert run(own, index, *arguments) == 0
    os.utime(copy / "best.pth")  # the same content
    assert search.main(["query", "a man", "--index", str(index), "--device", "cpu"]) == 0
    content = torch.load(copy / "best.pth", weights_only=True)
    content["model"]["vision_proj.bias"] += 1
    torch.save(content, copy / "best.pth")
    with pytest.raises(UserError, match=r"best\.pth has changed"):
        search.main(["query", "a man", "--index", str(index)])


def test_many_rows_get_an_approximate_index(
    indexed: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a number of rows, an index of the vectors is built, and finds what the exact search finds."""
    import numpy as np
    import pyarrow as pa

    from retrieval.gallery import gallery as searching

    index = shutil.copytree(indexed, tmp_path / "index")
    table = connect(index).open_table(read_manifest(index).table)
    row = table.search().limit(1).to_arrow()
    random = np.random.default_rng(0)
    width = row.schema.field("vector").type.list_size
    vectors = random.normal(size=(600, width))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    extra = pa.concat_tables([row] * 600).drop_columns(["vector", "id", "path"])
    extra = extra.append_column("id", pa.array([f"{number:016x}" for number in range(600)]))
    extra = extra.append_column("path", pa.array([f"x/{number}.jpg" for number in range(600)]))
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), width)
    table.add(extra.append_column("vector", column).select(table.schema.names))
    monkeypatch.setattr(build, "EXACT_ROWS", 300)
    build._optimize(table)
    exact = searching.Gallery.open(index, device="cpu").search("a woman in a red coat", top=20)
    monkeypatch.setattr("retrieval.gallery.rows.EXACT_ROWS", 300)
    approximate = searching.Gallery.open(index, device="cpu").search("a woman in a red coat", top=20)
    assert len({hit.id for hit in exact.hits} & {hit.id for hit in approximate.hits}) >= 18
    assert exact.hits[0] == approximate.hits[0]


def test_a_real_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: Path) -> None:
    """One of torchvision's, with random weights in the place of the published ones; nothing is downloaded unasked."""
    name = "ssdlite320_mobilenet_v3_large"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(UserError, match=r"--download.*https://"):
        load_detector(name, "cpu")
    with pytest.raises(UserError, match=name):
        load_detector("yolo", "cpu")
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    url = torchvision.models.get_model_weights(name).DEFAULT.url
    file = tmp_path / "torch" / "hub" / "checkpoints" / url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.save(model.state_dict(), file)
    detector = load_detector(name, "cpu", min_score=0.0)
    assert all(len(box) == 4 for box in detector(Image.open(sorted(own.iterdir())[0])))
    index = tmp_path / "index"
    # random weights find nobody with some certainty: there is nothing to index, which is said
    with pytest.raises(UserError, match="no photograph"):
        run(own, index, "--detect", name)
    assert (index / "crops" / "frames.jsonl").is_file()
