"""Check a data set before using it: counts, files, splits and generated texts. Exit status 1 if a check fails."""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - before slow imports

# isort: split
import argparse
from collections.abc import Sequence
from pathlib import Path

from captioning.style.replies import check
from captioning.style.template import Slots, parse
from configs.load import add_config_arguments, load_config
from data.captions import query_file, train_file
from data.check import (
    PUBLISHED,
    Counts,
    check_counts,
    check_evaluable,
    check_files,
    check_splits,
    check_test_texts,
    check_train_captions,
    count_records,
)
from data.readers import READERS
from utils.errors import run_script
from utils.files import as_path
from utils.logs import log

FAILED = 1  # exit status


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=as_path, help="config file, as an alternative to --config")
    add_config_arguments(parser)
    arguments = parser.parse_args(argv)
    config = load_config(arguments.file or arguments.config, arguments.overrides)
    name, folder = config.data.name, Path(config.captions.dir)
    records = READERS[name](Path(config.data.root), missing_ok=True)

    counts = count_records(records)
    log.info(f"{name} in {config.data.root}\n\n{format_counts(name, counts)}\n")
    results = [*check_counts(name, counts), *check_splits(name, records), *check_files(records)]
    results += check_train_captions(train_file(folder, name), records, style_errors)
    for split in config.eval.rewritten_splits:
        chosen = [record for record in records if record.split == split]
        results += check_evaluable(chosen, split, optional=name == "custom" and split == "test")
        results += check_test_texts(query_file(folder, name, split), chosen, split, style_errors)
    for result in results:
        log.info(f"{'FAILED' if result.failed else 'ok':<7}{result.message}")
    failures = sum(result.failed for result in results)
    log.info(f"\n{failures} of {len(results)} checks failed" if failures else "\nall checks passed")
    return FAILED if failures else 0


def format_counts(name: str, counts: Counts) -> str:
    """Return a table of the counts of each split, next to the published ones if they differ."""
    lines = [f"{'':<6}{'images':>20}{'people':>20}{'sentences':>20}"]
    for split, found in counts.items():
        pairs = zip(found, PUBLISHED.get(name, {}).get(split, found), strict=True)
        cells = [f"{count:,}" if count == published else f"{count:,} of {published:,}" for count, published in pairs]
        lines.append(f"{split:<6}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def style_errors(text: str) -> list[str]:
    """Return the reasons why a generated text does not follow the caption template."""
    return check(text) or ([] if parse(text) != Slots() else ["no part of the template"])


if __name__ == "__main__":
    run_script(main)
