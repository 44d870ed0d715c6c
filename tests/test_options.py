"""Options of the caption scripts: parts of the work, and what excludes what."""

from __future__ import annotations

import argparse
from collections import Counter

import pytest

from captioning.journal import Question
from captioning.options import Options, Shard, add_options, read_options
from utils.errors import UserError


def options(*given: str) -> Options:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return read_options(parser.parse_args(given))


def test_each_question_is_in_one_part_and_equal_ones_in_the_same() -> None:
    """About as many in each; the name of a file does not count, its bytes do."""
    questions = [Question(f"{number}.png", f"{number:08x}", "openai:m", "v1") for number in range(3000)]
    shards = [Shard(number, 3) for number in (1, 2, 3)]
    owners: Counter[int] = Counter()
    for question in questions:
        [owner] = [shard.number for shard in shards if shard.has(question)]
        owners[owner] += 1
        assert shards[owner - 1].has(Question("other.png", question.content, "local:n", "v2"))
    assert min(owners.values()) > 900


@pytest.mark.parametrize("part", ["0/3", "4/3", "three", "1"])
def test_a_part_that_does_not_exist(part: str) -> None:
    with pytest.raises(UserError, match=f"--shard {part}: expected I/N with I from 1 to N, e.g. 3/16"):
        options("--shard", part)


def test_what_excludes_what() -> None:
    assert options("--shard", "3/16", "--keep") == Options(keep=True, shard=Shard(3, 16))
    with pytest.raises(UserError, match="--shard and --merge: do the parts first, then merge them"):
        options("--shard", "1/2", "--merge")
    for other in (("--shard", "1/2"), ("--merge",)):
        with pytest.raises(UserError, match="--restart does not go with --shard or --merge"):
            options("--restart", *other)
