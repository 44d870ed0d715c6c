"""A JSONL file of every answer, written as it arrives: a killed run resumes without paying for a request twice."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

from captioning.captioner import Answer
from utils.errors import UserError

Source = tuple[str, str]
"""(backend and model, prompt version) of an answer."""

_FSYNC_SECONDS = 1.0  # between two fsyncs


@dataclass(frozen=True, slots=True)
class Question:
    """One input of a backend, with everything that its answer depends on.

    Attributes:
        subject: an image's name, or a query.
        content: hash of the image file; empty for a query, which is its own content.
        by: backend and model that answer ("palette 2").
        prompt: version of the prompts and the template.
        size: of the image file in bytes, for information.
    """

    subject: str
    content: str
    by: str
    prompt: str
    size: int = field(default=0, compare=False)

    @property
    def source(self) -> Source:
        """Backend and prompt version that the answer has to come from."""
        return self.by, self.prompt

    @property
    def topic(self) -> str:
        """Image content or query: equal for two files with the same bytes, whatever their names."""
        return self.content or self.subject


@dataclass(frozen=True)
class Shard:
    """One of several parts of the questions, for parallel jobs.

    Attributes:
        number: from 1.
        of: how many shards there are.
    """

    number: int
    of: int

    def includes(self, question: Question) -> bool:
        """Whether the question belongs to this shard; equal images and equal queries belong to the same one."""
        digest = int.from_bytes(blake2b(question.topic.encode(), digest_size=8).digest(), "big")
        return digest % self.of == self.number - 1


def journal_file(file: Path, shard: Shard | None = None) -> Path:
    """Return the path of the journal of a caption file, or of one shard of it."""
    part = f".shard-{shard.number}-of-{shard.of}" if shard else ""
    return file.with_suffix(f"{part}.journal.jsonl")


def shard_journals(file: Path) -> list[Path]:
    """Return the existing journals of shards of a caption file."""
    return sorted(file.parent.glob(f"{file.stem}.shard-*-of-*.journal.jsonl"))


class Answers:
    """The content of journals: the last final answer to each question, and what has failed."""

    def __init__(self) -> None:
        self._final: dict[str, dict[Source, Answer]] = {}
        self._failed: set[str] = set()
        self._origins: dict[tuple[str, str], list[tuple[str, Source]]] = {}

    def add(self, question: Question, answer: Answer) -> None:
        """Add an answer; of failures only the topic is kept, since they are requested again."""
        if not answer.is_final:
            self._failed.add(question.topic)
            return
        self._final.setdefault(question.topic, {})[question.source] = answer
        self._origins.setdefault((question.subject, answer.text or ""), []).append((question.content, question.source))

    def get(self, question: Question) -> Answer | None:
        """Return the final answer to this question: same bytes or words, same model, same prompts."""
        return self._final.get(question.topic, {}).get(question.source)

    def has_failed(self, question: Question) -> bool:
        """Whether a request about the same topic has failed, with any model."""
        return question.topic in self._failed

    def from_other_models(self, question: Question) -> tuple[Source, Answer] | None:
        """Return the last answer to the same question from another model or prompt version, with its source."""
        found = reversed(self._final.get(question.topic, {}).items())
        return next(((source, answer) for source, answer in found if source != question.source), None)

    def origins(self, subject: str, text: str) -> list[tuple[str, Source]]:
        """Return where a text of a subject comes from: (hash of the image, source), newest last; empty if unknown."""
        return self._origins.get((subject, text), [])

    @property
    def rewriters(self) -> set[str]:
        """Models that answered queries, which unlike images have no content hash."""
        return {by for origins in self._origins.values() for content, (by, _) in origins if not content}

    def mean_tokens(self, questions: Iterable[Question]) -> tuple[float, float] | None:
        """Return the mean prompt and reply tokens of the answers to these questions; None if none were counted."""
        counted = [answer for question in questions if (answer := self.get(question)) and answer.prompt_tokens]
        if not counted:
            return None
        prompt, reply = sum(a.prompt_tokens for a in counted), sum(a.reply_tokens for a in counted)
        return prompt / len(counted), reply / len(counted)


def read_journals(file: Path) -> Answers:
    """Read the answers in the journals of a caption file: those of its shards, then its own, which takes precedence.

    An incomplete last line, left by a killed process, is ignored.

    Raises:
        UserError: a complete line is damaged, or a journal cannot be read.
    """
    answers = Answers()
    for path in (*reversed(shard_journals(file)), journal_file(file)):
        for number, line in enumerate(_complete_lines(path), 1):
            try:
                entry = json.loads(line)
                numbers = {name: entry.get(name, 0) for name in ("prompt_tokens", "reply_tokens", "seconds")}
                answers.add(Question(**entry["question"]), Answer(entry["text"], entry["problem"], **numbers))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise UserError(
                    f"{path}, line {number} is damaged: delete that line, and its question is requested again"
                ) from None
    return answers


def _complete_lines(path: Path) -> list[bytes]:
    """Return the lines of a file that end with a line feed; none if there is no file."""
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def calls_per_rewrite(file: Path) -> int | None:
    """Return the language model calls per rewrite in a caption file: 0 by rules, else 1; None without a journal."""
    rewriters = read_journals(file).rewriters
    return int(any(not by.startswith("rules ") for by in rewriters)) if rewriters else None


class Journal:
    """An open journal, which one process at a time may append to.

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
        os.ftruncate(self._file.fileno(), path.read_bytes().rfind(b"\n") + 1)  # drop an incomplete last line
        self._synced = time.monotonic()

    def append(self, question: Question, answer: Answer) -> None:
        """Record an answer. The operating system has it on return, the disk within about a second.

        Raises:
            UserError: the disk is full or the file is gone.
        """
        entry = {
            "question": {each.name: getattr(question, each.name) for each in fields(Question)},
            **{each.name: getattr(answer, each.name) for each in fields(Answer)},
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        # file names may hold bytes that are not text
        self._write((json.dumps(entry, ensure_ascii=False) + "\n").encode(errors="backslashreplace"))

    def _write(self, lines: bytes) -> None:
        try:
            self._file.write(lines)
            self._file.flush()
            if time.monotonic() - self._synced > _FSYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}; earlier answers are kept") from error

    def absorb(self, others: Iterable[Path]) -> int:
        """Append the lines of other journals that are missing here; return how many.

        Raises:
            UserError: a process is still writing to one of them.
        """
        known = dict.fromkeys(_complete_lines(self.path))
        count = len(known)
        for other in others:
            with Journal(other):  # for its lock
                known |= dict.fromkeys(_complete_lines(other))
        new = list(known)[count:]
        self._write(b"".join(line + b"\n" for line in new))
        return len(new)

    def close(self) -> None:
        """Flush to disk and release the lock."""
        with suppress(OSError):  # a full disk has been reported by `append`
            self._file.flush()
            os.fsync(self._file.fileno())
        with suppress(OSError):
            self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
