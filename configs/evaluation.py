"""The arguments of test.py, and the config, checkpoint and folders that they select."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from configs.load import add_config_arguments, load_config
from configs.schema import Config
from utils.errors import UserError
from utils.files import as_path, read_object
from utils.hub import find_weights


@dataclass(frozen=True)
class EvaluationTarget:
    """What to evaluate, on which data, and where to write the results.

    Attributes:
        config: the resolved config; its data, captions and captioner are those of `--on` if given.
        run_config: the config of the run; weight and k are tuned on the validation split of its data.
        checkpoint: the weights.
        output: the folder for the results.
    """

    config: Config
    run_config: Config
    checkpoint: Path
    output: Path

    @property
    def trained_on(self) -> str | None:
        """Name of the data set that the run was trained on, if `--on` selects another."""
        return None if self.config is self.run_config else self.run_config.data.name

    @property
    def vocabulary(self) -> str | Path:
        """The vocabulary of the checkpoint: vocab.txt next to it, or else `model.vocab`."""
        file = self.checkpoint.parent / "vocab.txt"
        if file.is_file():
            return file
        if self.config.model.vocab is None:
            raise UserError(
                f"{file} is missing: set model.vocab to the vocabulary that {self.checkpoint} was trained with"
            )
        return self.config.model.vocab

    @property
    def selected_on(self) -> str:
        """The split on which the epoch was selected; "not known" unless it is the best epoch of a run folder."""
        stamp = self.checkpoint.parent / "run.json"
        known = stamp.is_file() and self.checkpoint.name == "best.pth"
        return str(read_object(stamp).get("eval.select")) if known else "not known"


def parse_arguments(argv: Sequence[str] | None, description: str | None) -> argparse.Namespace:
    """Parse the arguments of test.py."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog="a released checkpoint: test.py --checkpoint checkpoint_best.pth --config configs/cuhk_pedes.yaml",
    )
    parser.add_argument(
        "run", nargs="?", type=as_path, help="run folder, or checkpoint (default: the run folder of the config)"
    )
    parser.add_argument(
        "--checkpoint",
        type=as_path,
        help="weights to test, or a model on the hub (default: best.pth of the run folder)",
    )
    parser.add_argument("--on", type=as_path, metavar="CONFIG", help="test on the data set of this config")
    parser.add_argument(
        "--ablation", action="store_true", help="also evaluate every weight of the rewrites with every k; takes longer"
    )
    parser.add_argument(
        "--distractors",
        nargs="+",
        type=as_path,
        metavar=("DIR", "CAPTIONS"),
        help="add the images of a folder to the gallery, optionally with their captions (a training caption file)",
    )
    parser.add_argument(
        "--by-camera", nargs="?", const="", metavar="PATTERN", help="also evaluate on the gallery of each camera"
    )
    add_config_arguments(parser, default=None)
    arguments = parser.parse_args(argv)
    if arguments.distractors and len(arguments.distractors) > 2:
        raise UserError("--distractors takes a folder and at most one caption file")
    return arguments


def select_target(arguments: argparse.Namespace) -> EvaluationTarget:
    """Resolve the arguments to a target; a run folder implies its config and its best checkpoint.

    Raises:
        UserError: the arguments name no target, two targets, or one that does not exist.
    """
    run: Path | None = arguments.run
    checkpoint: Path | None = arguments.checkpoint
    if run is not None and not run.is_dir():
        if not run.exists():
            raise UserError(f"{run} is neither a run folder nor a checkpoint")
        if checkpoint is not None:
            raise UserError(f"two checkpoints are given: {run} and {checkpoint}")
        run, checkpoint = None, run
    file = arguments.config or (run / "config.yaml" if run else None)
    if file is None:
        raise UserError("nothing to test: name a run folder, or a checkpoint with --config FILE")
    if run and not arguments.config and not file.is_file():
        raise UserError(f"{run} is not a run folder: it has no config.yaml")
    config = load_config(file, [*arguments.overrides, *([f"run.dir={run}"] if run else [])])
    output = folder = Path(config.run.dir)
    checkpoint = find_weights(checkpoint) if checkpoint else folder / "best.pth"
    if not checkpoint.is_file():
        raise UserError(f"{checkpoint} is missing: train first (train.py --config {file}), or name a checkpoint")
    if checkpoint.resolve().parent == folder.resolve():
        if checkpoint.name != "best.pth":  # the run folder itself holds the results of the best epoch
            output = folder / checkpoint.stem
    elif (folder / "last.pth").exists():
        raise UserError(f"{folder} holds another run: set run.dir to a folder for the results of {checkpoint}")
    tested = config
    if arguments.on:
        other = load_config(arguments.on)
        tested = replace(config, data=other.data, captions=other.captions, captioner=other.captioner)
        output /= f"on_{arguments.on.stem}"
    if arguments.distractors:
        output /= f"with_{arguments.distractors[0].resolve().name}"
    return EvaluationTarget(tested, config, checkpoint, output)
