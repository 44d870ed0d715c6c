"""Checks of a data set: its counts, files and splits, and the texts that were generated for it.

`python -m data.check CONFIG` runs check_data.py.
"""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - before slow imports

# isort: split
import runpy
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import get_args

from data.captions import TestTexts, read_test_texts, read_train_captions
from data.images import find_broken
from data.records import ImageRecord, Split
from utils.progress import progress

_SHOWN = 3  # examples in a message

Counts = dict[str, tuple[int, int, int]]
"""{split: (images, people, sentences)}."""
# Li et al., CVPR 2017 (CUHK-PEDES); Ding et al., 2021 (ICFG-PEDES); Zhu et al., ACM MM 2021 (RSTPReid).
PUBLISHED: dict[str, Counts] = {
    "cuhk_pedes": {"train": (34054, 11003, 68126), "val": (3078, 1000, 6158), "test": (3074, 1000, 6156)},
    "icfg_pedes": {"train": (34674, 3102, 34674), "val": (0, 0, 0), "test": (19848, 1000, 19848)},
    "rstpreid": {"train": (18505, 3701, 37010), "val": (1000, 200, 2000), "test": (1000, 200, 2000)},
}
NUMBERED_BY_SPLIT = {"icfg_pedes"}  # its images are from MSMT17, which numbers the people of each split separately


@dataclass(frozen=True)
class CheckResult:
    """The result of one check: whether the data set fails it, and one line that describes it."""

    failed: bool
    message: str


def count_records(records: Sequence[ImageRecord]) -> Counts:
    """Count the images, known people and sentences of each split."""
    counts = {}
    for split in get_args(Split):
        chosen = [record for record in records if record.split == split]
        people = {record.person_id for record in chosen} - {-1}
        counts[split] = (len(chosen), len(people), sum(len(record.captions) for record in chosen))
    return counts


def check_counts(name: str, counts: Counts) -> Iterator[CheckResult]:
    """Compare counts with the published ones, if there are any."""
    if name not in PUBLISHED:
        return
    wrong = [
        f"{split} has {count:,} {what} instead of {published:,}"
        for split, found in counts.items()
        for what, count, published in zip(("images", "people", "sentences"), found, PUBLISHED[name][split], strict=True)
        if count != published
    ]
    if wrong:
        yield CheckResult(True, f"counts differ from those of {name}: {'; '.join(wrong)}")
    else:
        yield CheckResult(False, f"counts are those of {name}")


def check_splits(name: str, records: Sequence[ImageRecord]) -> Iterator[CheckResult]:
    """Check that no person is in two splits. (Entries of one image are merged, or refused if they contradict.)"""
    in_split = {(record.person_id, record.split) for record in records if record.person_id >= 0}
    shared = sorted(person for person, splits in Counter(person for person, _ in in_split).items() if splits > 1)
    if name in NUMBERED_BY_SPLIT and shared:
        yield CheckResult(False, f"{len(shared):,} ids are in several splits, each of which has its own ids")
    else:
        yield _check_none(shared, "person ids are in several splits", "no person id is in several splits")


def check_files(records: Sequence[ImageRecord]) -> Iterator[CheckResult]:
    """Check that every image exists and can be decoded, and that no file is in two splits, by its bytes."""
    existing = [record for record in records if record.path.is_file()]
    missing = [record.name for record in records if not record.path.is_file()]
    broken = find_broken(existing, what="images")
    yield _check_none(missing, "images are missing", "every image exists")
    yield _check_none(list(broken.values()), "images cannot be read", "every image can be read")
    by_hash: dict[bytes, list[ImageRecord]] = defaultdict(list)
    for record in progress(existing, total=len(existing), desc="comparing files", unit="image"):
        if record.name not in broken:
            by_hash[blake2b(record.path.read_bytes(), digest_size=16).digest()].append(record)
    across_splits, copies = [], 0
    for same in by_hash.values():
        if len({record.split for record in same}) > 1:
            across_splits.append(" = ".join(record.name for record in same[:_SHOWN]))
        else:
            copies += len(same) - 1
    yield _check_none(across_splits, "image files are in two splits", "no image file is in two splits")
    if copies:
        yield CheckResult(False, f"{copies:,} images are copies of another in their split")


def check_evaluable(records: Sequence[ImageRecord], split: str, *, optional: bool) -> Iterator[CheckResult]:
    """Check that the records of a split have queries and person ids; no queries are fine in an `optional` split."""
    if any(record.captions for record in records):
        unknown = [record.name for record in records if record.person_id < 0]
        yield _check_none(unknown, f"{split} images have no person id", f"every {split} image has a person id")
    else:
        yield CheckResult(not optional, f"{split} has no queries, so that it cannot be evaluated")


def check_train_captions(
    file: Path, records: Sequence[ImageRecord], style_errors: Callable[[str], list[str]]
) -> Iterator[CheckResult]:
    """Check that the training images, among all records, have captions, and count those with style errors."""
    captions = read_train_captions(file) if file.is_file() else {}
    texts = [captions.get(record.name) for record in records if record.split == "train"]
    yield from _check_texts(file, "training captions", texts, style_errors, script="gen_train_data.py")


def check_test_texts(
    file: Path, records: Sequence[ImageRecord], split: str, style_errors: Callable[[str], list[str]]
) -> Iterator[CheckResult]:
    """Check that a split's records have captions and rewrites of their queries, and count those with style errors."""
    if not records:
        return
    texts = read_test_texts(file) if file.is_file() else {}
    found = [texts.get(record.name, TestTexts(None, ())) for record in records]
    captions = [generated.caption for generated in found]
    yield from _check_texts(file, f"{split} captions", captions, style_errors, script="gen_test_data.py")
    if file.is_file():
        rewrites = [
            generated.rewrite_of(query, number)
            for generated, record in zip(found, records, strict=True)
            for number, query in enumerate(record.captions)
        ]
        yield from _check_texts(file, f"{split} rewrites", rewrites, style_errors, script="gen_test_data.py")


def _check_texts(
    file: Path, what: str, texts: list[str | None], style_errors: Callable[[str], list[str]], *, script: str
) -> Iterator[CheckResult]:
    if not file.is_file():
        yield CheckResult(True, f"{what}: {file} is missing (run {script})")
        return
    missing = texts.count(None)
    yield CheckResult(False, f"{what}: {len(texts) - missing:,} of {len(texts):,} in {file.name}")
    if missing:
        yield CheckResult(missing == len(texts), f"{what}: {missing:,} are missing (run {script})")
    wrong = [(text, errors) for text in texts if text is not None and (errors := style_errors(text))]
    if wrong:
        text, errors = wrong[0]
        first = f"the first ({', '.join(errors)}) is {text[:80]!r}"
        yield CheckResult(False, f"{what}: {len(wrong):,} have another style, {first}")


def _check_none(wrong: Sequence[object], failure: str, success: str) -> CheckResult:
    if not wrong:
        return CheckResult(False, success)
    more = f" and {len(wrong) - _SHOWN:,} more" if len(wrong) > _SHOWN else ""
    return CheckResult(True, f"{len(wrong):,} {failure}: {', '.join(map(str, wrong[:_SHOWN]))}{more}")


if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).parents[1] / "check_data.py"), run_name="__main__")
