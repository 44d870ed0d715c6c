"""What is wrong with a data set: its counts, its files, its splits, and the texts that were generated for it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from data.images import find_broken
from data.records import ImageRecord
from utils.progress import progress

SPLITS = ("train", "val", "test")
_SHOWN = 3  # examples of a fault

# Images, people and sentences of each split: Li et al., CVPR 2017 (CUHK-PEDES); Ding et al., 2021 (ICFG-PEDES); Zhu et
# al., ACM MM 2021 (RSTPReid).
PUBLISHED = {
    "cuhk_pedes": {"train": (34054, 11003, 68126), "val": (3078, 1000, 6158), "test": (3074, 1000, 6156)},
    "icfg_pedes": {"train": (34674, 3102, 34674), "val": (0, 0, 0), "test": (19848, 1000, 19848)},
    "rstpreid": {"train": (18505, 3701, 37010), "val": (1000, 200, 2000), "test": (1000, 200, 2000)},
}

NUMBERED_BY_SPLIT = {"icfg_pedes"}  # its photographs are MSMT17's, which numbers people anew in each split


@dataclass(frozen=True)
class Finding:
    """Something that was looked at.

    Attributes:
        fault: the data are not fit because of it.
        text: one line.
    """

    fault: bool
    text: str


def counts(records: Sequence[ImageRecord]) -> dict[str, tuple[int, int, int]]:
    """Images, known people and sentences of each split."""
    found = {}
    for split in SPLITS:
        own = [record for record in records if record.split == split]
        people = {record.person_id for record in own} - {-1}
        found[split] = (len(own), len(people), sum(len(record.captions) for record in own))
    return found


def compare_counts(name: str, found: dict[str, tuple[int, int, int]]) -> list[Finding]:
    """Against the published statistics, where there are some."""
    if name not in PUBLISHED:
        return []
    wrong = [
        f"{split} has {have:,} {what}, published are {want:,}"
        for split, all_of_it in found.items()
        for what, have, want in zip(("images", "people", "sentences"), all_of_it, PUBLISHED[name][split], strict=True)
        if have != want
    ]
    if wrong:
        return [Finding(True, f"counts are not those of {name}: {'; '.join(wrong)}")]
    return [Finding(False, f"counts are those of {name}")]


def check_splits(name: str, records: Sequence[ImageRecord]) -> list[Finding]:
    """Nobody may be in two splits, and no image may be listed twice."""
    splits: dict[int, set[str]] = defaultdict(set)
    for record in records:
        if record.person_id >= 0:
            splits[record.person_id].add(record.split)
    shared = sorted(person for person, where in splits.items() if len(where) > 1)
    listed = Counter(record.name for record in records)
    twice = sorted(image for image, count in listed.items() if count > 1)
    people = _finding(shared, "people are in more than one split", "nobody is in two splits")
    if name in NUMBERED_BY_SPLIT and shared:
        people = Finding(False, f"{len(shared):,} ids stand in more than one split, which {name} may number by itself")
    return [
        people,
        _finding(twice, "images are listed twice", "no image is listed twice"),
    ]


def check_judged(records: Sequence[ImageRecord], split: str, *, optional: bool) -> list[Finding]:
    """A split that figures are computed on needs queries, and to know who is on each of its images.

    Args:
        records: of the split.
        optional: without queries, there is just nothing to compute.
    """
    if not any(record.captions for record in records):
        return [Finding(not optional, f"{split}: there is no query, so that nothing can be judged")]
    unknown = [record.name for record in records if record.person_id < 0]
    return [_finding(unknown, f"{split} images are of nobody known", f"it is known who is on each {split} image")]


def check_files(records: Sequence[ImageRecord]) -> list[Finding]:
    """Every image is there and can be decoded, and no file stands in two splits, by its bytes."""
    missing = [record for record in records if not record.path.is_file()]
    there = [record for record in records if record.path.is_file()]
    broken = find_broken(there, what="images")
    between, within = [], 0
    for same in _same_bytes([record for record in there if record.name not in broken]):
        if len({record.split for record in same}) > 1:
            between.append(" = ".join(record.name for record in same[:_SHOWN]))
        else:
            within += len(same) - 1
    return [
        _finding([record.name for record in missing], "images are missing", "every image is there"),
        _finding(list(broken.values()), "images cannot be read", "every image can be read"),
        _finding(between, "photographs are in two splits", "no photograph is in two splits"),
        *([Finding(False, f"{within:,} photographs are copies of another of their split")] if within else []),
    ]


def check_texts(
    file: Path, what: str, texts: Iterable[str | None], unfit: Callable[[str], list[str]], *, remedy: str
) -> list[Finding]:
    """How many texts of a caption file there are, are missing, and are unfit."""
    if not file.is_file():
        return [Finding(True, f"{what}: {file} is missing ({remedy})")]
    texts = list(texts)
    missing = sum(text is None for text in texts)
    faults = [(text, problems) for text in texts if text is not None and (problems := unfit(text))]
    found = [Finding(False, f"{what}: {len(texts) - missing:,} of {len(texts):,} in {file.name}")]
    if missing:
        found.append(Finding(missing == len(texts), f"{what}: {missing:,} are missing ({remedy})"))
    if faults:
        text, problems = faults[0]
        shown = f"the first, {', '.join(problems)}: {text[:80]!r}"
        found.append(Finding(False, f"{what}: {len(faults):,} are not in the style, {shown}"))
    return found


def _finding(wrong: Sequence[object], what: str, well: str) -> Finding:
    if not wrong:
        return Finding(False, well)
    rest = f" and {len(wrong) - _SHOWN:,} more" if len(wrong) > _SHOWN else ""
    return Finding(True, f"{len(wrong):,} {what}: {', '.join(map(str, wrong[:_SHOWN]))}{rest}")


def _same_bytes(records: Sequence[ImageRecord]) -> list[list[ImageRecord]]:
    """Groups of two or more files with the same bytes; only files of the same size are read."""
    sizes: dict[int, list[ImageRecord]] = defaultdict(list)
    for record in records:
        sizes[record.path.stat().st_size].append(record)
    alike = [record for group in sizes.values() if len(group) > 1 for record in group]
    groups: dict[bytes, list[ImageRecord]] = defaultdict(list)
    for record in progress(alike, total=len(alike), desc="comparing files", unit="image"):
        groups[blake2b(record.path.read_bytes(), digest_size=16).digest()].append(record)
    return [group for group in groups.values() if len(group) > 1]
