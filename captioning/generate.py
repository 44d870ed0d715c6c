"""One kind of question to one back end, through the journal: what is done, what is asked, and what came of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from captioning.captioner import Answer, Arriving, ImageCaptioner, QueryRewriter
from captioning.estimate import NONE, Tokens, estimate, tokens_of_images, tokens_of_queries
from captioning.journal import Answers, Journal, Question
from captioning.options import Options
from captioning.plan import Plan, make_plan, refuse_mixture
from captioning.service import Service
from captioning.style import PROMPT_VERSION
from captioning.tally import Tally
from data.records import ImageRecord
from utils.progress import Progress

_CHUNK = 256  # files that one task reads for their hashes


@dataclass
class Errand:
    """Questions to a back end, from what stands in a caption file to what will.

    Attributes:
        name: who answers.
        what, of: "captions" of "images", or "rewrites" of "queries".
        questions: all that the file should answer.
        texts: {subject: text} that stands in the file.
        ask: gives questions to the back end.
        tokens: estimates the tokens that one question takes.
        service: who answers, where, at what price.
        plan: what is done and what is not.
        answers: {subject: answer}, once it has run.
    """

    name: str
    what: str
    of: str
    questions: list[Question]
    texts: Mapping[str, str]
    ask: Callable[[list[Question]], Arriving]
    tokens: Callable[[list[Question]], Tokens]
    service: Service
    plan: Plan = field(default_factory=Plan)
    answers: dict[str, Answer] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)

    def look(self, past: Sequence[Answers], options: Options) -> None:
        """Make the plan, from what the journals held a moment ago."""
        self.plan = make_plan(self.questions, self.texts, past, keep=options.keep)

    def estimate(self, past: Sequence[Answers], options: Options) -> str:
        """One line: how much there is to ask of what the options want, and what tokens and money that takes."""
        plan = self.plan.part(options)
        measured = next((mean for answers in past if (mean := answers.mean_tokens(self.questions))), None)
        return estimate(plan, self.of, self.name, measured or self.tokens(plan.missing), self.service.price)

    def run(self, journal: Journal, past: Sequence[Answers], options: Options) -> None:
        """Ask what is missing, each distinct question once; equal ones share the answer at no further cost.

        Raises:
            UserError: a part is by another model and nobody said what to do about it, the journal cannot be written,
                or the back end says that it is pointless to go on.
        """
        self.look([journal.answers, *past], options)
        if not options.keep:
            refuse_mixture(self.plan, now=self.name, what=self.what, journal=journal.path)
        self.plan, self.tally = self.plan.part(options), Tally(self.service.price)
        self.answers = {question.subject: answer for question, answer in self.plan.answered.items()}
        groups = self.plan.distinct()
        asked, done = list(groups), len(self.plan.kept) + len(self.plan.answered)
        with (
            Progress(done + len(self.plan.missing), desc=self.what, unit=self.what[:-1], done=done) as bar,
            closing(self.ask(asked)) as arriving,  # at once where the journal cannot be written: nothing more is asked
        ):
            for place, answer in arriving:
                self.tally.count(answer)
                for question in groups[asked[place]]:
                    journal.append(question, answer)
                    self.answers[question.subject] = answer
                    answer = replace(answer, prompt_tokens=0, reply_tokens=0, seconds=0.0)
                bar.advance(len(groups[asked[place]]), self.tally.note())

    @property
    def made(self) -> dict[str, str]:
        """{subject: text} of what the journal had and of what was asked."""
        return {subject: answer.text for subject, answer in self.answers.items() if answer.text is not None}

    @property
    def failed(self) -> dict[str, str]:
        """{subject: problem} of what may do better when it is asked again."""
        return {subject: answer.problem for subject, answer in self.answers.items() if not answer.settled}

    @property
    def left(self) -> int:
        """How many questions nobody was asked: those of other parts of the work."""
        return len(self.questions) - len(self.plan.kept) - len(self.answers)

    def summary(self) -> str:
        """ "353 captions by palette 2, 1 failed; 354 asked in 2.0 s (177.0/s)"."""
        counts = [f"{len(self.made)} {self.what} by {self.name}"]
        counts += [f"{len(self.failed)} {self.of} failed"] if self.failed else []
        counts += [f"{self.left} {self.of} not asked yet"] if self.left else []
        return ", ".join(counts) + f"; {self.tally.summary()}"


def describing(
    captioner: ImageCaptioner, service: Service, records: Sequence[ImageRecord], texts: Mapping[str, str]
) -> Errand:
    """To caption photographs; every file is read once, for its hash."""
    with ThreadPoolExecutor() as pool:
        parts = [records[start : start + _CHUNK] for start in range(0, len(records), _CHUNK)]
        digests = pool.map(lambda part: [_digest(record.path) for record in part], parts)
        files = {
            Question(record.name, digest, captioner.name, PROMPT_VERSION, size): record.path
            for part, found in zip(parts, digests, strict=True)
            for record, (digest, size) in zip(part, found, strict=True)
        }
    return Errand(
        captioner.name,
        "captions",
        "images",
        list(files),
        texts,
        lambda questions: captioner.describe([files[question] for question in questions]),
        lambda questions: (
            tokens_of_images([files[q] for q in questions], service.max_pixels) if service.model else NONE
        ),
        service,
    )


def rewriting(rewriter: QueryRewriter, service: Service, queries: Sequence[str], texts: Mapping[str, str]) -> Errand:
    """To rewrite queries; equal ones are one question."""
    return Errand(
        rewriter.name,
        "rewrites",
        "queries",
        [Question(query, "", rewriter.name, PROMPT_VERSION) for query in dict.fromkeys(queries)],
        texts,
        lambda questions: rewriter.rewrite([question.subject for question in questions]),
        lambda questions: tokens_of_queries(q.subject for q in questions) if service.model else NONE,
        service,
    )


def _digest(path: Path) -> tuple[str, int]:
    """Short hash of a file, so that a picture that was replaced is described anew, and its size; "" if unreadable."""
    try:
        data = path.read_bytes()
    except OSError:  # its captioner will say so
        return "", 0
    return hashlib.blake2b(data, digest_size=8).hexdigest(), len(data)
