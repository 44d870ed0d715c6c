"""What of the work is done, by whom, and what is left to ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from captioning.captioner import Answer
from captioning.journal import Answers, Question, Source, read_journal
from captioning.options import Options, journal_file, restarting, shard_journals
from utils.errors import UserError


@dataclass
class Plan:
    """The questions of a caption file, sorted.

    Attributes:
        kept: {subject: text} that stands in the file and stays.
        answered: {question: answer} that the journal has.
        missing: what is to be asked.
        others: how much of it was answered by another model, or to other prompts.
    """

    kept: dict[str, str] = field(default_factory=dict)
    answered: dict[Question, Answer] = field(default_factory=dict)
    missing: list[Question] = field(default_factory=list)
    others: Counter[Source] = field(default_factory=Counter)

    @property
    def finished(self) -> bool:
        """Whether nothing is to be asked, and the file holds all that was answered."""
        return not self.missing and not any(answer.text for answer in self.answered.values())

    def by_others(self, now: str) -> str:
        """ " (2400 by palette 1; --restart asks palette 2 for all anew)", or nothing."""
        if not self.others:
            return ""
        told = ", ".join(f"{count} by {by}" for (by, _), count in self.others.most_common())
        return f" ({told}; --restart asks {now} for all anew)"

    def part(self, options: Options) -> Plan:
        """The same with no more to ask than the options want: one part, or nothing where parts are merged."""
        missing = self.missing
        if options.merge:
            missing = []
        elif options.shard:
            missing = [question for question in missing if options.shard.has(question)]
        return Plan(self.kept, self.answered, missing, self.others)

    def distinct(self) -> dict[Question, list[Question]]:
        """The missing questions without repetition: {one to ask: all that it answers}."""
        groups: dict[str, list[Question]] = {}
        for question in self.missing:
            groups.setdefault(question.topic, []).append(question)
        return {group[0]: group for group in groups.values()}


def read_answers(file: Path, options: Options) -> list[Answers]:
    """What the journals of a caption file and of its parts hold, without keeping anybody from writing to them."""
    if options.restart and not restarting(file):
        return []
    return [read_journal(path)[0] for path in (journal_file(file), *shard_journals(file))]


def make_plan(
    questions: Sequence[Question], texts: Mapping[str, str], journals: Sequence[Answers], *, keep: bool
) -> Plan:
    """Sort questions into what is done and what is not.

    Args:
        texts: {subject: text} of the caption file; a text that, as a journal tells, is of another photograph with the
            same name is not kept.
        journals: what was answered so far.
        keep: whether answers of other sources count.
    """
    plan = Plan()
    for question in questions:
        text = texts.get(question.subject)
        origins = [found for journal in journals for found in journal.origins(question.subject, text)] if text else []
        if text is not None and (not origins or question.content in {content for content, _ in origins}):
            plan.kept[question.subject] = text
            if origins and question.source not in {source for _, source in origins}:
                plan.others[origins[-1][1]] += 1
            continue
        own = next((answer for journal in journals if (answer := journal.of(question))), None)
        other = next((found for journal in journals if (found := journal.by_others(question))), None)
        if own is not None:
            plan.answered[question] = own
        elif other is not None:
            plan.others[other[0]] += 1
            if keep:
                plan.answered[question] = other[1]
            else:
                plan.missing.append(question)
        else:
            plan.missing.append(question)
    # What failed before comes last: failures in a row would stop the run in front of what was never asked.
    plan.missing.sort(key=lambda question: any(journal.failed(question) for journal in journals))
    return plan


def refuse_mixture(plan: Plan, *, now: str, what: str, journal: Path) -> None:
    """Ask what to do where a part of the answers is another model's, or to other prompts, and more are to come.

    Raises:
        UserError: there are such answers; the message says whose, and names both ways on.
    """
    if plan.others and plan.missing:
        (by, prompt), _ = plan.others.most_common(1)[0]
        raise UserError(
            f"{plan.others.total()} {what} of {journal.name} are by {by} (prompts {prompt}), and now it is {now}: add "
            f"--keep to keep them and ask for the others alone, or --restart to ask for all anew"
        )


def calls_of_a_rewrite(file: Path) -> int | None:
    """How often a language model was asked for a rewrite of this file; None where no journal tells who wrote it."""
    writers = read_journal(journal_file(file))[0].rewriters
    return int(any(not writer.startswith("rules ") for writer in writers)) if writers else None
