"""One try: a copy of real files, a few of them mutated, and a command that reads them."""

from __future__ import annotations

import io
import os
import random
import re
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

from tests.hostile.mutations import mutate_file
from utils.errors import UserError

KEY = "sk-hostile-0123456789abcdef"  # must not turn up anywhere
SECONDS = 30  # of processor time that a try may take, and a tenth of those that it may wait on a busy machine
_PLACES = re.compile(r"0x[0-9a-f]{6,}")


@dataclass(frozen=True)
class Target:
    """A command and the files that it reads.

    Attributes:
        name: of the target.
        reads: patterns of the files, relative to the folder of the try, that may be mutated.
        run: runs the command on the folder of the try and returns the exit status.
        writes: names in the folder that the command may create or change.
        copies: names in the folder of originals that a try needs.
    """

    name: str
    reads: tuple[str, ...]
    run: Callable[[Path], int | None]
    writes: tuple[str, ...]
    copies: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What came of a try.

    Attributes:
        kind: "success", "error" (one line, status 2), or "finding", which is a fault of the program.
        detail: the line, or what is wrong.
        changes: what was done to the files.
    """

    kind: Literal["success", "error", "finding"]
    detail: str
    changes: tuple[str, ...] = ()


class TookTooLongError(Exception):
    """A try took longer than `SECONDS`."""


def try_once(target: Target, originals: Path, workspace: Path, seed: int) -> Outcome:
    """Mutate copies of a target's files, run it, and judge what happened.

    Args:
        originals: folder of unharmed files, which stays as it is.
        workspace: an empty folder, which is emptied again.
        seed: determines the mutations.
    """
    chance = random.Random(f"{target.name} {seed}")
    folder = workspace / "try"
    for name in target.copies:
        copy = shutil.copytree if (originals / name).is_dir() else shutil.copy
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy(originals / name, folder / name)
    files = sorted({file for pattern in target.reads for file in folder.glob(pattern) if file.is_file()})
    changes = tuple(mutate_file(chance.choice(files), chance) for _ in range(chance.choice((1, 1, 1, 2, 4))))
    before = _snapshot(workspace, target.writes)
    outcome = _run(target, folder)
    problem = _problem_on_disk(workspace, target, before) if outcome.kind != "finding" else ""
    shutil.rmtree(workspace)
    workspace.mkdir()
    return Outcome("finding" if problem else outcome.kind, problem or outcome.detail, changes)


def _run(target: Target, folder: Path) -> Outcome:
    stream = io.StringIO()
    try:
        with redirect_stdout(stream), redirect_stderr(stream), _time_limit(), _environment():
            status = target.run(folder) or 0
    except UserError as error:
        line = str(error)
        if "\n" in line or not line.strip() or "Traceback" in line:
            return Outcome("finding", f"not one line: {line[:400]!r}")
        outcome = Outcome("error", line)
    except SystemExit as left:  # of argparse, after a line on how to use the command
        outcome = Outcome("error" if left.code == 2 else "finding", f"exit status {left.code}")
    except (Exception, RecursionError) as error:
        where = "".join(traceback.format_exception(error)[-4:])
        return Outcome("finding", f"{type(error).__name__}: {_PLACES.sub('0x', where)[-1200:]}")
    else:
        outcome = Outcome("success", f"status {status}")
    said = stream.getvalue() + outcome.detail
    if KEY in said:
        return Outcome("finding", "the key is in the output")
    return Outcome("finding", f"a traceback: {said[-800:]}") if "Traceback (most recent" in said else outcome


def _snapshot(workspace: Path, writes: tuple[str, ...]) -> dict[str, bytes]:
    """Contents of all files of the workspace, except those that the command may write."""
    kept = {}
    for path in sorted(workspace.rglob("*")):
        name = path.relative_to(workspace).as_posix()
        if path.is_file() and not any(name.startswith(f"try/{allowed}") for allowed in writes):
            kept[name] = path.read_bytes()
    return kept


def _problem_on_disk(workspace: Path, target: Target, before: dict[str, bytes]) -> str:
    after = _snapshot(workspace, target.writes)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        return f"files changed that were not named: {', '.join(changed[:5])}"
    leaks = [path.name for path in workspace.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    partial = [path.name for path in workspace.rglob("*.partial")]
    return f"the key is in {leaks[0]}" if leaks else f"{partial[0]} was left" if partial else ""


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TookTooLongError(f"more than {SECONDS} s")

    limits = ((signal.SIGPROF, signal.ITIMER_PROF, SECONDS), (signal.SIGALRM, signal.ITIMER_REAL, 10 * SECONDS))
    former = {number: signal.signal(number, stop) for number, _, _ in limits}
    for _, timer, seconds in limits:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for number, timer, _ in limits:
            signal.setitimer(timer, 0)
            signal.signal(number, former[number])


@contextmanager
def _environment() -> Iterator[None]:
    former = os.environ.get("OPENAI_API_KEY")
    os.environ["OPENAI_API_KEY"] = KEY
    try:
        yield
    finally:
        os.environ.pop("OPENAI_API_KEY")
        if former is not None:
            os.environ["OPENAI_API_KEY"] = former
