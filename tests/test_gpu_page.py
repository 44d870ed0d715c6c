"""The page of `benchmarks/gpu.bash`: sections that fail do not stop the others, and killed runs are compared."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu, gpu_sections
from benchmarks.kills import losses_apart


def test_a_section_that_fails_is_reported_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the error of the process that failed; the exit status says whether all passed."""
    page = tmp_path / "page.md"
    fails = "print('a line'); raise ValueError('no such kernel')"
    sections = {
        "One": lambda trial: gpu_sections.python("-c", fails),
        "Two": lambda trial: gpu_sections.python("-c", "print('| 1 | 2 |')"),
    }
    monkeypatch.setattr(gpu, "SECTIONS", sections)
    assert gpu.main(["--device", "cpu", "--small", "--out", str(page)]) == 1
    text = page.read_text()
    assert "**Failed:**" in text
    assert "ValueError: no such kernel" in text
    assert text.index("## One") < text.index("**Failed:**") < text.index("## Two") < text.index("| 1 | 2 |")
    assert "2 sections, failed: One" in text
    sections.pop("One")
    assert gpu.main(["--device", "cpu", "--small", "--out", str(page)]) == 0
    assert "all sections passed" in page.read_text()


def test_a_process_that_takes_too_long_is_ended() -> None:
    """With those that it has started."""
    with pytest.raises(gpu_sections.FailedError, match=r"not finished after 0\.01 minutes"):
        gpu_sections.python("-c", "import subprocess; subprocess.run(['sleep', '60'])", minutes=0.01)


def test_runs_are_compared_by_their_epochs_and_losses() -> None:
    """Other epochs or steps are infinitely far apart, and so are runs without any."""

    def log(loss: float, *steps: int) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = [{"event": "step", "round": 0, "epoch": 0, "step": step} for step in steps]
        return [*lines, {"event": "epoch", "round": 0, "epoch": 0, "loss": loss, "itc": 1.0, "id": 2.0}]

    assert losses_apart(log(4.0, 0, 1), log(4.1, 0, 1)) == pytest.approx(0.025)
    assert losses_apart(log(4.0, 0, 1), log(4.0, 0, 1, 1)) == math.inf
    assert losses_apart(log(4.0, 0)[:1], log(4.0, 0)[:1]) == math.inf
