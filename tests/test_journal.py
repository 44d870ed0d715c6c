"""The journal of answers: nothing is asked twice, whatever was killed and whenever."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from captioning.captioner import Answer
from captioning.generate import describe_images, rewrite_queries
from captioning.journal import Journal, Question
from data.records import ImageRecord
from tests.pictures import picture
from utils.errors import UserError

ONE, TWO = Question("a.png", "f00d", "palette", "v1"), Question("a man – »rot«", "", "rules", "v1")


def test_answers_are_there_again_after_closing(tmp_path: Path) -> None:
    """Text, quotation marks, line ends and all."""
    with Journal(tmp_path / "new" / "j.jsonl") as journal:
        journal.append(ONE, Answer('The male "walks".\nAnd stops.'))
        journal.append(TWO, Answer("é"))
    with Journal(tmp_path / "new" / "j.jsonl") as journal:
        assert journal.answered(ONE) == Answer('The male "walks".\nAnd stops.')
        assert journal.answered(TWO) == Answer("é")
    assert len((tmp_path / "new" / "j.jsonl").read_bytes().splitlines()) == 2


def test_an_answer_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    """A kill right behind it loses nothing: the file is read while the journal is open."""
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append(ONE, Answer("A man."))
        assert json.loads((tmp_path / "j.jsonl").read_text())["text"] == "A man."


def test_a_question_is_answered_only_by_its_own_answer(tmp_path: Path) -> None:
    """Another picture under the same name, another back end or another prompt is another question."""
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append(ONE, Answer("A man."))
        for change in ({"subject": "b.png"}, {"content": "beef"}, {"by": "openai"}, {"prompt": "v2"}):
            assert journal.answered(replace(ONE, **change)) is None


def test_failures_are_recorded_and_asked_again(tmp_path: Path) -> None:
    """The last answer counts: a success behind a failure is the answer."""
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append(ONE, Answer(None, "too large"))
        assert journal.answered(ONE) is None
    with Journal(tmp_path / "j.jsonl") as journal:
        assert journal.answered(ONE) is None
        journal.append(ONE, Answer("A man."))
    with Journal(tmp_path / "j.jsonl") as journal:
        assert journal.answered(ONE) == Answer("A man.")


def test_the_half_written_last_line_of_a_killed_process_is_dropped(tmp_path: Path) -> None:
    """At whatever byte it ended; what is appended then stands on a line of its own."""
    file = tmp_path / "j.jsonl"
    with Journal(file) as journal:
        journal.append(ONE, Answer("A man."))
        first = file.stat().st_size
        journal.append(TWO, Answer("é"))
    whole = file.read_bytes()
    for cut in (first + 1, first + 30, len(whole) - 4, len(whole) - 1):
        file.write_bytes(whole[:cut])
        with Journal(file) as journal:
            assert journal.answered(ONE) == Answer("A man.")
            assert journal.answered(TWO) is None
            journal.append(TWO, Answer("again"))
        with Journal(file) as journal:
            assert journal.answered(TWO) == Answer("again")


@pytest.mark.parametrize("line", ["not JSON", "{}", "[]", '{"question": {}, "text": "x", "problem": ""}', "3"])
def test_damage_before_the_end_is_one_line(tmp_path: Path, line: str) -> None:
    """Paid answers are not thrown away in silence: the file and the byte are named."""
    file = tmp_path / "j.jsonl"
    with Journal(file) as journal:
        journal.append(ONE, Answer("A man."))
    size = file.stat().st_size
    file.write_bytes(file.read_bytes() + f"{line}\n".encode())
    with pytest.raises(UserError, match=rf"j\.jsonl is damaged after byte {size}: remove it to ask anew"):
        Journal(file)
    assert file.stat().st_size > size  # left for whoever wants to look


def test_a_journal_in_use_is_refused_and_free_again_when_closed(tmp_path: Path) -> None:
    """Two processes would pay twice."""
    with Journal(tmp_path / "j.jsonl"), pytest.raises(UserError, match=r"another process is writing to .*jsonl"):
        Journal(tmp_path / "j.jsonl")
    Journal(tmp_path / "j.jsonl").close()


def test_a_folder_that_cannot_be_written_to_names_the_key(tmp_path: Path) -> None:
    """captions.dir is what the user has set."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"captions\.dir: cannot write .*j\.jsonl"):
        Journal(tmp_path / "file" / "j.jsonl")


class Recorder:
    """A back end that answers from the last question to the first, notes what it was asked, and may stop."""

    name = "recorder"

    def __init__(self, stop_after: int | None = None, failing: Sequence[str] = ()) -> None:
        self.stop_after, self.failing = stop_after, failing
        self.asked: list[str] = []

    def rewrite(self, queries: Sequence[str]) -> Iterator[tuple[int, Answer]]:
        self.asked = list(queries)
        for number, place in enumerate(reversed(range(len(queries)))):
            if number == self.stop_after:
                raise KeyboardInterrupt
            query = queries[place]
            yield place, Answer(None, "no") if query in self.failing else Answer(query.upper())

    def describe(self, images: Sequence[Path]) -> Iterator[tuple[int, Answer]]:
        return self.rewrite([path.name for path in images])


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """What was answered before the interrupt is not asked again, and the result is whole."""
    queries = ["one", "two", "three", "two", "four"]
    with Journal(tmp_path / "j.jsonl") as journal, pytest.raises(KeyboardInterrupt):
        rewrite_queries(first := Recorder(stop_after=2), queries, journal)
    assert first.asked == ["one", "two", "three", "four"]  # equal queries are asked once
    with Journal(tmp_path / "j.jsonl") as journal:
        answers = rewrite_queries(second := Recorder(failing=["one"]), queries, journal)
    assert second.asked == ["one", "two"]
    assert answers == {"one": Answer(None, "no")} | {q: Answer(q.upper()) for q in ("two", "three", "four")}
    with Journal(tmp_path / "j.jsonl") as journal:
        assert rewrite_queries(third := Recorder(), queries, journal)["one"] == Answer("ONE")
    assert third.asked == ["one"]


def test_a_replaced_photograph_is_described_anew(tmp_path: Path) -> None:
    """The journal knows pictures by their bytes, not by their names alone."""
    records = [ImageRecord(picture(tmp_path / name), name, (), 1, "train") for name in ("a.png", "b.png")]
    with Journal(tmp_path / "j.jsonl") as journal:
        assert describe_images(Recorder(), records, journal)["b.png"] == Answer("B.PNG")
        picture(tmp_path / "b.png", (1, 2, 3))
        again = Recorder()
        assert describe_images(again, records, journal).keys() == {"a.png", "b.png"}
        assert again.asked == ["b.png"]
