"""The journal of answers: nothing is requested twice, whenever a run is killed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from captioning.captioner import Answer, AnswerStream
from captioning.job.journal import (
    Answers,
    Journal,
    Question,
    Shard,
    calls_per_rewrite,
    journal_file,
    read_journals,
    shard_journals,
)
from captioning.job.plan import JobOptions
from captioning.job.run import captioning_job, rewriting_job
from data.records import ImageRecord
from tests.captioner_options import captioner_options
from tests.pictures import picture
from utils.errors import UserError

ONE, TWO = Question("a.png", "f00d", "palette", "v1"), Question("a man – »rot«", "", "rules", "v1")


def test_answers_are_read_back(tmp_path: Path) -> None:
    """Including quotation marks and line ends."""
    file = tmp_path / "new" / "train.json"
    with Journal(journal_file(file)) as journal:
        journal.append(ONE, Answer('The male "walks".\nAnd stops.'))
        journal.append(TWO, Answer("é"))
    answers = read_journals(file)
    assert answers.get(ONE) == Answer('The male "walks".\nAnd stops.')
    assert answers.get(TWO) == Answer("é")
    assert len(journal_file(file).read_bytes().splitlines()) == 2


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
    answers = Answers()
    answers.add(ONE, Answer("A man."))
    for change in (replace(ONE, content="beef"), replace(ONE, by="openai"), replace(ONE, prompt="v2")):
        assert answers.get(change) is None
    assert answers.get(replace(ONE, subject="b.png")) == Answer("A man.")


def test_failures_are_recorded_and_requested_again(tmp_path: Path) -> None:
    """A success after a failure is the answer."""
    file = tmp_path / "train.json"
    for answer, found in ((Answer(None, "too large"), None), (Answer("A man."), Answer("A man."))):
        with Journal(journal_file(file)) as journal:
            journal.append(ONE, answer)
        assert read_journals(file).get(ONE) == found
        assert read_journals(file).has_failed(ONE)


def test_an_incomplete_last_line_is_dropped(tmp_path: Path) -> None:
    """A killed process leaves one, of any length; what is appended next is on a separate line."""
    file = tmp_path / "train.json"
    path = journal_file(file)
    with Journal(path) as journal:
        journal.append(ONE, Answer("A man."))
        first = path.stat().st_size
        journal.append(TWO, Answer("é"))
    content = path.read_bytes()
    for cut in (first + 1, first + 30, len(content) - 4, len(content) - 1):
        path.write_bytes(content[:cut])
        assert read_journals(file).get(ONE) == Answer("A man.")
        assert read_journals(file).get(TWO) is None
        with Journal(path) as journal:
            journal.append(TWO, Answer("again"))
        assert read_journals(file).get(TWO) == Answer("again")


def test_journals_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """Without tokens and seconds, which were not always recorded."""
    question = {"subject": "a.png", "content": "f00d", "by": "palette", "prompt": "v1"}
    line = json.dumps({"question": question, "text": "A man.", "problem": "", "time": "2026-01-01T00:00:00+00:00"})
    journal_file(tmp_path / "train.json").write_text(f"{line}\n")
    assert read_journals(tmp_path / "train.json").get(ONE) == Answer("A man.")


@pytest.mark.parametrize("line", ["not JSON", "{}", "[]", '{"question": {}, "text": "x", "problem": ""}', "3"])
def test_a_damaged_line_is_an_error(tmp_path: Path, line: str) -> None:
    """Paid answers are not dropped silently: the message names file and line."""
    path = journal_file(tmp_path / "train.json")
    with Journal(path) as journal:
        journal.append(ONE, Answer("A man."))
    path.write_bytes(path.read_bytes() + f"{line}\n".encode())
    with pytest.raises(UserError, match=r"train\.journal\.jsonl, line 2"):
        read_journals(tmp_path / "train.json")


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
    answers = Answers()
    answers.add(ONE, Answer("A man.", prompt_tokens=100, reply_tokens=10))
    answers.add(replace(ONE, by="openai:m"), Answer("A male.", prompt_tokens=300, reply_tokens=20))
    answers.add(replace(ONE, by="openai:m", content="beef"), Answer("Two.", prompt_tokens=200, reply_tokens=40))
    found = answers.from_other_models(replace(ONE, by="local:m"))
    assert found is not None
    assert (found[0], found[1].text) == (("openai:m", "v1"), "A male.")
    questions = [replace(ONE, by="openai:m"), replace(ONE, by="openai:m", content="beef")]
    assert answers.mean_tokens(questions) == (250.0, 30.0)
    assert answers.mean_tokens([replace(ONE, by="local:m")]) is None


def test_shards_are_merged_without_repetition(tmp_path: Path) -> None:
    """Merging twice changes nothing; a shard that is being written to is refused."""
    file = tmp_path / "train.json"
    for number, question in enumerate((ONE, TWO), 1):
        with Journal(journal_file(file, Shard(number, 2))) as part:
            part.append(question, Answer(f"By {number}."))
    with Journal(journal_file(file)) as journal:
        assert [journal.absorb(shard_journals(file)) for _ in range(2)] == [2, 0]
        busy = journal_file(file, Shard(1, 3))
        with Journal(busy), pytest.raises(UserError, match=rf"another process is writing to {busy}"):
            journal.absorb(shard_journals(file))
    assert len(journal_file(file).read_bytes().splitlines()) == 2
    for path in shard_journals(file):
        path.unlink()
    assert [read_journals(file).get(question) for question in (ONE, TWO)] == [Answer("By 1."), Answer("By 2.")]


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
    """Rewrite queries through the journal of a caption file."""
    job = rewriting_job(rewriter, captioner_options(), queries, {})
    with Journal(journal_file(file)) as journal:
        job.run(journal, read_journals(file), JobOptions())
    return job.plan.texts


def test_an_interrupted_run_resumes(tmp_path: Path) -> None:
    """What was answered before the interrupt is not requested again."""
    queries, file = ["one", "two", "three", "two", "four"], tmp_path / "test.json"
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
    rewrites(Recorder(failing=["one", "three"]), ["one", "two", "three"], tmp_path / "test.json")
    rewrites(second := Recorder(), ["one", "two", "three", "four", "five"], tmp_path / "test.json")
    assert second.inputs == ["four", "five", "one", "three"]


def test_a_replaced_image_is_described_again_and_equal_ones_once(tmp_path: Path) -> None:
    """The journal identifies images by their bytes, not by their names alone."""
    colors = {"a.png": (9, 9, 9), "b.png": (1, 2, 3), "c.png": (9, 9, 9)}
    records = [ImageRecord(picture(tmp_path / name, rgb), name, (), 1, "train") for name, rgb in colors.items()]
    file = tmp_path / "train.json"
    with Journal(journal_file(file)) as journal:
        first = captioning_job(recorder := Recorder(), captioner_options(), records, {})
        first.run(journal, Answers(), JobOptions())
        assert recorder.inputs == ["a.png", "b.png"]
        assert first.plan.texts == {"a.png": "A.PNG", "b.png": "B.PNG", "c.png": "A.PNG"}
        picture(tmp_path / "c.png", (1, 2, 4))
        again = captioning_job(recorder := Recorder(), captioner_options(), records, {})
        again.run(journal, read_journals(file), JobOptions())
        assert recorder.inputs == ["c.png"]
        assert again.plan.texts["c.png"] == "C.PNG"
    entries = [json.loads(line) for line in journal_file(file).read_text().splitlines()]
    assert [entry["question"]["size"] for entry in entries[:1]] == [(tmp_path / "a.png").stat().st_size]
