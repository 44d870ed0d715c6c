"""Describe every training image in one style (MSM, generation): writes <data>_qwen_gen_captions.json."""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - first, so that Ctrl-C while libraries load ends in one line

# isort: split
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from captioning.captioner import load_captioner
from captioning.job.plan import add_job_arguments, read_job_options
from captioning.job.run import begin_restart, captioning_job, run_jobs
from configs.load import add_config_arguments, load_config
from data.captions import check_same_data, read_train_captions, train_file, write_train_captions
from data.readers import READERS, of_split
from utils.errors import run_script


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    add_job_arguments(parser)
    arguments = parser.parse_args(argv)
    options = read_job_options(arguments)
    config = load_config(arguments.config, arguments.overrides)
    backends = config.captioner.allow_all_hosts() if arguments.yes else config.captioner
    captioner = load_captioner(backends, config.run.device)

    records = READERS[config.data.name](Path(config.data.root))
    records = of_split(records, "train", source=config.data.root)
    file = train_file(Path(config.captions.dir), config.data.name)
    captions = read_train_captions(file) if file.exists() else {}
    check_same_data(captions, records, file)
    if begin_restart(file, options):
        captions = {}

    # Existing captions are kept, whatever their origin; only missing ones and those of replaced images are generated.
    job = captioning_job(captioner, backends, records, {name: text for name, text in captions.items() if text})
    return run_jobs(
        [job],
        file,
        options,
        write=lambda: write_train_captions(file, records, job.plan.texts),
        command=["gen_train_data.py", *argv],
    )


if __name__ == "__main__":
    run_script(main)
