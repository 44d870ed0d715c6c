"""Plan a run: what a caption file has, what the run requests, and what that costs."""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from captioning.captioner import Answer
from captioning.job.journal import Answers, Question, Shard, Source
from captioning.style.prompts import image_prompt, query_prompt
from utils.errors import UserError

Tokens = tuple[float, float]
"""Mean prompt and reply tokens of one request."""

# Estimates before anything was measured.
_LETTERS_PER_TOKEN = 4  # English
_PIXELS_PER_TOKEN = 28 * 28  # Qwen2.5-VL
_REPLY_TOKENS = 100.0  # the filled template as JSON; fewer as prose
_SAMPLE = 200  # images whose sizes are read


@dataclass(frozen=True)
class JobOptions:
    """Command-line options of the caption scripts.

    Attributes:
        restart: generate everything again; the existing files are set aside.
        keep: accept existing answers from another model or prompt version.
        shard: the part of the questions to request; None for all.
        merge: merge the journals of the shards, and request nothing.
        dry_run: count and estimate, and request nothing.
    """

    restart: bool = False
    keep: bool = False
    shard: Shard | None = None
    merge: bool = False
    dry_run: bool = False

    def includes(self, question: Question) -> bool:
        """Whether this run requests the question if it is missing."""
        return not self.merge and (self.shard is None or self.shard.includes(question))


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to a script's arguments."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--restart", action="store_true", help="generate everything again; the old files are set aside")
    group.add_argument("--keep", action="store_true", help="keep answers from another model or prompt version")
    parser.add_argument("--shard", metavar="I/N", help="process shard I of N, e.g. 3/16; each has its own journal")
    parser.add_argument("--merge", action="store_true", help="merge the journals of the shards, and write the captions")
    add_consent_argument(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="print counts, and estimated tokens and cost; send no request"
    )


def add_consent_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--yes`, which stands for naming the hosts of the endpoints in `captioner.send_to`."""
    parser.add_argument(
        "--yes", action="store_true", help="allow photographs and sentences to be sent to hosts beyond this machine"
    )


def read_job_options(arguments: argparse.Namespace) -> JobOptions:
    """Read the options from a script's parsed arguments.

    Raises:
        UserError: a shard that does not exist, or options that exclude each other.
    """
    shard = None
    if arguments.shard is not None:
        match = re.fullmatch(r"(\d+)/(\d+)", arguments.shard)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UserError(f"--shard {arguments.shard}: expected I/N with I from 1 to N, e.g. 3/16")
        shard = Shard(int(match[1]), int(match[2]))
    if shard and arguments.merge:
        raise UserError("--shard and --merge exclude each other: run every shard first, then merge them")
    if arguments.restart and (shard or arguments.merge):
        raise UserError("--restart excludes --shard and --merge: set captions.dir to a new folder instead")
    return JobOptions(arguments.restart, arguments.keep, shard, arguments.merge, arguments.dry_run)


@dataclass
class Plan:
    """The questions of a caption file, grouped by whether they have been answered.

    Attributes:
        kept: {subject: text} of the caption file that stay.
        answers: {subject: answer} from the journals, to which the run adds its own.
        missing: what this run requests.
        left: number of missing answers that this run does not request, but other shards do.
        other_sources: how many of the existing answers come from each other model or prompt version.
    """

    kept: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    missing: list[Question] = field(default_factory=list)
    left: int = 0
    other_sources: Counter[Source] = field(default_factory=Counter)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing, and the caption file has every text of the journals."""
        return not self.missing and not self.left and not any(answer.text for answer in self.answers.values())

    def distinct(self) -> list[list[Question]]:
        """Group the missing questions by topic: one request is enough for each group."""
        groups: dict[str, list[Question]] = {}
        for question in self.missing:
            groups.setdefault(question.topic, []).append(question)
        return list(groups.values())

    @property
    def texts(self) -> dict[str, str]:
        """{subject: text} for the caption file."""
        return self.kept | {subject: answer.text for subject, answer in self.answers.items() if answer.text is not None}

    @property
    def failed(self) -> dict[str, str]:
        """{subject: problem} of the failures, which another run requests again."""
        return {subject: answer.problem for subject, answer in self.answers.items() if not answer.is_final}


def make_plan(questions: Iterable[Question], texts: Mapping[str, str], journals: Answers, options: JobOptions) -> Plan:
    """Split questions into those that have an answer and those to request.

    Args:
        texts: {subject: text} of the caption file. A text stays unless the journals show that it describes another
            image with the same name.
        journals: answers so far.
    """
    plan = Plan()
    for question in questions:
        text = texts.get(question.subject)
        origins = journals.origins(question.subject, text) if text else []
        if text is not None and (not origins or question.content in {content for content, _ in origins}):
            plan.kept[question.subject] = text
            if origins and question.source not in {source for _, source in origins}:
                plan.other_sources[origins[-1][1]] += 1
            continue
        answer, other = journals.get(question), journals.from_other_models(question)
        if answer is None and other is not None:
            plan.other_sources[other[0]] += 1
            answer = other[1] if options.keep else None
        if answer is not None:
            plan.answers[question.subject] = answer
        elif options.includes(question):
            plan.missing.append(question)
        else:
            plan.left += 1
    # Earlier failures come last: otherwise they could stop the run before new questions are requested.
    plan.missing.sort(key=journals.has_failed)
    return plan


def estimate_image_tokens(paths: Sequence[Path], max_pixels: int) -> Tokens:
    """Estimate the tokens of an image with its prompt, from the sizes of a sample of the files."""
    sizes = [pixels for path in paths[:: max(1, len(paths) // _SAMPLE)] if (pixels := _pixels(path))]
    mean = sum(max(4.0, min(pixels, max_pixels) / _PIXELS_PER_TOKEN) for pixels in sizes) / max(len(sizes), 1)
    return mean + len(image_prompt("json")) / _LETTERS_PER_TOKEN, _REPLY_TOKENS


def estimate_query_tokens(queries: Iterable[str]) -> Tokens:
    """Estimate the tokens of a query with its prompt."""
    lengths = [len(query_prompt("json", query)) for query in queries]
    return sum(lengths) / max(len(lengths), 1) / _LETTERS_PER_TOKEN, _REPLY_TOKENS


def _pixels(path: Path) -> int:
    try:
        with Image.open(path) as image:
            return image.width * image.height
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0


def cost(prompt_tokens: float, reply_tokens: float, price: Sequence[float] | None, about: str = "") -> str:
    """Return ", cost 0.31", or an empty string if there is no price (of a million tokens of each kind)."""
    return f", cost {about}{(prompt_tokens * price[0] + reply_tokens * price[1]) / 1e6:.2f}" if price else ""


class Tally:
    """Counts answers, failures, tokens and cost during a run.

    Args:
        price: of a million prompt tokens and of a million reply tokens, in any currency; None if unknown.
    """

    def __init__(self, price: Sequence[float] | None = None) -> None:
        self._price, self._start = price, time.monotonic()
        self._requests = self._failed = self._prompt_tokens = self._reply_tokens = 0

    def add(self, answer: Answer) -> None:
        """Count an answer."""
        self._requests += 1
        self._failed += not answer.is_final
        self._prompt_tokens += answer.prompt_tokens
        self._reply_tokens += answer.reply_tokens

    def note(self) -> str:
        """Return a note for the progress bar: "3 failed, 120,000 tokens, cost 0.31"; empty if there is nothing yet."""
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{failed}{self._usage()}".removeprefix(", ")

    def summary(self) -> str:
        """Return one line for the end: "354 requested in 2.0 s (177.0/s), 120,000 tokens, cost 0.31"."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = self._requests / seconds
        return f"{self._requests} requested in {seconds:.1f} s ({rate:.1f}/s){self._usage()}"

    def _usage(self) -> str:
        tokens = self._prompt_tokens + self._reply_tokens
        return f", {tokens:,} tokens{cost(self._prompt_tokens, self._reply_tokens, self._price)}" if tokens else ""
