"""The ends of a caption script's work: putting aside what is made anew, and telling what failed."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from captioning.captioner import NOTHING
from captioning.generate import Errand
from captioning.journal import Journal
from captioning.options import Options, journal_file, shard_journals
from utils.errors import UserError
from utils.files import written_aside

_SHOWN = 5  # failures that are told one by one
INCOMPLETE = 3  # exit status: all was done that could be, and something failed


def put_aside(file: Path) -> None:
    """Copy a caption file, and move its journal, to names of their own, so that all can be asked anew."""
    number = 1
    while any(_before(path, number).exists() for path in (file, journal_file(file))):
        number += 1
    if file.is_file():
        with written_aside(_before(file, number)) as aside:
            shutil.copyfile(file, aside)
    if journal_file(file).is_file():
        with Journal(journal_file(file)):  # nobody is writing to it
            journal_file(file).replace(_before(journal_file(file), number))


def open_journal(file: Path, options: Options) -> Journal:
    """The journal of this run, with the answers of all parts where they are to be merged.

    Raises:
        UserError: another process has it, or there are no parts to merge.
    """
    journal = Journal(journal_file(file, options.shard))
    if options.merge:
        parts = shard_journals(file)
        if not parts:
            raise UserError(f"--merge: there is no journal of a part beside {file}: run with --shard I/N first")
        taken = sum(journal.absorb(part) for part in parts)
        print(f"{journal.path}: {taken} answers taken from {len(parts)} parts")
    return journal


def conclude(errands: Sequence[Errand], options: Options, script: str, arguments: Sequence[str] | None) -> int:
    """Tell on stderr what failed and how to ask for just that again; return the exit status.

    Args:
        script, arguments: the command that was given; None: of this process.
    """
    for errand in errands:
        for subject, problem in list(errand.failed.items())[:_SHOWN]:
            print(f"no {errand.what[:-1]} for {subject}: {problem}", file=sys.stderr)
        nothing = sum(answer.problem == NOTHING for answer in errand.answers.values())
        if nothing:
            print(f"{nothing} {errand.of} stay as they are: each {NOTHING}", file=sys.stderr)
    failed = [f"{len(errand.failed)} {errand.of}" for errand in errands if errand.failed]
    if failed:
        again = [argument for argument in (sys.argv[1:] if arguments is None else arguments) if argument != "--restart"]
        command = shlex.join(["python", script, *again])
        print(f"{' and '.join(failed)} failed and are left out; ask for just those again: {command}", file=sys.stderr)
    left = not options.shard and any(errand.left for errand in errands)
    return INCOMPLETE if failed or left else 0


def _before(path: Path, number: int) -> Path:
    stem, dot, rest = path.name.partition(".")
    return path.with_name(f"{stem}.before-{number}{dot}{rest}")
