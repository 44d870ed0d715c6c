"""Search your own photographs: index a folder, query it by a sentence, or serve a page."""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - first, so that Ctrl-C while libraries load ends in one line

# isort: split
import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from captioning.captioner import load_captioner
from configs.search import IndexSource, index_folder, parse_arguments, select_source
from utils.errors import UserError, run_script
from utils.logs import log, show

# Modules that load torch, which takes seconds, are imported inside the functions, so that --help does not load it.


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv, __doc__)
    index = index_folder(arguments)
    if arguments.command == "index":
        build(index, select_source(arguments), arguments)
        return 0
    if arguments.run and not arguments.index and not (index / "index.json").is_file():
        whole = parse_arguments(["index", "--run", str(arguments.run), "--index", str(index)], __doc__)
        build(index, select_source(whole), whole)
    return query(index, arguments) if arguments.command == "query" else serve(index, arguments)


def build(index: Path, source: IndexSource, arguments: argparse.Namespace) -> None:
    """Build an index, or bring it up to date with its folder, and say what was done."""
    from retrieval.gallery.build import load_model, update_index
    from retrieval.gallery.index import Manifest, ModelFiles, choose_manifest, writing

    device, size, crops = source.config.run.device, source.config.model.size, index / "crops"
    if arguments.detect and index.resolve().is_relative_to(source.folder.resolve()):
        raise UserError(f"--index {index} is in the folder of the frames, which would hold its crops: choose another")
    with writing(index):
        wanted = Manifest(
            folder=str(crops if arguments.detect else source.folder),
            frames=str(source.folder) if arguments.detect else None,
            detector=arguments.detect,
            camera=arguments.camera,
            model=ModelFiles.of(source.checkpoint, source.vocabulary, size if arguments.checkpoint else None),
            weight=source.weight,
            rewrite_image=source.rewrite_image,
            rerank=source.rerank,
            captioner=source.config.captioner,
        )
        manifest = choose_manifest(
            index,
            wanted,
            model_is_chosen=bool(arguments.checkpoint or arguments.run),
            config_is_chosen=bool(arguments.config or arguments.overrides),
            rebuild=arguments.reindex,
        )
        if arguments.detect:
            source = detect(crops, source, arguments)
        backends = manifest.captioner.allow_all_hosts() if arguments.yes else manifest.captioner
        captioner = load_captioner(backends, device)
        model = load_model(manifest.model, device)
        changes = update_index(
            index, manifest, model, captioner, backends=backends, names=source.names, texts=source.texts
        )
    for line in changes.lines():
        log.info(f"{index}: {line}")
    if captioner.name.startswith("palette"):
        log.info("its captions name colors and bags alone: a multimodal model sees more (captioner.backend)")
    log.info(f'search it with: python search.py query "a woman in a red coat" --index {index}')


def detect(crops: Path, source: IndexSource, arguments: argparse.Namespace) -> IndexSource:
    """Crop people out of the frames of a folder; the crops take the place of its photographs."""
    from data.detection import crop_people, load_detector
    from utils.device import pick_device

    name, device = arguments.detect, str(pick_device(source.config.run.device))
    detector = load_detector(name, device, download=arguments.download)
    log.info(f"{source.folder}: {crop_people(source.folder, crops, detector, detector=name)}")
    return replace(source, folder=crops, names=None, texts={})


def query(index: Path, arguments: argparse.Namespace) -> int:
    """Search an index once, and print the results."""
    from retrieval.gallery import Gallery

    gallery = Gallery.open(index, device=arguments.device)
    results = gallery.search(
        arguments.sentence,
        top=arguments.top,
        image=arguments.image,
        like=arguments.like,
        unlike=arguments.unlike,
        where=arguments.where,
        folder=arguments.folder,
        weight=arguments.weight,
        rerank=arguments.rerank,
    )
    if arguments.json:
        show(json.dumps(results.to_dict(), indent=1))
        return 0
    for note in results.notes:
        log.warning(note)
    if results.rewrite:
        log.info(f"read as: {results.rewrite}")
    for hit in results.hits:
        reasons = ", ".join(f"{slot.replace('_', ' ')} {how}" for slot, how in hit.reasons.items())
        log.info(f"{hit.rank:3}  {hit.score:7.4f}  {hit.path}{' (the file has gone)' if hit.missing else ''}")
        log.info(f"              {hit.caption or 'no caption'}")
        if reasons:
            log.info(f"              {reasons}")
    if results.question:
        options = ", ".join(results.question.options)
        log.info(f"to narrow the results, add to the sentence: {results.question.text} ({options})")
    return 0


def serve(index: Path, arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from retrieval.gallery import Gallery
    from retrieval.gallery.server import run_server

    run_server(Gallery.open(index, device=arguments.device), host=arguments.host, port=arguments.port)
    return 0


if __name__ == "__main__":
    run_script(main)
