"""Checks of a data set: its counts, files and splits, and the texts that were generated for it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import get_args

from data.captions import read_test_texts, read_train_captions
from data.images import find_broken
from data.records import ImageRecord, Split
from utils.progress import progress

_SHOWN = 3  # examples in a message

# Images, people and sentences of each split: Li et al., CVPR 2017 (CUHK-PEDES); Ding et al., 2021 (ICFG-PEDES); Zhu et
# al., ACM MM 2021 (RSTPReid).
PUBLISHED = {
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


def count_records(records: Sequence[ImageRecord]) -> dict[str, tuple[int, int, int]]:
    """Count the images, known people and sentences of each split."""
    counts = {}
    for split in get_args(Split):
        chosen = [record for record in records if record.split == split]
        people = {record.person_id for record in chosen} - {-1}
        counts[split] = (len(chosen), len(people), sum(len(record.captions) for record in chosen))
    return counts


def check_counts(name: str, counts: dict[str, tuple[int, int, int]]) -> list[CheckResult]:
    """Compare counts with the published ones, if there are any."""
    if name not in PUBLISHED:
        return []
    wrong = [
        f"{split} has {count:,} {what} instead of {published:,}"
        for split, found in counts.items()
        for what, count, published in zip(("images", "people", "sentences"), found, PUBLISHED[name][split], strict=True)
        if count != published
    ]
    if wrong:
        return [CheckResult(True, f"counts differ from those of {name}: {'; '.join(wrong)}")]
    return [CheckResult(False, f"counts are those of {name}")]


def check_splits(name: str, records: Sequence[ImageRecord]) -> list[CheckResult]:
    """Check that no person is in two splits and no image is listed twice."""
    splits: dict[int, set[str]] = defaultdict(set)
    for record in records:
        if record.person_id >= 0:
            splits[record.person_id].add(record.split)
    shared = sorted(person for person, found in splits.items() if len(found) > 1)
    listed = Counter(record.name for record in records)
    repeated = sorted(image for image, count in listed.items() if count > 1)
    people = _check_none(shared, "person ids are in several splits", "no person id is in several splits")
    if name in NUMBERED_BY_SPLIT and shared:
        people = CheckResult(False, f"{len(shared):,} ids are in several splits, each of which has its own ids")
    return [people, _check_none(repeated, "images are listed twice", "no image is listed twice")]


def check_files(records: Sequence[ImageRecord]) -> list[CheckResult]:
    """Check that every image exists and can be decoded, and that no file is in two splits, by its bytes."""
    missing = [record for record in records if not record.path.is_file()]
    existing = [record for record in records if record.path.is_file()]
    broken = find_broken(existing, what="images")
    across_splits, copies = [], 0
    for same in _identical_files([record for record in existing if record.name not in broken]):
        if len({record.split for record in same}) > 1:
            across_splits.append(" = ".join(record.name for record in same[:_SHOWN]))
        else:
            copies += len(same) - 1
    return [
        _check_none([record.name for record in missing], "images are missing", "every image exists"),
        _check_none(list(broken.values()), "images cannot be read", "every image can be read"),
        _check_none(across_splits, "image files are in two splits", "no image file is in two splits"),
        *([CheckResult(False, f"{copies:,} images are copies of another in their split")] if copies else []),
    ]


def check_evaluable(records: Sequence[ImageRecord], split: str, *, optional: bool) -> list[CheckResult]:
    """Check that the records of a split have queries and person ids; no queries are fine in an `optional` split."""
    if not any(record.captions for record in records):
        return [CheckResult(not optional, f"{split} has no queries, so that it cannot be evaluated")]
    unknown = [record.name for record in records if record.person_id < 0]
    return [_check_none(unknown, f"{split} images have no person id", f"every {split} image has a person id")]


def check_train_captions(
    file: Path, records: Sequence[ImageRecord], style_errors: Callable[[str], list[str]]
) -> list[CheckResult]:
    """Check that the training images, among all records, have captions, and count those with style errors."""
    captions = read_train_captions(file) if file.is_file() else {}
    texts = [captions.get(record.name) for record in records if record.split == "train"]
    return _check_texts(file, "training captions", texts, style_errors, script="gen_train_data.py")


def check_test_texts(
    file: Path, records: Sequence[ImageRecord], split: str, style_errors: Callable[[str], list[str]]
) -> list[CheckResult]:
    """Check that a split's records have captions and rewrites of their queries, and count those with style errors."""
    if not records:
        return []
    texts = read_test_texts(file) if file.is_file() else {}
    captions = [texts[record.name].caption if record.name in texts else None for record in records]
    rewrites = [
        texts[record.name].rewrite_of(query, number) if record.name in texts else None
        for record in records
        for number, query in enumerate(record.captions)
    ]
    results = _check_texts(file, f"{split} captions", captions, style_errors, script="gen_test_data.py")
    if file.is_file():
        results += _check_texts(file, f"{split} rewrites", rewrites, style_errors, script="gen_test_data.py")
    return results


def _check_texts(
    file: Path, what: str, texts: list[str | None], style_errors: Callable[[str], list[str]], *, script: str
) -> list[CheckResult]:
    if not file.is_file():
        return [CheckResult(True, f"{what}: {file} is missing (run {script})")]
    missing = sum(text is None for text in texts)
    wrong = [(text, errors) for text in texts if text is not None and (errors := style_errors(text))]
    results = [CheckResult(False, f"{what}: {len(texts) - missing:,} of {len(texts):,} in {file.name}")]
    if missing:
        results.append(CheckResult(missing == len(texts), f"{what}: {missing:,} are missing (run {script})"))
    if wrong:
        text, errors = wrong[0]
        first = f"the first ({', '.join(errors)}) is {text[:80]!r}"
        results.append(CheckResult(False, f"{what}: {len(wrong):,} have another style, {first}"))
    return results


def _check_none(wrong: Sequence[object], failure: str, success: str) -> CheckResult:
    if not wrong:
        return CheckResult(False, success)
    more = f" and {len(wrong) - _SHOWN:,} more" if len(wrong) > _SHOWN else ""
    return CheckResult(True, f"{len(wrong):,} {failure}: {', '.join(map(str, wrong[:_SHOWN]))}{more}")


def _identical_files(records: Sequence[ImageRecord]) -> list[list[ImageRecord]]:
    """Group files with the same bytes; only files of the same size are read."""
    by_size: dict[int, list[ImageRecord]] = defaultdict(list)
    for record in records:
        by_size[record.path.stat().st_size].append(record)
    candidates = [record for group in by_size.values() if len(group) > 1 for record in group]
    by_hash: dict[bytes, list[ImageRecord]] = defaultdict(list)
    for record in progress(candidates, total=len(candidates), desc="comparing files", unit="image"):
        by_hash[blake2b(record.path.read_bytes(), digest_size=16).digest()].append(record)
    return [group for group in by_hash.values() if len(group) > 1]
