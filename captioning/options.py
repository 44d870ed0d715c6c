"""What the caption scripts take beside a config: how to go on, which part of the work, or only a look at it."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from captioning.journal import Question
from utils.errors import UserError


@dataclass(frozen=True)
class Shard:
    """One of several parts of the work, for jobs side by side.

    Attributes:
        number: from 1.
        of: how many parts there are.
    """

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, question: Question) -> bool:
        """Whether the question belongs to this part; equal images and equal queries belong to the same one."""
        drawn = int.from_bytes(blake2b(question.topic.encode(), digest_size=8).digest(), "big")
        return drawn % self.of == self.number - 1


@dataclass(frozen=True)
class Options:
    """How a caption script goes about its work.

    Attributes:
        restart: ask for everything anew; what is there is put aside.
        keep: take answers of another model, or to other prompts, for what they are.
        shard: the part of the work to do, or None for all of it.
        merge: take the parts together, and ask nothing.
        dry_run: count and estimate, and ask nothing.
    """

    restart: bool = False
    keep: bool = False
    shard: Shard | None = None
    merge: bool = False
    dry_run: bool = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to a script's arguments."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--restart", action="store_true", help="ask for everything anew; what is there is put aside")
    group.add_argument("--keep", action="store_true", help="keep answers of another model or to other prompts")
    parser.add_argument("--shard", metavar="I/N", help="do part I of N, e.g. 3/16; each part has a journal of its own")
    parser.add_argument("--merge", action="store_true", help="take the parts together and write the captions")
    parser.add_argument(
        "--dry-run", action="store_true", help="print counts, and estimated tokens and cost; ask nothing"
    )


def read_options(given: argparse.Namespace) -> Options:
    """The options among a script's arguments.

    Raises:
        UserError: a part that does not exist, or options that exclude one another.
    """
    shard = None
    if given.shard is not None:
        match = re.fullmatch(r"(\d+)/(\d+)", given.shard)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UserError(f"--shard {given.shard}: expected I/N with I from 1 to N, e.g. 3/16")
        shard = Shard(int(match[1]), int(match[2]))
    if shard and given.merge:
        raise UserError("--shard and --merge: do the parts first, then merge them")
    if given.restart and (shard or given.merge):
        raise UserError("--restart does not go with --shard or --merge: set captions.dir to a new folder instead")
    return Options(given.restart, given.keep, shard, given.merge, given.dry_run)


def journal_file(file: Path, shard: Shard | None = None) -> Path:
    """Where the answers of a caption file are, or those of one part of the work."""
    part = f".shard-{shard.number}-of-{shard.of}" if shard else ""
    return file.with_suffix(f"{part}.journal.jsonl")


def restart_mark(file: Path) -> Path:
    """Stands beside a caption file while all of it is being asked anew."""
    return file.with_suffix(".restarting")


def restarting(file: Path) -> bool:
    """Whether a restart was begun and has not come to its end."""
    return restart_mark(file).exists()


def shard_journals(file: Path) -> list[Path]:
    """The journals of all parts that were begun."""
    return sorted(file.parent.glob(f"{file.stem}.shard-*-of-*.journal.jsonl"))
