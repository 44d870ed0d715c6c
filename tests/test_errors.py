"""How scripts end: one line and status 2 for user errors, 130 for Ctrl-C, a traceback for bugs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from utils.device import pick_device
from utils.errors import UserError, run_script


def status(main: Callable[[], int | None]) -> int:
    with pytest.raises(SystemExit) as left:
        run_script(main)
    return int(left.value.code or 0)


def raising(error: BaseException) -> Callable[[], int | None]:
    def main() -> int | None:
        raise error

    return main


def test_a_user_error_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, without a traceback."""
    assert status(raising(UserError("data.root: folder x is missing"))) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: data.root: folder x is missing\n"
    assert captured.out == ""


def test_an_interrupt_is_one_line_and_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    """It explains how to resume."""
    assert status(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted: run the same command again to resume\n"


def test_the_status_of_main_is_the_scripts() -> None:
    """None is success."""
    assert [status(lambda: None), status(lambda: 0), status(lambda: 3)] == [0, 0, 3]


def test_names_do_not_break_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Line feeds, bytes that are not UTF-8, and thousands of letters; what comes at the end stays."""
    assert status(raising(UserError(f"{'x' * 50_000}\n\udcff: do this"))) == 2
    line = capsys.readouterr().err
    assert line.endswith("x\\n\\udcff: do this\n")
    assert line.count("\n") == 1
    assert len(line) < 3000


def test_errors_of_the_operating_system_name_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Where nothing better is known of them."""
    assert status(lambda: int((tmp_path / "none").read_text())) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'none'}: No such file or directory\n"


SAY = "from utils.errors import run_script\nfrom utils.logs import log, show\n"
WAYS = {"log": "log.info('one é')", "result": "show('one é')"}


def output_to(target: str, program: str, **environment: str) -> tuple[int, str, str]:
    """Exit status and what a program writes to standard error and, if the target is a pipe, to standard output."""
    command = ["bash", "-c", f'"$0" -c "$1" {target}; exit ${{PIPESTATUS[0]}}', sys.executable, program]
    place = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, env=os.environ | environment, timeout=60)
    return done.returncode, done.stderr, done.stdout


@pytest.mark.parametrize("way", WAYS)
def test_output_that_nobody_reads_or_that_has_no_place(way: str) -> None:
    """As a program that SIGPIPE ends; one line and status 2 for a full disk; and nothing at all if it is closed."""
    program, late = (f"{SAY}{wait}run_script(lambda: {WAYS[way]})" for wait in ("", "import time; time.sleep(0.3)\n"))
    assert output_to("| true", late)[:2] == (128 + signal.SIGPIPE, "")
    full = "error: cannot write to standard output: No space left on device\n"
    assert output_to("> /dev/full", program)[:2] == (2, full)
    assert output_to(">&-", program)[:2] == (0, "")


def test_output_in_ascii_has_escapes() -> None:
    """Whatever is written: a log line, an error."""
    program = f"{SAY}run_script(lambda: log.info('é ± 写'))"
    assert output_to("", program, PYTHONIOENCODING="ascii") == (0, "", r"\xe9 \xb1 \u5199" + "\n")


def test_help_into_a_full_disk_is_an_error() -> None:
    """argparse ends the script itself."""
    program = f"{SAY}import argparse; run_script(lambda: argparse.ArgumentParser().parse_args(['--help']))"
    assert output_to("> /dev/full", program)[0] == 2


def test_bugs_keep_their_traceback() -> None:
    """Only user errors become one-line messages."""
    with pytest.raises(ValueError, match="a fault"):
        run_script(raising(ValueError("a fault")))


def interrupted(program: str) -> tuple[int, str]:
    """Exit status and standard error of a Python program that gets SIGINT once it has printed a line."""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def test_a_real_interrupt_ends_a_process_with_130() -> None:
    """SIGINT to a process that runs a script."""
    program = (
        "import time; from utils.errors import run_script\n"
        "def main():\n    print('ready', flush=True); time.sleep(60)\n"
        "run_script(main)"
    )
    assert interrupted(program) == (130, "interrupted: run the same command again to resume\n")


def test_an_interrupt_while_libraries_load_leaves_one_line() -> None:
    """The process is terminated by the signal, as its shell expects."""
    program = "import utils.interrupts, time; print('ready', flush=True); time.sleep(60)"
    assert interrupted(program) == (-signal.SIGINT, "interrupted: run the same command again to resume\n")


def test_the_device_is_one_that_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    """auto falls back on the CPU; a GPU that is not there is a user error that names the key."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:0"):
        with pytest.raises(UserError, match=rf"run\.device={name}: there is no such GPU here \(0 found\)"):
            pick_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto").type == "cuda"
    assert pick_device("cuda:1").index == 1
    with pytest.raises(UserError, match=r"run\.device=cuda:2: there is no such GPU here \(2 found\)"):
        pick_device("cuda:2")
