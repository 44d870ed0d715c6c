"""The journal of answers: nothing is requested twice, whenever a run is killed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from captioning.captioner import Answer, AnswerStream
from captioning.job.journal import Journal, Question, calls_per_rewrite, journal_file, read_journal
from captioning.job.plan import JobOptions
from captioning.job.run import captioning_job, rewriting_job
from captioning.options import LanguageModelOptions
from data.records import ImageRecord
from tests.pictures import picture
from utils.errors import UserError

ONE, TWO = Question("a.png", "f00d", "palette", "v1"), Question("a man – »rot«", "", "rules", "v1")


def test_answers_are_read_back(tmp_path: Path) -> None:
    """Including quotation marks and line ends."""
    with Journal(tmp_path / "new" / "j.jsonl") as journal:
        journal.append(ONE, Answer('The male "walks".\nAnd stops.'))
        journal.append(TWO, Answer("é"))
    with Journal(tmp_path / "new" / "j.jsonl") as journal:
        assert journal.answers.get(ONE) == Answer('The male "walks".\nAnd stops.')
        assert journal.answers.get(TWO) == Answer("é")
    assert len((tmp_path / "new" / "j.jsonl").read_bytes().splitlines()) == 2


def test_an_answer_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    """A kill right after it loses nothing: the file is read while the journal is open."""
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append(ONE, Answer("A man."))
        assert json.loads((tmp_path / "j.jsonl").read_text())["text"] == "A man."


def test_model_calls_per_rewrite(tmp_path: Path) -> None:
    """One by a language model, none by the rules; the captioner does not count."""
    file = tmp_path / "test.json"
    assert calls_per_rewrite(file) is None
    for by, calls in ((None, None), ("rules 2", 0), ("Qwen/Qwen2.5-VL-7B-Instruct", 1)):
        with Journal(journal_file(file)) as journal:
            journal.append(replace(ONE, by="Qwen/Qwen2.5-VL-7B-Instruct"), Answer("A man."))
            if by:
                journal.append(replace(TWO, by=by, subject=f"a query for {by}"), Answer("A man."))
        assert calls_per_rewrite(file) == calls


def test_a_question_is_answered_only_by_its_own_answer(tmp_path: Path) -> None:
    """Not by that of another image of this name, another backend or prompt; a renamed image is the same question."""
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append(ONE, Answer("A man."))
        for change in (replace(ONE, content="beef"), replace(ONE, by="openai"), replace(ONE, prompt="v2")):
            assert journal.answers.get(change) is None
        assert journal.answers.get(replace(ONE, subject="b.png")) == Answer("A man.")


def test_failures_are_recorded_and_requested_again(tmp_path: Path) -> None:
    """A success after a failure is the answer."""
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append(ONE, Answer(None, "too large"))
        assert journal.answers.get(ONE) is None
    with Journal(tmp_path / "j.jsonl") as journal:
        assert journal.answers.get(ONE) is None
        journal.append(ONE, Answer("A man."))
    with Journal(tmp_path / "j.jsonl") as journal:
        assert journal.answers.get(ONE) == Answer("A man.")


def test_an_incomplete_last_line_is_dropped(tmp_path: Path) -> None:
    """A killed process leaves one, of any length; what is appended next is on a line of its own."""
    file = tmp_path / "j.jsonl"
    with Journal(file) as journal:
        journal.append(ONE, Answer("A man."))
        first = file.stat().st_size
        journal.append(TWO, Answer("é"))
    whole = file.read_bytes()
    for cut in (first + 1, first + 30, len(whole) - 4, len(whole) - 1):
        file.write_bytes(whole[:cut])
        with Journal(file) as journal:
            assert journal.answers.get(ONE) == Answer("A man.")
            assert journal.answers.get(TWO) is None
            journal.append(TWO, Answer("again"))
        with Journal(file) as journal:
            assert journal.answers.get(TWO) == Answer("again")


@pytest.mark.parametrize("line", ["not JSON", "{}", "[]", '{"question": {}, "text": "x", "problem": ""}', "3"])
def test_a_damaged_line_is_an_error(tmp_path: Path, line: str) -> None:
    """Paid answers are not dropped silently: the message names file and line."""
    file = tmp_path / "j.jsonl"
    with Journal(file) as journal:
        journal.append(ONE, Answer("A man."))
    size = file.stat().st_size
    file.write_bytes(file.read_bytes() + f"{line}\n".encode())
    with pytest.raises(UserError, match=r"j\.jsonl, line 2"):
        Journal(file)
    assert file.stat().st_size > size  # kept for inspection


def test_a_journal_is_locked_while_it_is_open(tmp_path: Path) -> None:
    """Two processes would pay twice."""
    with Journal(tmp_path / "j.jsonl"), pytest.raises(UserError, match=r"another process is writing to .*jsonl"):
        Journal(tmp_path / "j.jsonl")
    Journal(tmp_path / "j.jsonl").close()


def test_a_folder_that_cannot_be_written_to_names_the_key(tmp_path: Path) -> None:
    """`captions.dir` is what the user can change."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"captions\.dir: cannot write .*j\.jsonl"):
        Journal(tmp_path / "file" / "j.jsonl")


def test_answers_from_other_models(tmp_path: Path) -> None:
    """The last one counts; mean tokens are those of the model itself."""
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append(ONE, Answer("A man.", prompt_tokens=100, reply_tokens=10))
        journal.append(replace(ONE, by="openai:m"), Answer("A male.", prompt_tokens=300, reply_tokens=20))
        journal.append(replace(ONE, by="openai:m", content="beef"), Answer("Two.", prompt_tokens=200, reply_tokens=40))
    answers, _ = read_journal(tmp_path / "j.jsonl")
    found = answers.from_other_models(replace(ONE, by="local:m"))
    assert found is not None
    assert (found[0], found[1].text) == (("openai:m", "v1"), "A male.")
    questions = [replace(ONE, by="openai:m"), replace(ONE, by="openai:m", content="beef")]
    assert answers.mean_tokens(questions) == (250.0, 30.0)
    assert answers.mean_tokens([replace(ONE, by="local:m")]) is None


def test_shards_are_merged_without_repetition(tmp_path: Path) -> None:
    """Merging twice changes nothing; a shard that is being written to is refused."""
    for name, questions in (("a", [ONE, TWO]), ("b", [TWO, replace(ONE, content="beef")])):
        with Journal(tmp_path / f"{name}.jsonl") as part:
            for question in questions:
                part.append(question, Answer(f"By {name}."))
    with Journal(tmp_path / "j.jsonl") as journal:
        assert [journal.absorb(tmp_path / f"{name}.jsonl") for name in "abab"] == [2, 1, 0, 0]
        assert journal.answers.get(TWO) == Answer("By a.")
        with Journal(tmp_path / "c.jsonl"), pytest.raises(UserError, match=r"another process is writing to .*c\.jsonl"):
            journal.absorb(tmp_path / "c.jsonl")
    assert len((tmp_path / "j.jsonl").read_bytes().splitlines()) == 3


class Recorder:
    """A backend that answers from the last input to the first, records its inputs, and may be interrupted."""

    name = "recorder"

    def __init__(self, stop_after: int | None = None, failing: Sequence[str] = ()) -> None:
        self.stop_after, self.failing = stop_after, failing
        self.inputs: list[str] = []

    def rewrite(self, queries: Sequence[str]) -> AnswerStream:
        self.inputs = list(queries)
        for number, place in enumerate(reversed(range(len(queries)))):
            if number == self.stop_after:
                raise KeyboardInterrupt
            query = queries[place]
            yield place, Answer(None, "no") if query in self.failing else Answer(query.upper())

    def describe(self, images: Sequence[Path]) -> AnswerStream:
        return self.rewrite([path.name for path in images])


def rewrites(rewriter: Recorder, queries: Sequence[str], file: Path) -> dict[str, str]:
    """Rewrite queries through a journal."""
    job = rewriting_job(rewriter, LanguageModelOptions(), queries, {})
    with Journal(file) as journal:
        job.run(journal, [], JobOptions())
    return job.texts


def test_an_interrupted_run_resumes(tmp_path: Path) -> None:
    """What was answered before the interrupt is not requested again."""
    queries, file = ["one", "two", "three", "two", "four"], tmp_path / "j.jsonl"
    with pytest.raises(KeyboardInterrupt):
        rewrites(first := Recorder(stop_after=2), queries, file)
    assert first.inputs == ["one", "two", "three", "four"]  # equal queries are requested once
    texts = rewrites(second := Recorder(failing=["one"]), queries, file)
    assert second.inputs == ["one", "two"]
    assert texts == {query: query.upper() for query in ("two", "three", "four")}
    assert rewrites(third := Recorder(), queries, file)["one"] == "ONE"
    assert third.inputs == ["one"]


def test_what_failed_before_is_requested_last(tmp_path: Path) -> None:
    """Otherwise failures in a row would stop every run before it reaches new questions."""
    rewrites(Recorder(failing=["one", "three"]), ["one", "two", "three"], tmp_path / "j.jsonl")
    rewrites(second := Recorder(), ["one", "two", "three", "four", "five"], tmp_path / "j.jsonl")
    assert second.inputs == ["four", "five", "one", "three"]


def test_a_replaced_image_is_described_again_and_equal_ones_once(tmp_path: Path) -> None:
    """The journal identifies images by their bytes, not by their names alone."""
    colors = {"a.png": (9, 9, 9), "b.png": (1, 2, 3), "c.png": (9, 9, 9)}
    records = [ImageRecord(picture(tmp_path / name, rgb), name, (), 1, "train") for name, rgb in colors.items()]
    with Journal(tmp_path / "j.jsonl") as journal:
        first = captioning_job(recorder := Recorder(), LanguageModelOptions(), records, {})
        first.run(journal, [], JobOptions())
        assert recorder.inputs == ["a.png", "b.png"]
        assert first.texts == {"a.png": "A.PNG", "b.png": "B.PNG", "c.png": "A.PNG"}
        picture(tmp_path / "c.png", (1, 2, 4))
        again = captioning_job(recorder := Recorder(), LanguageModelOptions(), records, {})
        again.run(journal, [], JobOptions())
        assert recorder.inputs == ["c.png"]
        assert again.texts["c.png"] == "C.PNG"
    entries = [json.loads(line) for line in (tmp_path / "j.jsonl").read_text().splitlines()]
    assert [entry["question"]["size"] for entry in entries[:1]] == [(tmp_path / "a.png").stat().st_size]
