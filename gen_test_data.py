"""Describe test images and rewrite their queries (MSM, test side): writes <data>_{test,val}_qwen_gen_captions.json."""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - first, so that Ctrl-C while libraries load ends in one line

# isort: split
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from captioning.captioner import load_captioner, load_rewriter
from captioning.job.plan import add_job_arguments, read_job_options
from captioning.job.run import begin_restart, captioning_job, rewriting_job, run_jobs
from configs.load import add_config_arguments, load_config
from configs.schema import Config
from data.captions import TestTexts, check_same_data, query_file, read_test_texts, write_test_texts
from data.readers import READERS, of_split
from data.records import ImageRecord
from utils.errors import UserError, run_script
from utils.logs import log


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
    rewriter = load_rewriter(backends, config.run.device)
    all_records = READERS[config.data.name](Path(config.data.root))

    def generate(split: Literal["val", "test"]) -> int:
        """Generate the texts of one split, and return the exit status."""
        records = of_split(all_records, split, source=config.data.root)
        file = query_file(Path(config.captions.dir), config.data.name, split)
        texts = read_test_texts(file) if file.exists() else {}
        check_same_data(texts, records, file)
        if begin_restart(file, options):
            texts = {}

        # Existing texts are kept, whatever their origin; only missing ones and those of replaced images are generated.
        captions = {name: own.caption for name, own in texts.items() if own.caption}
        rewrites = existing_rewrites(records, texts)
        missing = {query for (_, query), text in rewrites.items() if not text}
        complete = {query: text for (_, query), text in rewrites.items() if text and query not in missing}
        describe = captioning_job(captioner, backends, records, captions)
        rewrite = rewriting_job(rewriter, backends, [query for _, query in rewrites], complete)

        def write() -> None:
            new_captions, new_rewrites = describe.plan.texts, rewrite.plan.texts
            for record in records:
                own = tuple(rewrites[record.name, query] or new_rewrites.get(query) for query in record.captions)
                if record.name in new_captions or any(own):
                    texts[record.name] = TestTexts(new_captions.get(record.name), own, record.captions)
            write_test_texts(file, records, texts)

        return run_jobs([describe, rewrite], file, options, write=write, command=["gen_test_data.py", *argv])

    return max((generate(split) for split in splits_to_generate(config, all_records)), default=0)


def splits_to_generate(config: Config, records: list[ImageRecord]) -> list[Literal["val", "test"]]:
    """Return the splits whose queries this config evaluates; none for a custom folder without test images.

    Raises:
        UserError: the data set does not have such a split.
    """
    present = {record.split for record in records}
    if "val" in config.eval.rewritten_splits and "val" not in present:
        keys = ", ".join(f"eval.{name}" for name in config.eval.tuned_on_val or ["select_weight"])
        raise UserError(f"{keys}: {config.data.root} has no validation split: set a number (eval.select_weight: 0)")
    if "test" not in present:
        if config.data.name != "custom":
            raise UserError(f"{config.data.root} has no image in its test split")
        log.info(f"{config.data.root} has no test split: there is nothing to describe or rewrite")
    return [split for split in config.eval.rewritten_splits if split in present]


def existing_rewrites(records: list[ImageRecord], texts: dict[str, TestTexts]) -> dict[tuple[str, str], str | None]:
    """Return {(image name, query): its rewrite in the caption file, or None} for every query."""
    return {
        (record.name, query): texts[record.name].rewrite_of(query, number) if record.name in texts else None
        for record in records
        for number, query in enumerate(record.captions)
    }


if __name__ == "__main__":
    run_script(main)
