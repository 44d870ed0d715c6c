"""Run captioning jobs: request the texts that a caption file is missing, through its journal, and write the file."""

from __future__ import annotations

import hashlib
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from captioning.captioner import NO_CONTENT, Answer, AnswerStream, ImageCaptioner, QueryRewriter
from captioning.job.journal import Answers, Journal, Question, journal_file, read_journal, shard_journals
from captioning.job.plan import (
    JobOptions,
    Plan,
    Tally,
    Tokens,
    estimate,
    estimate_image_tokens,
    estimate_query_tokens,
    make_plan,
    refuse_mixed_models,
)
from captioning.options import LanguageModelOptions
from captioning.style.prompts import PROMPT_VERSION
from data.records import ImageRecord
from utils.errors import UserError
from utils.files import atomic_write, write_text
from utils.logs import log
from utils.progress import Progress

INCOMPLETE = 3  # exit status if the caption file was written, but some images or queries failed
_MAX_LISTED = 5  # failures that are listed one by one
_CHUNK = 256  # files that one task hashes


@dataclass
class CaptionJob:
    """The texts of one kind in a caption file, and the backend that generates what is missing.

    Attributes:
        model: name of the backend and its model.
        inputs, outputs: "images" and "captions", or "queries" and "rewrites".
        questions: one per text of the caption file.
        existing: {subject: text} in the caption file.
        generate: requests answers to questions.
        estimate_tokens: estimates the tokens of one request.
        price: of a million prompt tokens and of a million reply tokens; None if unknown.
        plan: what is known and what is missing.
        answers: {subject: answer} from the journals and from this run.
    """

    model: str
    inputs: str
    outputs: str
    questions: list[Question]
    existing: Mapping[str, str]
    generate: Callable[[list[Question]], AnswerStream]
    estimate_tokens: Callable[[list[Question]], Tokens]
    price: Sequence[float] | None = None
    plan: Plan = field(default_factory=Plan)
    answers: dict[str, Answer] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)

    def make_plan(self, journals: Sequence[Answers], *, keep: bool) -> None:
        """Find out what is missing, given the content of the journals."""
        self.plan = make_plan(self.questions, self.existing, journals, keep=keep)

    def estimate(self, journals: Sequence[Answers], options: JobOptions) -> str:
        """Return one line: the requests of this run, and their estimated tokens and cost."""
        plan = self.plan.restrict(options)
        measured = next((mean for answers in journals if (mean := answers.mean_tokens(self.questions))), None)
        tokens = measured or self.estimate_tokens(plan.missing)
        return estimate(plan, inputs=self.inputs, model=self.model, tokens=tokens, price=self.price)

    def run(self, journal: Journal, journals: Sequence[Answers], options: JobOptions) -> None:
        """Request what is missing, equal questions once, and record every answer in the journal.

        Raises:
            UserError: existing answers are from another model, the journal cannot be written, or the backend stopped.
        """
        self.make_plan([journal.answers, *journals], keep=options.keep)
        if not options.keep:
            refuse_mixed_models(self.plan, model=self.model, output=self.outputs, journal=journal.path)
        self.plan, self.tally = self.plan.restrict(options), Tally(self.price)
        self.answers = {question.subject: answer for question, answer in self.plan.answered.items()}
        groups = self.plan.distinct()
        requests, done = list(groups), len(self.plan.kept) + len(self.plan.answered)
        with (
            Progress(done + len(self.plan.missing), desc=self.outputs, unit=self.outputs[:-1], done=done) as bar,
            closing(self.generate(requests)) as stream,  # if the journal cannot be written, nothing more is requested
        ):
            for position, answer in stream:
                self.tally.add(answer)
                for question in groups[requests[position]]:
                    journal.append(question, answer)
                    self.answers[question.subject] = answer
                    answer = replace(answer, prompt_tokens=0, reply_tokens=0, seconds=0.0)  # paid for once
                bar.advance(len(groups[requests[position]]), self.tally.note())

    @property
    def texts(self) -> dict[str, str]:
        """{subject: text} for the caption file: those that stay, and those from the journals and this run."""
        return self.plan.kept | self.generated

    @property
    def generated(self) -> dict[str, str]:
        """{subject: text} from the journals and this run."""
        return {subject: answer.text for subject, answer in self.answers.items() if answer.text is not None}

    @property
    def failed(self) -> dict[str, str]:
        """{subject: problem} of what another run requests again."""
        return {subject: answer.problem for subject, answer in self.answers.items() if not answer.is_final}

    @property
    def remaining(self) -> int:
        """Number of questions that neither this run nor an earlier one requested: those of other shards."""
        return len(self.questions) - len(self.plan.kept) - len(self.answers)

    def summary(self) -> str:
        """Return one line: "353 captions from palette 2, 1 images failed; 354 requested in 2.0 s (177.0/s)"."""
        counts = [f"{len(self.generated)} {self.outputs} from {self.model}"]
        counts += [f"{len(self.failed)} {self.inputs} failed"] if self.failed else []
        counts += [f"{self.remaining} {self.inputs} not requested yet"] if self.remaining else []
        return ", ".join(counts) + f"; {self.tally.summary()}"


def captioning_job(
    captioner: ImageCaptioner, model: LanguageModelOptions, records: Sequence[ImageRecord], texts: Mapping[str, str]
) -> CaptionJob:
    """Return the job of captioning images, whose files are hashed; `texts` are existing captions by image name."""
    files = {
        Question(record.name, digest, captioner.name, PROMPT_VERSION, size): record.path
        for record, (digest, size) in zip(records, _hash_files([record.path for record in records]), strict=True)
    }
    return CaptionJob(
        captioner.name,
        "images",
        "captions",
        list(files),
        texts,
        generate=lambda questions: captioner.describe([files[question] for question in questions]),
        estimate_tokens=lambda questions: (
            estimate_image_tokens([files[question] for question in questions], model.max_pixels)
            if model.model
            else (0.0, 0.0)
        ),
        price=model.price,
    )


def rewriting_job(
    rewriter: QueryRewriter, model: LanguageModelOptions, queries: Sequence[str], texts: Mapping[str, str]
) -> CaptionJob:
    """Return the job of rewriting queries, equal ones once; `texts` are existing rewrites by query."""
    return CaptionJob(
        rewriter.name,
        "queries",
        "rewrites",
        [Question(query, "", rewriter.name, PROMPT_VERSION) for query in dict.fromkeys(queries)],
        texts,
        generate=lambda questions: rewriter.rewrite([question.subject for question in questions]),
        estimate_tokens=lambda questions: (
            estimate_query_tokens(question.subject for question in questions) if model.model else (0.0, 0.0)
        ),
        price=model.price,
    )


def _hash_files(paths: Sequence[Path]) -> list[tuple[str, int]]:
    """Return (hash, size in bytes) of each file, so that replaced images are noticed; ("", 0) if unreadable."""

    def hash_chunk(start: int) -> list[tuple[str, int]]:
        return [_hash(path) for path in paths[start : start + _CHUNK]]

    with ThreadPoolExecutor() as pool:
        return [hashed for chunk in pool.map(hash_chunk, range(0, len(paths), _CHUNK)) for hashed in chunk]


def _hash(path: Path) -> tuple[str, int]:
    try:
        data = path.read_bytes()
    except OSError:  # reported by the captioner
        return "", 0
    return hashlib.blake2b(data, digest_size=8).hexdigest(), len(data)


def begin_restart(file: Path, options: JobOptions) -> bool:
    """Return whether everything is generated again: `--restart` is given, or an earlier one has not finished.

    A new restart sets the journals aside, and a copy of the caption file: the file itself is used until the new one is
    complete. A dry run changes nothing.
    """
    if options.restart and not options.dry_run and not _restart_mark(file).exists():
        _set_aside(file)
        write_text(_restart_mark(file), "All captions are being generated again: see --restart.\n")
    return options.restart or _restart_mark(file).exists()


def _set_aside(file: Path) -> None:
    number = 1
    while any(_aside(path, number).exists() for path in (file, journal_file(file))):
        number += 1
    if file.is_file():
        with atomic_write(_aside(file, number)) as copy:
            shutil.copyfile(file, copy)
    for path in (journal_file(file), *shard_journals(file)):
        if path.is_file():
            with Journal(path):  # fails if a process is writing to it
                path.replace(_aside(path, number))


def _restart_mark(file: Path) -> Path:
    """Return the path of the marker that exists while all texts of a caption file are being generated again."""
    return file.with_suffix(".restarting")


def _aside(path: Path, number: int) -> Path:
    stem, dot, rest = path.name.partition(".")
    return path.with_name(f"{stem}.before-{number}{dot}{rest}")


def run_jobs(
    jobs: Sequence[CaptionJob], file: Path, options: JobOptions, *, write: Callable[[], None], command: Sequence[str]
) -> int:
    """Run the jobs of a caption file, or only estimate them, and report the result.

    Args:
        write: writes the caption file from the texts of the jobs.
        command: script and arguments of this run, for the message that says how to repeat it.

    Returns:
        The exit status: 0, or `INCOMPLETE`.

    Raises:
        UserError: see `CaptionJob.run`.
    """
    journals = _read_journals(file, options)
    for job in jobs:
        job.make_plan(journals, keep=options.keep)
    if options.dry_run:
        for job in jobs:
            log.info(f"{file}: {job.estimate(journals, options)}")
        return 0
    if all(job.plan.is_complete for job in jobs):
        for job in jobs:
            note = job.plan.describe_other_sources(job.model)
            log.info(f"{file}: all {len(job.questions)} {job.inputs} have {job.outputs}{note}")
        return 0
    with _open_journal(file, options) as journal:
        for job in jobs:
            job.run(journal, journals, options)
    if not options.shard:
        write()
        _restart_mark(file).unlink(missing_ok=True)
    for job in jobs:
        log.info(f"{journal.path if options.shard else file}: {job.summary()}")
    return _report_failures(jobs, options, command)


def _read_journals(file: Path, options: JobOptions) -> list[Answers]:
    """Read the journals of a caption file and its shards, without locking them."""
    if options.restart and not _restart_mark(file).exists():  # a dry run: they would be set aside
        return []
    return [read_journal(path)[0] for path in (journal_file(file), *shard_journals(file))]


def _open_journal(file: Path, options: JobOptions) -> Journal:
    """Open the journal of this run; with `--merge`, append the answers of the shards to it."""
    journal = Journal(journal_file(file, options.shard))
    if options.merge:
        shards = shard_journals(file)
        if not shards:
            raise UserError(f"--merge: there is no journal of a shard next to {file}: run with --shard I/N first")
        count = sum(journal.absorb(shard) for shard in shards)
        log.info(f"{journal.path}: {count} answers added from {len(shards)} shards")
    return journal


def _report_failures(jobs: Sequence[CaptionJob], options: JobOptions, command: Sequence[str]) -> int:
    """Warn about what failed, with the command that requests only that again; return the exit status."""
    for job in jobs:
        for subject, problem in list(job.failed.items())[:_MAX_LISTED]:
            log.warning(" ".join(f"no {job.outputs[:-1]} for {subject}: {problem}".split()))
        if count := sum(answer.problem == NO_CONTENT for answer in job.answers.values()):
            log.warning(f"{count} {job.inputs} have no {job.outputs}: each {NO_CONTENT}")
    failed = [f"{len(job.failed)} {job.inputs}" for job in jobs if job.failed]
    if failed:
        repeat = shlex.join(["python", *(argument for argument in command if argument != "--restart")])
        log.warning(f"{' and '.join(failed)} failed and are left out; to request only those again: {repeat}")
    incomplete = not options.shard and any(job.remaining for job in jobs)
    if incomplete:
        log.warning("some shards are not complete: run them with --shard I/N, then --merge again")
    return INCOMPLETE if failed or incomplete else 0
