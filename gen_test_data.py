"""Describe the test photographs and rewrite the queries (MSM, test side): writes <data>_test_qwen_gen_captions.json."""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - before what takes long to load

# isort: split
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from captioning.backends import CAPTIONERS, REWRITERS
from captioning.generate import describe_images, outdated, rewrite_queries
from captioning.journal import Journal
from configs.load import add_config_arguments, load_config
from data.captions import TestTexts, check_same_data, read_test_texts, test_file, write_test_texts
from data.readers import READERS, of_split
from utils.errors import UserError, run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    arguments = parser.parse_args(argv)
    config = load_config(arguments.config, arguments.overrides)

    every = READERS[config.data.name](Path(config.data.root))
    if config.data.name == "custom" and not any(record.split == "test" for record in every):
        print(f"{config.data.root} has no test split: there is nothing to describe or rewrite")
        return
    records = of_split(every, "test", source=config.data.root)
    file = test_file(Path(config.captions.dir), config.data.name)
    texts = read_test_texts(file) if file.exists() else {}
    check_same_data(texts, records, file)

    # What is there stays, whoever wrote it; only what is missing, or is of another photograph, is asked for.
    journal_file = file.with_suffix(".journal.jsonl")
    captions = {name: own.caption for name, own in texts.items() if own.caption}
    for name in outdated(records, captions, journal_file):
        del captions[name]
    rewrites = {
        (record.name, query): own.rewrite_of(query, number)
        for record in records
        if (own := texts.get(record.name))
        for number, query in enumerate(record.captions)
    }
    undescribed = [record for record in records if record.name not in captions]
    unwritten = [query for record in records for query in record.captions if not rewrites.get((record.name, query))]
    if not undescribed and not unwritten:
        print(f"{file}: all {len(records)} test images have captions, and all their queries rewrites")
        return
    captioner = CAPTIONERS[config.captioner.backend](config.captioner.concurrency)
    rewriter = REWRITERS[config.captioner.rewriter](config.captioner.concurrency)
    with Journal(journal_file) as journal:
        described = describe_images(captioner, undescribed, journal)
        rewritten = rewrite_queries(rewriter, unwritten, journal)

    for name, answer in described.items():
        if answer.text is None:
            raise UserError(f"test image {name}: {answer.problem}: every gallery image counts, so mend or replace it")
        captions[name] = answer.text
    failed = [query for query, answer in rewritten.items() if answer.text is None]
    if failed:
        print(
            f"{len(failed)} queries could not be rewritten and stay as they are, first {failed[0]!r}", file=sys.stderr
        )
    for record in records:
        own_rewrites = [rewrites.get((record.name, query)) or rewritten[query].text for query in record.captions]
        texts[record.name] = TestTexts(captions[record.name], tuple(own_rewrites), record.captions)
    write_test_texts(file, records, texts)
    print(
        f"{file}: {len(described)} captions by {captioner.name}, {len(rewritten) - len(failed)} rewrites of "
        f"{len(rewritten)} queries by {rewriter.name}"
    )


if __name__ == "__main__":
    run_script(main)
