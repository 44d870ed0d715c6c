"""Ask a back end for what is missing, through the journal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from captioning.captioner import Answer, ImageCaptioner, QueryRewriter
from captioning.journal import Journal, Question, read_journal
from captioning.style import PROMPT_VERSION
from data.records import ImageRecord
from utils.progress import Progress


def outdated(records: Sequence[ImageRecord], captions: Mapping[str, str | None], journal: Path) -> set[str]:
    """Names of images whose caption is, as the journal tells, of another photograph that had their name."""
    if not journal.is_file():
        return set()
    described: dict[tuple[str, str | None], set[str]] = {}
    for question, answer in read_journal(journal)[0].items():
        described.setdefault((question.subject, answer.text), set()).add(question.content)
    known = {record: described.get((record.name, captions.get(record.name))) for record in records}
    return {record.name for record, digests in known.items() if digests and _digest(record.path) not in digests}


def describe_images(captioner: ImageCaptioner, records: Sequence[ImageRecord], journal: Journal) -> dict[str, Answer]:
    """Caption images: {name: answer}; what the journal answers is not asked again."""
    questions = [Question(record.name, _digest(record.path), captioner.name, PROMPT_VERSION) for record in records]
    paths = {question: record.path for question, record in zip(questions, records, strict=True)}
    answers = _ask(
        questions, lambda missing: captioner.describe([paths[q] for q in missing]), journal, "captions", "image"
    )
    return {question.subject: answers[question] for question in questions}


def rewrite_queries(rewriter: QueryRewriter, queries: Sequence[str], journal: Journal) -> dict[str, Answer]:
    """Rewrite queries into the style: {query: answer}; equal queries are asked once."""
    questions = [Question(query, "", rewriter.name, PROMPT_VERSION) for query in dict.fromkeys(queries)]
    answers = _ask(
        questions, lambda missing: rewriter.rewrite([q.subject for q in missing]), journal, "rewrites", "query"
    )
    return {question.subject: answers[question] for question in questions}


def _ask(
    questions: Sequence[Question],
    ask: Callable[[list[Question]], Iterator[tuple[int, Answer]]],
    journal: Journal,
    desc: str,
    unit: str,
) -> dict[Question, Answer]:
    answers = {question: answer for question in questions if (answer := journal.answered(question)) is not None}
    missing = [question for question in questions if question not in answers]
    with Progress(len(questions), desc=desc, unit=unit) as bar:
        bar.advance(len(answers))
        if missing:
            for place, answer in ask(missing):
                journal.append(missing[place], answer)
                answers[missing[place]] = answer
                bar.advance()
    return answers


def _digest(path: Path) -> str:
    """Short hash of a file, so that a picture that was replaced is described anew."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
