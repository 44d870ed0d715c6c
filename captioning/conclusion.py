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
from captioning.options import Options, journal_file, restart_mark, restarting, shard_journals
from utils.errors import UserError
from utils.files import atomic_write, write_text

_SHOWN = 5  # failures that are told one by one
INCOMPLETE = 3  # exit status: all was done that could be, and something failed


def begin_restart(file: Path) -> None:
    """Put a caption file and its journal aside, so that all is asked anew; a restart that was begun goes on.

    The caption file stays where it is until the new one is whole.
    """
    if restarting(file):
        return
    number = 1
    while any(_before(path, number).exists() for path in (file, journal_file(file))):
        number += 1
    if file.is_file():
        with atomic_write(_before(file, number)) as aside:
            shutil.copyfile(file, aside)
    for path in (journal_file(file), *shard_journals(file)):
        if path.is_file():
            with Journal(path):  # nobody is writing to it
                path.replace(_before(path, number))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(restart_mark(file), "All captions are being asked anew: see --restart.\n")


def end_restart(file: Path) -> None:
    """The new caption file is whole."""
    restart_mark(file).unlink(missing_ok=True)


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
            print(" ".join(f"no {errand.what[:-1]} for {subject}: {problem}".split()), file=sys.stderr)
        nothing = sum(answer.problem == NOTHING for answer in errand.answers.values())
        if nothing:
            print(f"{nothing} {errand.of} stay as they are: each {NOTHING}", file=sys.stderr)
    failed = [f"{len(errand.failed)} {errand.of}" for errand in errands if errand.failed]
    if failed:
        again = [argument for argument in (sys.argv[1:] if arguments is None else arguments) if argument != "--restart"]
        command = shlex.join(["python", script, *again])
        print(f"{' and '.join(failed)} failed and are left out; ask for just those again: {command}", file=sys.stderr)
    left = not options.shard and any(errand.left for errand in errands)
    if left:
        print("some parts are not done yet: run those with --shard I/N, and then --merge again", file=sys.stderr)
    return INCOMPLETE if failed or left else 0


def _before(path: Path, number: int) -> Path:
    stem, dot, rest = path.name.partition(".")
    return path.with_name(f"{stem}.before-{number}{dot}{rest}")
