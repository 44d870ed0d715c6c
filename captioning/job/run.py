"""Run captioning jobs: request the texts that a caption file is missing, through its journal, and write the file."""

from __future__ import annotations

import hashlib
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Generic, TypeVar

from captioning.captioner import NO_CONTENT, Answer, AnswerStream, BackendStoppedError, ImageCaptioner, QueryRewriter
from captioning.job.journal import Answers, Journal, Question, journal_file, read_journals, shard_journals
from captioning.job.plan import (
    JobOptions,
    Plan,
    Tally,
    Tokens,
    cost,
    estimate_image_tokens,
    estimate_query_tokens,
    make_plan,
)
from captioning.options import CaptionerOptions
from captioning.style.prompts import PROMPT_VERSION
from data.records import ImageRecord
from utils.errors import UserError
from utils.files import atomic_write, write_errors, write_text
from utils.logs import log
from utils.progress import Progress

Item = TypeVar("Item", Path, str)

INCOMPLETE = 3  # exit status if the caption file was written, but some images or queries failed
_MAX_LISTED = 5  # failures that are listed one by one


@dataclass
class CaptionJob(Generic[Item]):
    """The texts of one kind in a caption file, and the backend that generates what is missing.

    Attributes:
        model: name of the backend and its model.
        inputs, outputs: "images" and "captions", or "queries" and "rewrites".
        items: {question: image file or query}, one per text of the caption file.
        existing: {subject: text} in the caption file.
        generate: requests answers for items.
        estimate_tokens: of one of the requests for items; None for a backend without a language model.
        price: of a million prompt tokens and of a million reply tokens; None if unknown.
        openai: options of the backend, if it sends the items to the hosts that these name.
        plan: existing answers, what this run requests, and the answers to it.
    """

    model: str
    inputs: str
    outputs: str
    items: Mapping[Question, Item]
    existing: Mapping[str, str]
    generate: Callable[[Sequence[Item]], AnswerStream]
    estimate_tokens: Callable[[Sequence[Item]], Tokens] | None
    price: Sequence[float] | None
    openai: CaptionerOptions | None = None
    plan: Plan = field(default_factory=Plan)
    tally: Tally = field(default_factory=Tally)

    def make_plan(self, journals: Answers, options: JobOptions) -> None:
        """Find out what is missing, given the content of the journals."""
        self.plan = make_plan(self.items, self.existing, journals, options)

    def estimate(self, journals: Answers) -> str:
        """Return one line: the requests of the plan, and their estimated tokens and cost."""
        missing, requests = self.plan.missing, len(self.plan.distinct())
        done = len(self.plan.kept) + len(self.plan.answers)
        line = f"{done + len(missing)} {self.inputs}, {done} of them done; {len(missing)} to request from {self.model}"
        line += f" at {self.openai.recipients}" if requests and self.openai and self.openai.remote_hosts else ""
        line += f" ({requests} distinct)" if requests < len(missing) else ""
        if requests and self.estimate_tokens:
            mean = journals.mean_tokens(self.items) or self.estimate_tokens([self.items[each] for each in missing])
            prompt_tokens, reply_tokens = requests * mean[0], requests * mean[1]
            line += f", about {prompt_tokens:,.0f} prompt tokens and {reply_tokens:,.0f} reply tokens"
            line += cost(prompt_tokens, reply_tokens, self.price, "about ")
        return line

    def check_consent(self) -> str:
        """Return what the run sends to hosts beyond this machine, in words, or an empty string.

        Raises:
            UserError: the user has not allowed these hosts.
        """
        count = len(self.plan.distinct())
        if not count or not self.openai or not self.openai.remote_hosts:
            return ""
        what = f"{count} {'photographs of' if self.inputs == 'images' else 'sentences about'} people"
        self.openai.check_consent(what, or_else=", or add --yes")
        return f"{what} to {self.openai.recipients}"

    def run(self, journal: Journal, journals: Answers, options: JobOptions) -> None:
        """Request what is missing, equal questions once, and record every answer in the journal.

        Raises:
            UserError: existing answers are from another model, the journal cannot be written, the user has not
                allowed a host, or the backend stopped.
        """
        self.make_plan(journals, options)
        if not options.keep:
            self._refuse_mixed_models(journal.path)
        if sent := self.check_consent():
            log.info(f"sending {sent}")
        self.tally = Tally(self.price)
        groups, done = self.plan.distinct(), len(self.plan.kept) + len(self.plan.answers)
        only_failed = all(journals.has_failed(question) for question in self.plan.missing)
        with (
            Progress(done + len(self.plan.missing), desc=self.outputs, unit=self.outputs[:-1], done=done) as bar,
            # if the journal cannot be written, nothing more is requested
            closing(self.generate([self.items[group[0]] for group in groups])) as stream,
        ):
            try:
                for position, answer in stream:
                    self._record(groups[position], answer, journal)
                    bar.advance(len(groups[position]), self.tally.note())
            except BackendStoppedError as error:
                if not only_failed:
                    raise
                log.warning(f"what failed before fails again: {error}")  # nothing else is missing

    def _record(self, questions: Sequence[Question], answer: Answer, journal: Journal) -> None:
        """Record the answer to equal questions."""
        self.tally.add(answer)
        for question in questions:
            journal.append(question, answer)
            self.plan.answers[question.subject] = answer
            answer = replace(answer, prompt_tokens=0, reply_tokens=0, seconds=0.0)  # paid for once

    def _refuse_mixed_models(self, journal: Path) -> None:
        """Refuse to complete answers of one model or prompt version with those of another."""
        others = self.plan.other_sources
        if others and (self.plan.missing or self.plan.left):
            (by, prompt), _ = others.most_common(1)[0]
            raise UserError(
                f"{others.total()} {self.outputs} of {journal.name} are from {by} (prompt version {prompt}), and the "
                f"rest would be from {self.model}: add --keep to keep them and request only the rest, or --restart to "
                f"generate all again"
            )

    def describe_complete(self) -> str:
        """Return one line: "all 9 images have captions (9 from palette 1; --restart generates all again with ...)"."""
        line = f"all {len(self.items)} {self.inputs} have {self.outputs}"
        if not self.plan.other_sources:
            return line
        counts = ", ".join(f"{number} from {by}" for (by, _), number in self.plan.other_sources.most_common())
        return f"{line} ({counts}; --restart generates all again with {self.model})"

    def summary(self) -> str:
        """Return one line: "353 captions from palette 2, 1 images failed; 354 requested in 2.0 s (177.0/s)"."""
        plan = self.plan
        counts = [f"{len(plan.texts) - len(plan.kept)} {self.outputs} from {self.model}"]
        counts += [f"{len(plan.failed)} {self.inputs} failed"] if plan.failed else []
        counts += [f"{plan.left} {self.inputs} not requested yet"] if plan.left else []
        return ", ".join(counts) + f"; {self.tally.summary()}"


def captioning_job(
    captioner: ImageCaptioner, options: CaptionerOptions, records: Sequence[ImageRecord], texts: Mapping[str, str]
) -> CaptionJob[Path]:
    """Return the job of captioning images, whose files are hashed; `texts` are existing captions by image name."""
    with ThreadPoolExecutor() as pool:
        hashes = pool.map(_hash, [record.path for record in records])
        files = {
            Question(record.name, digest, captioner.name, PROMPT_VERSION, size): record.path
            for record, (digest, size) in zip(records, hashes, strict=True)
        }
    estimate = (
        None
        if options.backend in (None, "palette", "exact")
        else partial(estimate_image_tokens, max_pixels=options.max_pixels)
    )
    openai = options if options.backend == "openai" else None
    return CaptionJob(
        captioner.name, "images", "captions", files, texts, captioner.describe, estimate, options.price, openai
    )


def rewriting_job(
    rewriter: QueryRewriter, options: CaptionerOptions, queries: Sequence[str], texts: Mapping[str, str]
) -> CaptionJob[str]:
    """Return the job of rewriting queries, equal ones once; `texts` are existing rewrites by query."""
    items = {Question(query, "", rewriter.name, PROMPT_VERSION): query for query in queries}
    estimate = None if options.rewriter == "rules" else estimate_query_tokens
    own = options.for_queries()
    openai = own if options.rewriter == "openai" else None
    return CaptionJob(rewriter.name, "queries", "rewrites", items, texts, rewriter.rewrite, estimate, own.price, openai)


def _hash(path: Path) -> tuple[str, int]:
    """Return (hash, size in bytes) of a file, so that replaced images are noticed; ("", 0) if unreadable."""
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
    mark = _restart_mark(file)
    if options.restart and not options.dry_run and not mark.exists():
        number = next(n for n in count(1) if not any(_aside(path, n).exists() for path in (file, journal_file(file))))
        if file.is_file():
            with atomic_write(_aside(file, number)) as copy:
                shutil.copyfile(file, copy)
        for path in (journal_file(file), *shard_journals(file)):
            if path.is_file():
                with write_errors(path), Journal(path):  # fails if a process is writing to it
                    path.replace(_aside(path, number))
        write_text(mark, "All captions are being generated again: see --restart.\n")
    return options.restart or mark.exists()


def _restart_mark(file: Path) -> Path:
    """Return the path of the marker that exists while all texts of a caption file are being generated again."""
    return file.with_suffix(".restarting")


def _aside(path: Path, number: int) -> Path:
    stem, dot, rest = path.name.partition(".")
    return path.with_name(f"{stem}.before-{number}{dot}{rest}")


def run_jobs(
    jobs: Sequence[CaptionJob[Any]],
    file: Path,
    options: JobOptions,
    *,
    write: Callable[[], None],
    command: Sequence[str],
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
    mark = _restart_mark(file)
    set_aside = options.restart and not mark.exists()  # what a restart would do, of which this is a dry run
    journals = Answers() if set_aside else read_journals(file)
    for job in jobs:
        job.make_plan(journals, options)
    if options.dry_run or all(job.plan.is_complete for job in jobs):
        for job in jobs:
            log.info(f"{file}: {job.estimate(journals) if options.dry_run else job.describe_complete()}")
        return 0
    for job in jobs:  # before any of them is paid for
        job.check_consent()
    with Journal(journal_file(file, options.shard)) as journal:
        if options.merge:
            _merge_shards(journal, file)
        journals = read_journals(file)  # again, as another process may have appended to one
        try:
            for job in jobs:
                job.run(journal, journals, options)
        except UserError:
            if not options.shard and not options.restart:  # what was answered is not held back
                with suppress(UserError):
                    write()
            raise
    if not options.shard:
        write()
        mark.unlink(missing_ok=True)
    for job in jobs:
        log.info(f"{journal.path if options.shard else file}: {job.summary()}")
    return _report_failures(jobs, options, command)


def _merge_shards(journal: Journal, file: Path) -> None:
    shards = shard_journals(file)
    if not shards:
        raise UserError(f"--merge: there is no journal of a shard next to {file}: run with --shard I/N first")
    log.info(f"{journal.path}: {journal.absorb(shards)} answers added from {len(shards)} shards")


def _report_failures(jobs: Sequence[CaptionJob[Any]], options: JobOptions, command: Sequence[str]) -> int:
    """Warn about what failed, with the command that requests only that again; return the exit status."""
    for job in jobs:
        for subject, problem in list(job.plan.failed.items())[:_MAX_LISTED]:
            log.warning(" ".join(f"no {job.outputs[:-1]} for {subject}: {problem}".split()))
        if number := sum(answer.problem == NO_CONTENT for answer in job.plan.answers.values()):
            log.warning(f"{number} {job.inputs} have no {job.outputs}: each {NO_CONTENT}")
    failed = [f"{len(job.plan.failed)} {job.inputs}" for job in jobs if job.plan.failed]
    if failed:
        repeat = shlex.join(["python", *(argument for argument in command if argument != "--restart")])
        log.warning(f"{' and '.join(failed)} failed and are left out; to request only those again: {repeat}")
    incomplete = not options.shard and any(job.plan.left for job in jobs)
    if incomplete:
        log.warning("some shards are not complete: run them with --shard I/N, then --merge again")
    return INCOMPLETE if failed or incomplete else 0
