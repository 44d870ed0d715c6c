"""Describe the test photographs and rewrite the queries (MSM, test side): writes <data>_test_qwen_gen_captions.json."""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - before what takes long to load

# isort: split
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from captioning.backends import CAPTIONERS, REWRITERS
from captioning.generate import describe_images, rewrite_queries
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

    records = READERS[config.data.name](Path(config.data.root))
    records = of_split(records, "test", source=config.data.root)
    file = test_file(Path(config.captions.dir), config.data.name)
    texts = read_test_texts(file) if file.exists() else {}
    check_same_data(texts, records, file)

    missing = [record for record in records if record.name not in texts]
    if not missing:
        print(f"{file}: all {len(records)} test images have captions")
        return
    captioner = CAPTIONERS[config.captioner.backend](config.captioner.concurrency)
    rewriter = REWRITERS[config.captioner.rewriter](config.captioner.concurrency)
    with Journal(file.with_suffix(".journal.jsonl")) as journal:
        captions = describe_images(captioner, missing, journal)
        queries = [query for record in missing for query in record.captions]
        rewrites = rewrite_queries(rewriter, queries, journal)

    for name, answer in captions.items():
        if answer.text is None:
            raise UserError(f"test image {name}: {answer.problem}: every gallery image counts, so mend or replace it")
    failed = [query for query, answer in rewrites.items() if answer.text is None]
    if failed:
        print(
            f"{len(failed)} queries could not be rewritten and stay as they are, first {failed[0]!r}", file=sys.stderr
        )
    for record in missing:
        own = tuple(rewrites[query].text for query in record.captions)
        texts[record.name] = TestTexts(captions[record.name].text, own)
    write_test_texts(file, records, texts)
    print(
        f"{file}: {len(captions)} captions by {captioner.name}, {len(rewrites) - len(failed)} rewrites of "
        f"{len(rewrites)} queries by {rewriter.name}"
    )


if __name__ == "__main__":
    run_script(main)
