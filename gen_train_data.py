"""Describe every training photograph in one style (MSM, generation): writes <data>_qwen_gen_captions.json."""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - before what takes long to load

# isort: split
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from captioning.backends import CAPTIONERS
from captioning.generate import describe_images, outdated
from captioning.journal import Journal
from configs.load import add_config_arguments, load_config
from data.captions import check_same_data, read_train_captions, train_file, write_train_captions
from data.readers import READERS, of_split
from utils.errors import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    arguments = parser.parse_args(argv)
    config = load_config(arguments.config, arguments.overrides)

    records = READERS[config.data.name](Path(config.data.root))
    records = of_split(records, "train", source=config.data.root)
    file = train_file(Path(config.captions.dir), config.data.name)
    captions = read_train_captions(file) if file.exists() else {}
    check_same_data(captions, records, file)

    # Captions that are there stay, whoever made them; only what is missing, or is of another photograph, is asked for.
    journal_file = file.with_suffix(".journal.jsonl")
    texts = {name: text for name, text in captions.items() if text}
    for name in outdated(records, texts, journal_file):
        del texts[name]
    missing = [record for record in records if record.name not in texts]
    if not missing:
        print(f"{file}: all {len(records)} training images have captions")
        return
    captioner = CAPTIONERS[config.captioner.backend](config.captioner.concurrency)
    with Journal(journal_file) as journal:
        answers = describe_images(captioner, missing, journal)
    for name, answer in answers.items():
        if answer.text is None:
            print(f"no caption for {name}: {answer.problem}", file=sys.stderr)

    made = {name: answer.text for name, answer in answers.items() if answer.text is not None}
    write_train_captions(file, records, texts | made)
    failed = len(answers) - len(made)
    print(f"{file}: {len(made)} captions by {captioner.name}" + (f", {failed} images failed" if failed else ""))


if __name__ == "__main__":
    run_script(main)
