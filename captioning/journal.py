"""Every answer on disk as it comes, so that nothing is paid for twice, whatever is killed and whenever."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path

from captioning.captioner import Answer
from utils.errors import UserError

Source = tuple[str, str]
"""Who answered, and with which prompts."""

_SECONDS = 1.0  # between two times that the disk itself is waited for


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked: its subject, and what the answer depends on.

    Attributes:
        subject: an image's name, or a query.
        content: hash of the image's file; empty for a query, which is its own content.
        by: who answers ("palette 2").
        prompt: version of the prompts and the template.
        size: of the image's file in bytes, for the record.
    """

    subject: str
    content: str
    by: str
    prompt: str
    size: int = field(default=0, compare=False)

    @property
    def source(self) -> Source:
        """Who is to answer, and with which prompts."""
        return self.by, self.prompt

    @property
    def topic(self) -> str:
        """What it is about: the same for two files with the same bytes, whatever they are called."""
        return self.content or self.subject


_QUESTION = tuple(field.name for field in fields(Question))
_ANSWER = tuple(field.name for field in fields(Answer))


class Answers:
    """What a journal holds: the last answer to each question that settles it."""

    def __init__(self) -> None:
        self._settled: dict[str, dict[Source, Answer]] = {}
        self._failed: set[str] = set()
        self._said_of: dict[tuple[str, str], list[tuple[str, Source]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._settled.values()))

    def add(self, question: Question, answer: Answer) -> None:
        """Take note of an answer; of failures no more than that there was one, since they are asked again."""
        if not answer.settled:
            self._failed.add(question.topic)
        else:
            self._settled.setdefault(question.topic, {})[question.source] = answer
            self._said_of.setdefault((question.subject, answer.text or ""), []).append(
                (question.content, question.source)
            )

    @property
    def rewriters(self) -> set[str]:
        """Who answered queries, which unlike photographs have no content but themselves."""
        return {by for said in self._said_of.values() for content, (by, _) in said if not content}

    def of(self, question: Question) -> Answer | None:
        """The answer to this very question: the same bytes or words, by the same model, with the same prompts."""
        return self._settled.get(question.topic, {}).get(question.source)

    def failed(self, question: Question) -> bool:
        """Whether it was asked before, by anybody, and failed."""
        return question.topic in self._failed

    def by_others(self, question: Question) -> tuple[Source, Answer] | None:
        """The last answer to the same question by another model, or with other prompts."""
        found = [(source, answer) for source, answer in self._settled.get(question.topic, {}).items()]
        return next((other for other in reversed(found) if other[0] != question.source), None)

    def origins(self, subject: str, text: str) -> list[tuple[str, Source]]:
        """Where a text about a subject comes from: (hash of the image, source), the newest last; empty if unknown."""
        return self._said_of.get((subject, text), [])

    def mean_tokens(self, questions: Sequence[Question]) -> tuple[float, float] | None:
        """Tokens read and written for one of these, on the average of those answered; None where none was counted."""
        counted = [answer for question in questions if (answer := self.of(question)) and answer.prompt_tokens]
        if not counted:
            return None
        read, written = sum(a.prompt_tokens for a in counted), sum(a.reply_tokens for a in counted)
        return read / len(counted), written / len(counted)


def read_journal(path: Path) -> tuple[Answers, int]:
    """Every answer of a journal, and how many bytes its whole lines have; nothing where there is no such file.

    Raises:
        UserError: a line in the middle is damaged, or the file cannot be read.
    """
    answers, whole, number = Answers(), 0, 0
    try:
        with path.open("rb") as file:
            for line in file:
                number += 1
                if not line.endswith(b"\n"):
                    break
                answers.add(*_entry(line))
                whole += len(line)
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path}, line {number} is damaged: delete that line, and what it answered is asked anew"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return answers, whole


class Journal:
    """A JSONL file of answers, one process at a time.

    Raises:
        UserError: another process is writing to it, or the folder cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is writing to {path}: wait for it, or set captions.dir") from None
        except OSError as error:
            raise UserError(f"captions.dir: cannot write {path}: {error.strerror}") from error
        self.answers, whole = read_journal(path)
        os.ftruncate(self._file.fileno(), whole)  # the last line of a killed process goes
        self._synced = time.monotonic()

    def append(self, question: Question, answer: Answer) -> None:
        """Record an answer: the operating system has it when this returns, and the disk within a second or so.

        Raises:
            UserError: the disk is full or the file is gone.
        """
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        entry = {
            "question": {name: getattr(question, name) for name in _QUESTION},
            **{name: getattr(answer, name) for name in _ANSWER},
            "time": when,
        }
        try:
            # a file's name may hold bytes that are no text
            self._file.write((json.dumps(entry, ensure_ascii=False) + "\n").encode(errors="backslashreplace"))
            self._file.flush()
            if time.monotonic() - self._synced > _SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}; what was answered before is kept") from error
        self.answers.add(question, answer)

    def absorb(self, other: Path) -> int:
        """Take over what another journal holds and this one does not; return how many answers that were.

        Raises:
            UserError: a process is still writing to the other, or it is damaged.
        """
        taken = 0
        with Journal(other), other.open("rb") as lines:  # opened for writing too: nobody may be at it
            for line in lines:
                question, answer = _entry(line)
                known = self.answers.of(question)
                told = known is not None and self.answers.origins(question.subject, known.text or "")
                if answer.settled and not told:
                    self.append(question, answer)
                    taken += 1
        return taken

    def close(self) -> None:
        """Put everything on disk and let others write."""
        with suppress(OSError):  # of a full disk, which `append` has told already
            self._file.flush()
            os.fsync(self._file.fileno())
        with suppress(OSError):
            self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _entry(line: bytes) -> tuple[Question, Answer]:
    entry = json.loads(line)
    question = Question(**entry["question"])
    return question, Answer(
        entry["text"],
        entry["problem"],
        prompt_tokens=entry.get("prompt_tokens", 0),
        reply_tokens=entry.get("reply_tokens", 0),
        seconds=entry.get("seconds", 0.0),
    )
