"""The journal of answers: nothing is asked twice, whatever was killed and whenever."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from captioning.captioner import Answer, Arriving
from captioning.generate import describing, rewriting
from captioning.journal import Journal, Question, read_journal
from captioning.options import Options, journal_file
from captioning.plan import calls_of_a_rewrite
from captioning.service import Service
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
        assert journal.answers.of(ONE) == Answer('The male "walks".\nAnd stops.')
        assert journal.answers.of(TWO) == Answer("é")
    assert len((tmp_path / "new" / "j.jsonl").read_bytes().splitlines()) == 2


def test_an_answer_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    """A kill right behind it loses nothing: the file is read while the journal is open."""
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append(ONE, Answer("A man."))
        assert json.loads((tmp_path / "j.jsonl").read_text())["text"] == "A man."


def test_a_journal_tells_what_rewrites_cost(tmp_path: Path) -> None:
    """A call each where a model wrote them, none where the rules did; who described the images does not count."""
    file = tmp_path / "test.json"
    assert calls_of_a_rewrite(file) is None
    for by, calls in ((None, None), ("rules 2", 0), ("Qwen/Qwen2.5-VL-7B-Instruct", 1)):
        with Journal(journal_file(file)) as journal:
            journal.append(replace(ONE, by="Qwen/Qwen2.5-VL-7B-Instruct"), Answer("A man."))
            if by:
                journal.append(replace(TWO, by=by, subject=f"a query for {by}"), Answer("A man."))
        assert calls_of_a_rewrite(file) == calls


def test_a_question_is_answered_only_by_its_own_answer(tmp_path: Path) -> None:
    """Another picture under the same name, another back end, another prompt; a new name alone is the same question."""
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append(ONE, Answer("A man."))
        for change in (replace(ONE, content="beef"), replace(ONE, by="openai"), replace(ONE, prompt="v2")):
            assert journal.answers.of(change) is None
        assert journal.answers.of(replace(ONE, subject="b.png")) == Answer("A man.")


def test_failures_are_recorded_and_asked_again(tmp_path: Path) -> None:
    """The last answer counts: a success behind a failure is the answer."""
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append(ONE, Answer(None, "too large"))
        assert journal.answers.of(ONE) is None
    with Journal(tmp_path / "j.jsonl") as journal:
        assert journal.answers.of(ONE) is None
        journal.append(ONE, Answer("A man."))
    with Journal(tmp_path / "j.jsonl") as journal:
        assert journal.answers.of(ONE) == Answer("A man.")


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
            assert journal.answers.of(ONE) == Answer("A man.")
            assert journal.answers.of(TWO) is None
            journal.append(TWO, Answer("again"))
        with Journal(file) as journal:
            assert journal.answers.of(TWO) == Answer("again")


@pytest.mark.parametrize("line", ["not JSON", "{}", "[]", '{"question": {}, "text": "x", "problem": ""}', "3"])
def test_damage_before_the_end_is_one_line(tmp_path: Path, line: str) -> None:
    """Paid answers are not thrown away in silence: the file and the byte are named."""
    file = tmp_path / "j.jsonl"
    with Journal(file) as journal:
        journal.append(ONE, Answer("A man."))
    size = file.stat().st_size
    file.write_bytes(file.read_bytes() + f"{line}\n".encode())
    with pytest.raises(UserError, match=r"j\.jsonl, line 2 is damaged: delete that line"):
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


def test_answers_of_another_model_are_known_for_what_they_are(tmp_path: Path) -> None:
    """The last one counts; so do its tokens."""
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append(ONE, Answer("A man.", prompt_tokens=100, reply_tokens=10))
        journal.append(replace(ONE, by="openai:m"), Answer("A male.", prompt_tokens=300, reply_tokens=20))
        journal.append(replace(ONE, by="openai:m", content="beef"), Answer("Two.", prompt_tokens=200, reply_tokens=40))
    answers, _ = read_journal(tmp_path / "j.jsonl")
    found = answers.by_others(replace(ONE, by="local:m"))
    assert found is not None
    assert (found[0], found[1].text) == (("openai:m", "v1"), "A male.")
    asked = [replace(ONE, by="openai:m"), replace(ONE, by="openai:m", content="beef")]
    assert answers.mean_tokens(asked) == (250.0, 30.0)
    assert answers.mean_tokens([replace(ONE, by="local:m")]) is None


def test_parts_are_taken_together_without_repetition(tmp_path: Path) -> None:
    """Merging twice changes nothing; a part that is being written to is refused."""
    for name, questions in (("a", [ONE, TWO]), ("b", [TWO, replace(ONE, content="beef")])):
        with Journal(tmp_path / f"{name}.jsonl") as part:
            for question in questions:
                part.append(question, Answer(f"By {name}."))
    with Journal(tmp_path / "j.jsonl") as journal:
        assert [journal.absorb(tmp_path / f"{name}.jsonl") for name in "abab"] == [2, 1, 0, 0]
        assert journal.answers.of(TWO) == Answer("By a.")
        with Journal(tmp_path / "c.jsonl"), pytest.raises(UserError, match=r"another process is writing to .*c\.jsonl"):
            journal.absorb(tmp_path / "c.jsonl")
    assert len((tmp_path / "j.jsonl").read_bytes().splitlines()) == 3


class Recorder:
    """A back end that answers from the last question to the first, notes what it was asked, and may stop."""

    name = "recorder"

    def __init__(self, stop_after: int | None = None, failing: Sequence[str] = ()) -> None:
        self.stop_after, self.failing = stop_after, failing
        self.asked: list[str] = []

    def rewrite(self, queries: Sequence[str]) -> Arriving:
        self.asked = list(queries)
        for number, place in enumerate(reversed(range(len(queries)))):
            if number == self.stop_after:
                raise KeyboardInterrupt
            query = queries[place]
            yield place, Answer(None, "no") if query in self.failing else Answer(query.upper())

    def describe(self, images: Sequence[Path]) -> Arriving:
        return self.rewrite([path.name for path in images])


def rewrites(rewriter: Recorder, queries: Sequence[str], file: Path) -> dict[str, str]:
    """Rewrite queries through a journal."""
    errand = rewriting(rewriter, Service(), queries, {})
    with Journal(file) as journal:
        errand.run(journal, [], Options())
    return errand.made


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """What was answered before the interrupt is not asked again, and the result is whole."""
    queries, file = ["one", "two", "three", "two", "four"], tmp_path / "j.jsonl"
    with pytest.raises(KeyboardInterrupt):
        rewrites(first := Recorder(stop_after=2), queries, file)
    assert first.asked == ["one", "two", "three", "four"]  # equal queries are asked once
    made = rewrites(second := Recorder(failing=["one"]), queries, file)
    assert second.asked == ["one", "two"]
    assert made == {query: query.upper() for query in ("two", "three", "four")}
    assert rewrites(third := Recorder(), queries, file)["one"] == "ONE"
    assert third.asked == ["one"]


def test_a_replaced_photograph_is_described_anew_and_equal_ones_once(tmp_path: Path) -> None:
    """The journal knows pictures by their bytes, not by their names alone."""
    colours = {"a.png": (9, 9, 9), "b.png": (1, 2, 3), "c.png": (9, 9, 9)}
    records = [ImageRecord(picture(tmp_path / name, rgb), name, (), 1, "train") for name, rgb in colours.items()]
    with Journal(tmp_path / "j.jsonl") as journal:
        first = describing(recorder := Recorder(), Service(), records, {})
        first.run(journal, [], Options())
        assert recorder.asked == ["a.png", "b.png"]
        assert first.made == {"a.png": "A.PNG", "b.png": "B.PNG", "c.png": "A.PNG"}
        picture(tmp_path / "c.png", (1, 2, 4))
        again = describing(recorder := Recorder(), Service(), records, {})
        again.run(journal, [], Options())
        assert recorder.asked == ["c.png"]
        assert again.made["c.png"] == "C.PNG"
    entries = [json.loads(line) for line in (tmp_path / "j.jsonl").read_text().splitlines()]
    assert [entry["question"]["size"] for entry in entries[:1]] == [(tmp_path / "a.png").stat().st_size]
