"""Is a data set fit to be used? Counts, files, splits and generated texts, on one page; exit status 1 where it is not.

python -m data.check configs/cuhk_pedes.yaml
"""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - before what takes long to load

# isort: split
import argparse
from collections.abc import Sequence
from pathlib import Path

from captioning.style import Slots, check, parse
from configs.load import load_config
from data.captions import query_file, read_test_texts, read_train_captions, train_file
from data.inspection import (
    PUBLISHED,
    Finding,
    check_files,
    check_judged,
    check_splits,
    check_texts,
    compare_counts,
    counts,
)
from data.readers import READERS
from data.records import ImageRecord
from utils.errors import run_script

UNFIT = 1  # exit status


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", dest="overrides", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    given = parser.parse_args(argv)
    config = load_config(given.config, given.overrides)
    name, folder = config.data.name, Path(config.captions.dir)
    records = READERS[name](Path(config.data.root), missing_ok=True)

    print(f"{name} in {config.data.root}\n\n{'':<6}{'images':>20}{'people':>20}{'sentences':>20}")
    found = counts(records)
    for split, have in found.items():
        want = PUBLISHED.get(name, {}).get(split, have)
        cells = [f"{one:,}" if one == other else f"{one:,} of {other:,}" for one, other in zip(have, want, strict=True)]
        print(f"{split:<6}" + "".join(f"{cell:>20}" for cell in cells))
    print(flush=True)
    findings = compare_counts(name, found) + check_splits(name, records) + check_files(records)
    findings += training_texts(train_file(folder, name), records)
    for split in config.eval.rewritten_splits:
        own = [record for record in records if record.split == split]
        findings += check_judged(own, split, optional=name == "custom" and split == "test")
        findings += query_texts(query_file(folder, name, split), own, split)
    for finding in findings:
        print(f"{'FAULT' if finding.fault else 'ok':<6}{finding.text}")
    faults = sum(finding.fault for finding in findings)
    print(f"\nnot fit: {faults} {'fault' if faults == 1 else 'faults'}" if faults else "\nfit")
    return UNFIT if faults else 0


def training_texts(file: Path, records: Sequence[ImageRecord]) -> list[Finding]:
    """What was written about the training images."""
    captions = read_train_captions(file) if file.is_file() else {}
    own = [captions.get(record.name) for record in records if record.split == "train"]
    return check_texts(file, "training captions", own, unfit, remedy="gen_train_data.py")


def query_texts(file: Path, records: Sequence[ImageRecord], split: str) -> list[Finding]:
    """What was written about a gallery, and of its queries."""
    if not records:
        return []
    texts = read_test_texts(file) if file.is_file() else {}
    captions = [texts[record.name].caption if record.name in texts else None for record in records]
    rewrites = [
        texts[record.name].rewrite_of(query, number) if record.name in texts else None
        for record in records
        for number, query in enumerate(record.captions)
    ]
    found = check_texts(file, f"{split} captions", captions, unfit, remedy="gen_test_data.py")
    if file.is_file():
        found += check_texts(file, f"{split} rewrites", rewrites, unfit, remedy="gen_test_data.py")
    return found


def unfit(text: str) -> list[str]:
    """What keeps a generated text from being in the one style."""
    return check(text) or ([] if parse(text) != Slots() else ["nothing of the template"])


if __name__ == "__main__":
    run_script(main)
