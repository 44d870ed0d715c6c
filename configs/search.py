"""The arguments of search.py, and the index, photographs and model that they select."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from captioning.job.plan import add_consent_argument
from configs.load import FOLDER, add_config_arguments, load_config
from configs.schema import Config
from data.captions import query_file, read_test_texts
from data.photographs import check_camera_pattern
from data.readers import READERS, of_split
from data.records import read_entries
from models.options import DRAWN
from utils.errors import UserError
from utils.files import as_path, text_problem
from utils.hub import find_weights
from utils.options import Fraction, NonNegativeInt

# What was best on the validation split of real photographs, for weights that were trained on drawn people.
_DRAWN_WEIGHT, _DRAWN_SHARE = 0.5, 0.8


@dataclass(frozen=True)
class IndexSource:
    """What an index is built from.

    Attributes:
        folder: of the photographs.
        config: the resolved config; its captioner describes photographs and rewrites queries.
        checkpoint, vocabulary: of the model.
        weight, rewrite_image, rerank: how the index is searched unless a query says otherwise.
        names: of the photographs, relative to the folder; None for all in it.
        texts: {name: caption} of photographs that are captioned already.
    """

    folder: Path
    config: Config
    checkpoint: Path
    vocabulary: str | Path
    weight: float
    rewrite_image: float
    rerank: int
    names: Sequence[str] | None = None
    texts: Mapping[str, str] = field(default_factory=dict)


def parse_arguments(argv: Sequence[str] | None, description: str | None) -> argparse.Namespace:
    """Parse the arguments of search.py."""
    parser = argparse.ArgumentParser(description=description)
    commands = parser.add_subparsers(dest="command", required=True, metavar="{index,query,serve}")

    index = commands.add_parser("index", help="caption and embed photographs, or bring an index up to date")
    index.add_argument("folder", nargs="?", type=as_path, help="folder of photographs, each of one person")
    _add_source(index)
    index.add_argument(
        "--camera", type=_camera, metavar="PATTERN", help="regular expression, whose group is the camera in a path"
    )
    index.add_argument("--detect", metavar="NAME", help="crop people out of whole frames by this torchvision detector")
    index.add_argument("--download", action="store_true", help="download the detector's weights if they are missing")
    add_consent_argument(index)
    index.add_argument("--reindex", action="store_true", help="build the index again, perhaps with another model")
    add_config_arguments(index, default=None)

    query = commands.add_parser("query", help="search an index, and print the best photographs")
    query.add_argument("sentence", nargs="?", help="describes the person, in English")
    _add_index(query)
    query.add_argument("--top", type=_positive, default=20, metavar="N", help="number of results (default: 20)")
    query.add_argument("--image", type=as_path, metavar="FILE", help="a photograph of the person")
    query.add_argument("--like", nargs="+", default=[], metavar="PHOTO", help="photographs that are right")
    query.add_argument(
        "--unlike", nargs="+", default=[], metavar="PHOTO", help="photographs of the index that are wrong"
    )
    query.add_argument("--where", metavar="SQL", help="condition, such as \"camera = '3' and time > '2026-05-01'\"")
    query.add_argument("--folder", metavar="PATTERN", help="only photographs in folders that match, such as 2026-05/*")
    query.add_argument("--weight", type=_fraction, metavar="W", help="of the rewrite, 0 to 1 (default: of the index)")
    query.add_argument("--rerank", type=_count, metavar="K", help="results that the matching head scores again")
    query.add_argument("--json", action="store_true", help="print the results as JSON")

    serve = commands.add_parser("serve", help="serve a page and a JSON API on this machine")
    _add_index(serve)
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    serve.add_argument("--port", type=_count, default=8000, help="0 for any free port (default: 8000)")
    return parser.parse_args(argv)


def _add_index(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--index", type=as_path, metavar="DIR", help="folder of the index (default with --run: RUN/index)"
    )
    parser.add_argument("--run", type=as_path, metavar="RUN", help="search the gallery of this training run")
    parser.add_argument("--device", type=_device, default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--index", type=as_path, metavar="DIR", help="folder of the index (default with --run: RUN/index)"
    )
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--checkpoint", type=as_path, metavar="FILE", help="weights, or a hub name (see model.vocab)")
    model.add_argument(
        "--run", type=as_path, metavar="RUN", help="the best model of this run; its gallery if no folder"
    )


def _camera(pattern: str) -> str:
    if problem := text_problem(pattern):
        raise UserError(f"--camera {pattern} {problem}")
    check_camera_pattern(pattern)
    return pattern


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text} is none of auto, cpu, cuda and cuda:N")
    return text


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 0")
    return int(text)


def _positive(text: str) -> int:
    if not (number := _count(text)):
        raise argparse.ArgumentTypeError("it should be at least 1")
    return number


def _fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no number from 0 to 1")
    return number


def index_folder(arguments: argparse.Namespace) -> Path:
    """Return the folder of the index.

    Raises:
        UserError: none is named.
    """
    if arguments.index:
        return Path(arguments.index)
    if arguments.run:
        return Path(arguments.run) / "index"
    raise UserError("name the folder of the index: --index DIR")


def select_source(arguments: argparse.Namespace) -> IndexSource:
    """Resolve the arguments of `search.py index` to what the index is built from.

    Raises:
        UserError: there are no photographs, or the model is missing.
    """
    folder: Path | None = arguments.folder
    if folder is None and arguments.run is None:
        raise UserError("name a folder of photographs: search.py index FOLDER --index DIR")
    if arguments.run:
        run: Path = arguments.run
        if not (run / "best.pth").is_file() or not (run / "config.yaml").is_file():
            raise UserError(f"{run} is no finished run: it should hold best.pth and config.yaml (train.py writes them)")
        config = load_config(arguments.config or run / "config.yaml", [*arguments.overrides, f"run.dir={run}"])
        weight, k = _tuned(config, run / "metrics.json")
        share = config.eval.rewrite_image
        source = IndexSource(Path(), config, run / "best.pth", run / "vocab.txt", weight, share, k)
        return _with_folder(source, folder) if folder else with_gallery(source, config)
    config = load_config(arguments.config or FOLDER / "custom.yaml", arguments.overrides)
    if arguments.checkpoint is None:
        weights, words = DRAWN / "model.safetensors", DRAWN / "vocab.txt"
        return _with_folder(IndexSource(Path(), config, weights, words, _DRAWN_WEIGHT, _DRAWN_SHARE, 0), folder)
    checkpoint = find_weights(arguments.checkpoint)
    beside = checkpoint.parent / "vocab.txt"
    vocabulary = beside if beside.is_file() else config.model.vocab
    if vocabulary is None:
        raise UserError(f"{beside} is missing: set model.vocab to the vocabulary that {checkpoint} was trained with")
    weight, k = _tuned(config, None)
    return _with_folder(
        IndexSource(Path(), config, checkpoint, vocabulary, weight, config.eval.rewrite_image, k), folder
    )


def _with_folder(source: IndexSource, folder: Path | None) -> IndexSource:
    if folder is None or not folder.is_dir():
        raise UserError(f"{folder} is not a folder of photographs")
    return replace(source, folder=folder)


def with_gallery(source: IndexSource, config: Config, split: Literal["val", "test"] = "test") -> IndexSource:
    """Return the source with the photographs and the captions of a split of a data set."""
    data, captions = config.data, Path(config.captions.dir)
    records = of_split(READERS[data.name](Path(data.root)), split, source=data.root)
    file = query_file(captions, data.name, split)
    texts = read_test_texts(file) if file.is_file() else {}
    root = Path(str(records[0].path).removesuffix(records[0].name))
    return replace(
        source,
        folder=root,
        names=[record.name for record in records],
        texts={name: own.caption for name, own in texts.items() if own.caption},
    )


class _Tuned(BaseModel):
    """What the test of a run found on the validation split, in its metrics.json."""

    msm_weight: Fraction = _DRAWN_WEIGHT
    k_test: NonNegativeInt = 0


def _tuned(config: Config, metrics: Path | None) -> tuple[float, int]:
    """Return the weight of the rewrites and k: as configured, or as the run's test found them on validation."""
    found = read_entries(metrics, _Tuned) if metrics and metrics.is_file() else _Tuned()
    weight, k = config.eval.msm_weight, config.eval.k_test
    return found.msm_weight if weight == "val" else weight, found.k_test if k == "val" else k
