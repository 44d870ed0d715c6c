"""Download BLIP's weights, the released captions and the released checkpoint, by name, to where TSN expects them."""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - first, so that Ctrl-C while libraries load ends in one line

# isort: split
import argparse
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.errors import UserError, run_script
from utils.logs import log

BLIP = "https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/"
GATED = {
    "CUHK-PEDES": (
        "configs/cuhk_pedes.yaml",
        "https://github.com/ShuangLI59/Person-Search-with-Natural-Language-Description",
    ),
    "ICFG-PEDES": ("configs/icfg_pedes.yaml", "https://github.com/zifyloo/SSAN"),
    "RSTPReid": ("configs/rstpreid.yaml", "https://github.com/NjtechCVLab/RSTPReid-Dataset"),
}
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Source:
    """Something to download: one file at a URL, or all files of a repository of the Hugging Face hub.

    Attributes:
        what: for `--list`.
        folder: into which its files go.
        url: of the file; empty for a repository.
        repository, kind: name and type ("model", "dataset") of the repository.
    """

    what: str
    folder: Path
    url: str = ""
    repository: str = ""
    kind: str = "model"


@dataclass(frozen=True)
class RemoteFile:
    """One file to download; size in bytes and SHA-256 are None where they are not published."""

    url: str
    path: Path
    size: int | None = None
    sha256: str | None = None


SOURCES = {
    "blip-base": Source("BLIP's weights for model.preset=base", Path("checkpoint"), url=f"{BLIP}model_base.pth"),
    "blip-large": Source("BLIP's weights for model.preset=large", Path("checkpoint"), url=f"{BLIP}model_large.pth"),
    "captions": Source("the released captions", Path("pre_gen_data"), repository="jieLong09/TSN_data", kind="dataset"),
    "checkpoint": Source("the released checkpoint", Path("checkpoint"), repository="jieLong09/TSN_model"),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SOURCES)}")
    parser.add_argument("--list", action="store_true", help="show sizes and sources, and download nothing")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.names if name not in SOURCES]:
        raise UserError(f"there is nothing called {unknown[0]}: the names are {', '.join(SOURCES)}")
    if not arguments.names and not arguments.list:
        parser.print_help()
        raise UserError("name what to download, or --list")
    for name in arguments.names or SOURCES:
        for file in remote_files(SOURCES[name]):
            if arguments.list:
                size = f"{file.size / 1e6:,.0f} MB" if file.size else "size not known"
                log.info(f"{name}: {SOURCES[name].what}: {file.path}, {size}, from {file.url}")
            else:
                download(file)
    if arguments.list:
        for name, (config, page) in GATED.items():
            log.info(f"{name}: must be requested at {page}; then check it with python -m data.check {config}")


def remote_files(source: Source) -> Iterator[RemoteFile]:
    """Yield the files of a source.

    Raises:
        UserError: the hub cannot be reached.
    """
    if source.url:
        yield RemoteFile(source.url, source.folder / source.url.rpartition("/")[2], _size(source.url))
        return
    from huggingface_hub import HfApi, hf_hub_url
    from huggingface_hub.hf_api import RepoFile

    endpoint = os.environ.get("HF_ENDPOINT")
    try:
        entries = HfApi(endpoint=endpoint).list_repo_tree(source.repository, repo_type=source.kind, recursive=True)
        files = [entry for entry in entries if isinstance(entry, RepoFile)]
    except Exception as error:
        raise UserError(
            f"cannot list {source.repository}: {_reason(error)}; check the network, and try again"
        ) from None
    for entry in files:
        path = Path(entry.path)
        if path.name.startswith(".") or path.name == "README.md" or ".." in path.parts or path.is_absolute():
            continue
        url = hf_hub_url(source.repository, entry.path, repo_type=source.kind, endpoint=endpoint)
        yield RemoteFile(url, source.folder / path, entry.size, entry.lfs.sha256 if entry.lfs else None)


def download(file: RemoteFile) -> None:
    """Download a file, or the rest of it, and check its size and hash; a complete file is left as it is.

    Raises:
        UserError: it cannot be downloaded, or is not the published one; what was downloaded stays, as NAME.part, unless
            it is wrong.
    """
    from huggingface_hub.file_download import http_get

    if file.path.exists():
        if file.size is not None and file.path.stat().st_size != file.size:
            size = file.path.stat().st_size
            raise UserError(f"{file.path} is another file ({size} bytes, not {file.size}): move it away")
        log.info(f"{file.path} is there already")
        return
    part = file.path.with_name(f"{file.path.name}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as output:
            done = output.tell()
            http_get(file.url, output, resume_size=done, expected_size=file.size, displayed_filename=file.path.name)
            output.flush()
            os.fsync(output.fileno())
    except Exception as error:  # of the network, the hub's client, or the disk
        if "Consistency check" in str(error) or "416" in str(error):
            part.unlink(missing_ok=True)
        raise UserError(f"cannot download {file.url}: {_reason(error)}; the same command continues") from None
    if file.sha256 and (found := _sha256(part)) != file.sha256:
        part.unlink()
        raise UserError(f"{file.url} is damaged (SHA-256 {found}, not {file.sha256}): try again")
    part.replace(file.path)
    log.info(f"{file.path}: {file.path.stat().st_size / 1e6:,.1f} MB")


def _size(url: str) -> int | None:
    """Return the size of a file at a URL, or None if its server does not say."""
    import httpx2

    try:
        response = httpx2.head(url, follow_redirects=True, timeout=30)
        return int(response.headers["content-length"]) if response.status_code == 200 else None
    except Exception:  # reported when it is downloaded
        return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


if __name__ == "__main__":
    run_script(main)
