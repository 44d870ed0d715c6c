"""Environment of all tests, and the small data set and run that many of them share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.people import indexed, photographs  # noqa: F401 - fixtures of all tests
from tests.small import Small, quick_run, write_small_data

# Tests run in two processes, and some start several more. Threads of all of them that wait by spinning, as OpenMP's do,
# would slow each other down tenfold.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell makes background jobs ignore Ctrl-C, and every process that a test starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A small data set and its captions, which no test may change."""
    folder = tmp_path_factory.mktemp("small")
    return write_small_data(folder / "data", folder / "captions")


@pytest.fixture(scope="session")
def uninterrupted(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run on them."""
    import train  # imports the training code, which most tests do not need

    run = tmp_path_factory.mktemp("uninterrupted")
    assert train.main(quick_run(*small, run)) == 0
    return run
