"""What every test may count on, however the tests were started, and the small data and run that many look at."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.small import Small, quick_run, write_small_data

# A shell lets what it starts in the background ignore Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A small data set and its captions, which no test may change."""
    folder = tmp_path_factory.mktemp("small")
    return write_small_data(folder / "data", folder / "captions")


@pytest.fixture(scope="session")
def whole(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on them that nobody interrupted."""
    import train  # loads what trains, which most tests do without

    run = tmp_path_factory.mktemp("whole")
    assert train.main(quick_run(*small, run)) == 0
    return run
