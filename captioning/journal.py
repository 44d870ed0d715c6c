"""Every answer on disk as it comes, so that nothing is asked twice, whatever is killed and whenever."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from captioning.captioner import Answer
from utils.errors import UserError


@dataclass(frozen=True)
class Question:
    """What was asked: its subject, and what the answer depends on.

    Attributes:
        subject: an image's name, or a query.
        content: hash of the image's file; empty for a query, which is its own content.
        by: who answers ("palette 2").
        prompt: version of the prompts and the template.
    """

    subject: str
    content: str
    by: str
    prompt: str


def read_journal(path: Path) -> tuple[dict[Question, Answer], int]:
    """Every answer of a journal, and how many bytes its whole lines have.

    Raises:
        UserError: a line in the middle is damaged.
    """
    answers: dict[Question, Answer] = {}
    whole = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                entry = json.loads(line)
                answers[Question(**entry["question"])] = Answer(entry["text"], entry["problem"])
            except (ValueError, KeyError, TypeError):
                raise UserError(f"{path} is damaged after byte {whole}: remove it to ask anew") from None
            whole += len(line)
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

    def answered(self, question: Question) -> Answer | None:
        """The text that this very question was answered with before; failures are asked again."""
        answer = self.answers.get(question)
        return answer if answer is not None and answer.text is not None else None

    def append(self, question: Question, answer: Answer) -> None:
        """Record an answer; it is with the operating system when this returns.

        Raises:
            UserError: the disk is full or the file is gone.
        """
        entry = {"question": asdict(question), "text": answer.text, "problem": answer.problem}
        try:
            self._file.write((json.dumps(entry, ensure_ascii=False) + "\n").encode())
            self._file.flush()
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}; what was answered before is kept") from error
        self.answers[question] = answer

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
