"""Describe every training photograph in one style (MSM, generation): writes <data>_qwen_gen_captions.json."""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - before what takes long to load

# isort: split
import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from captioning.backends import CAPTIONERS, services
from captioning.conclusion import begin_restart, conclude, end_restart, open_journal
from captioning.generate import describing
from captioning.options import add_options, read_options, restarting
from captioning.plan import read_answers
from configs.load import add_config_arguments, load_config
from data.captions import check_same_data, read_train_captions, train_file, write_train_captions
from data.readers import READERS, of_split
from utils.errors import run_script


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    add_options(parser)
    arguments = parser.parse_args(argv)
    options = read_options(arguments)
    config = load_config(arguments.config, arguments.overrides)
    service, _ = services(asdict(config.captioner), config.run.device)
    captioner = CAPTIONERS[config.captioner.backend](service)

    records = READERS[config.data.name](Path(config.data.root))
    records = of_split(records, "train", source=config.data.root)
    file = train_file(Path(config.captions.dir), config.data.name)
    captions = read_train_captions(file) if file.exists() else {}
    check_same_data(captions, records, file)
    if options.restart and not options.dry_run:
        begin_restart(file)
    if options.restart or restarting(file):
        captions = {}  # until all is asked anew

    # Captions that are there stay, whoever made them; only what is missing, or is of another photograph, is asked for.
    errand = describing(captioner, service, records, {name: text for name, text in captions.items() if text})
    past = read_answers(file, options)
    errand.look(past, options)
    if options.dry_run:
        print(f"{file}: {errand.estimate(past, options)}")
        return 0
    if errand.plan.finished:
        print(f"{file}: all {len(records)} training images have captions{errand.plan.by_others(captioner.name)}")
        return 0
    with open_journal(file, options) as journal:
        errand.run(journal, past, options)

    if not options.shard:
        write_train_captions(file, records, errand.plan.kept | errand.made)
        end_restart(file)
    print(f"{journal.path if options.shard else file}: {errand.summary()}")
    return conclude([errand], options, "gen_train_data.py", argv)


if __name__ == "__main__":
    run_script(main)
