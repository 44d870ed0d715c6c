"""Which settings and which weights a test is of."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from configs.load import add_config_arguments, load_config
from configs.schema import Config
from utils.errors import UserError
from utils.files import read_json


@dataclass(frozen=True)
class Tested:
    """What is tested, on what, and where the figures go.

    Attributes:
        config: the settings; of another data set, where it is tested on one.
        own: the settings of the run, whose validation split chooses what is chosen.
        checkpoint: the weights.
        run: the folder that they were trained in, or of the figures where nobody knows.
        folder: where the figures go.
        trained_on: name of the data set that the run learnt from, where it is another than the one tested on.
    """

    config: Config
    own: Config
    checkpoint: Path
    run: Path
    folder: Path
    trained_on: str | None

    @property
    def vocabulary(self) -> str | Path:
        """The vocabulary that belongs to the checkpoint: the one beside it, else the configured one."""
        beside = self.checkpoint.parent / "vocab.txt"
        if beside.is_file():
            return beside
        if self.config.model.vocab is None:
            raise UserError(
                f"model.vocab is not set and there is no {beside}: which vocabulary was {self.checkpoint} made with?"
            )
        return self.config.model.vocab

    @property
    def chosen_on(self) -> str:
        """The split on which the checkpoint was chosen, where its run folder says so; others than the best are not."""
        stamp = self.checkpoint.parent / "run.json"
        known = stamp.is_file() and self.checkpoint.name == "best.pth"
        return str(read_json(stamp).get("eval.select")) if known else "not known"


def parse_test_arguments(argv: Sequence[str] | None, description: str | None) -> argparse.Namespace:
    """What test.py takes: `[RUN] [--checkpoint FILE] [--on CONFIG]`, a config's own arguments, and what else to do."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog="a released checkpoint: test.py --checkpoint checkpoint_best.pth --config configs/cuhk_pedes.yaml",
    )
    parser.add_argument(
        "run", nargs="?", type=Path, help="run folder, or checkpoint (default: the config's run folder)"
    )
    parser.add_argument("--checkpoint", type=Path, help="weights to test (default: best.pth of the run folder)")
    parser.add_argument(
        "--on", type=Path, metavar="CONFIG", help="test on the data set of this config instead of the run's own"
    )
    parser.add_argument("--ablation", action="store_true", help="the figures at every weight and every k; takes longer")
    parser.add_argument(
        "--distractors",
        nargs="+",
        type=Path,
        metavar=("DIR", "CAPTIONS"),
        help="add a folder's photographs to the gallery, with a training caption file of theirs if there is one",
    )
    parser.add_argument(
        "--by-camera", nargs="?", const="", metavar="PATTERN", help="figures of one camera's gallery at a time, too"
    )
    add_config_arguments(parser, default=None)
    given = parser.parse_args(argv)
    if given.distractors and len(given.distractors) > 2:
        raise UserError("--distractors takes a folder, and after it at most one file of captions")
    return given


def choose(arguments: argparse.Namespace) -> Tested:
    """What the arguments name: a run folder brings settings and weights.

    Raises:
        UserError: they name nothing, two things, or what is not there.
    """
    run: Path | None = arguments.run
    checkpoint: Path | None = arguments.checkpoint
    if run is not None and not run.is_dir():
        if not run.exists():
            raise UserError(f"{run} is neither a run folder nor a checkpoint")
        if checkpoint is not None:
            raise UserError(f"which checkpoint: {run} or {checkpoint}?")
        run, checkpoint = None, run
    file = arguments.config or (run / "config.yaml" if run else None)
    if file is None:
        raise UserError("say what to test: a run folder, or a checkpoint with --config FILE")
    if run and not arguments.config and not file.is_file():
        raise UserError(f"{run} is no run folder: it has no config.yaml")
    overrides = [*arguments.overrides, *([f"run.dir={run}"] if run else [])]
    own = config = load_config(file, overrides)
    folder = Path(config.run.dir)
    checkpoint = checkpoint or folder / "best.pth"
    if not checkpoint.is_file():
        raise UserError(f"{checkpoint} is missing: train first (train.py --config {file}), or name a checkpoint")
    if (folder / "last.pth").exists() and checkpoint.resolve().parent != folder.resolve():
        raise UserError(f"{folder} holds another run: set run.dir to a folder for the figures of {checkpoint}")
    figures = folder
    if checkpoint.resolve().parent == folder.resolve() and checkpoint.name != "best.pth":
        figures /= checkpoint.stem  # those of the run are its best epoch's
    if not arguments.on:
        return Tested(own, own, checkpoint, folder, figures, None)
    other = load_config(arguments.on)
    config = replace(own, data=other.data, captions=other.captions, captioner=other.captioner)
    return Tested(config, own, checkpoint, folder, figures / f"on_{arguments.on.stem}", own.data.name)
