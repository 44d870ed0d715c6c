"""Command-line options of the caption scripts: shards, and which options exclude each other."""

from __future__ import annotations

import argparse
from collections import Counter

import pytest

from captioning.job.journal import Question, Shard
from captioning.job.plan import JobOptions, add_job_arguments, read_job_options
from utils.errors import UserError


def options(*given: str) -> JobOptions:
    parser = argparse.ArgumentParser()
    add_job_arguments(parser)
    return read_job_options(parser.parse_args(given))


def test_each_question_is_in_one_shard_and_equal_ones_in_the_same() -> None:
    """Shards are about equally large, and depend on the bytes of a file, not on its name."""
    questions = [Question(f"{number}.png", f"{number:08x}", "openai:m", "v1") for number in range(3000)]
    shards = [Shard(number, 3) for number in (1, 2, 3)]
    owners: Counter[int] = Counter()
    for question in questions:
        [owner] = [shard.number for shard in shards if shard.includes(question)]
        owners[owner] += 1
        assert shards[owner - 1].includes(Question("other.png", question.content, "local:n", "v2"))
    assert min(owners.values()) > 900


@pytest.mark.parametrize("part", ["0/3", "4/3", "three", "1"])
def test_a_shard_that_does_not_exist_is_refused(part: str) -> None:
    with pytest.raises(UserError, match=f"--shard {part}: expected I/N"):
        options("--shard", part)


def test_options_that_exclude_each_other() -> None:
    assert options("--shard", "3/16", "--keep") == JobOptions(keep=True, shard=Shard(3, 16))
    with pytest.raises(UserError, match="--shard and --merge"):
        options("--shard", "1/2", "--merge")
    for other in (("--shard", "1/2"), ("--merge",)):
        with pytest.raises(UserError, match="--restart excludes --shard and --merge"):
            options("--restart", *other)
