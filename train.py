"""Train TSN: rounds of fused features -> pseudo-labels -> epochs of ITC, ITM and ID losses -> validation."""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - first, so that Ctrl-C while libraries load ends in one line

# isort: split
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from configs.load import add_config_arguments, config_text, load_config, run_identity, upgrade_identity
from configs.schema import Config
from utils.errors import UserError, run_script
from utils.files import write_text
from utils.logs import log

if TYPE_CHECKING:
    import torch


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    arguments = parser.parse_args(argv)
    config = load_config(arguments.config, arguments.overrides)
    batch, per_identity = config.train.batch_size, config.train.images_per_identity
    if per_identity and batch % per_identity:
        raise UserError(f"train.batch_size={batch} is no multiple of train.images_per_identity={per_identity}")
    if config.train.patience and config.eval.select == "last":
        raise UserError(
            f"train.patience={config.train.patience} needs a metric, which eval.select=last does not compute: set "
            "eval.select=val or held_out, or train.patience=null"
        )

    # Imported here, because torch takes seconds to load: --help and errors in the config should not wait for it.
    from utils import distributed
    from utils.device import explain_out_of_memory, pick_device
    from utils.interrupts import exit_cleanly_on_sigterm
    from utils.launch import launch, processes_to_start

    processes = processes_to_start(config.run.processes, config.run.device, batch)
    if processes > 1:
        return launch([sys.executable, __file__, *(sys.argv[1:] if argv is None else argv)], processes)
    device = pick_device(config.run.device)
    with exit_cleanly_on_sigterm(), distributed.process_group(device), explain_out_of_memory():
        train(config, device)
    return 0


def train(config: Config, device: torch.device) -> None:
    """Train all rounds of a run, or the remaining ones of an interrupted run."""
    import torch

    from training.rounds import RoundTrainer
    from training.run_folder import RunFolder
    from training.setup import image_opener, load_training_data, model_factory
    from utils import distributed
    from utils.device import describe_device, pick_precision

    log.info(f"training on {describe_device(device, pick_precision(config.train.precision, device))}")

    # On the CPU, the same seed then gives bit-identical weights, in whatever order threads finish.
    torch.use_deterministic_algorithms(device.type == "cpu")

    # The training pairs, and the queries and gallery on which the best epoch is selected.
    data = load_training_data(config.data, config.captions, config.cluster, config.eval, seed=config.train.seed)

    # The run folder holds everything that is written, and what an interrupted run resumes from.
    identity = run_identity(config) | {"processes": distributed.world_size()} | data.identity()
    run = RunFolder(
        Path(config.run.dir),
        identity,
        config.to_dict(),
        upgrade_identity=upgrade_identity,
        tensorboard=config.run.tensorboard,
    )
    state = run.load_state()
    distributed.run_on_main(lambda: write_text(run.path / "config.yaml", config_text(config)))

    # Rounds of clustering and training, from the initial weights or from the saved state.
    models = model_factory(config.model, config.train, data.pairs.texts, run.path / "vocab.txt", device)
    opener = image_opener(data, config.model, config.train, run.path)
    trainer = RoundTrainer(
        run, data, models, opener, cluster=config.cluster, train=config.train, evaluation=config.eval, device=device
    )
    trainer.train_rounds(state)


if __name__ == "__main__":
    run_script(main)
