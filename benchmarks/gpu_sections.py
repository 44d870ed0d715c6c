"""Sections of the page of `benchmarks.gpu`: what is measured or tried out, each in processes of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from data.demo import DrawnSet, draw_people
from utils.files import read_jsonl

ROOT = Path(__file__).parents[1]
_MINUTES = 10  # that a process may take


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        preset: of the model.
        batches, steps: of the training step.
        photographs, workers: of the data loader.
        people: drawn for the runs, in the training, validation and test split.
        settings: of the runs.
        batch: of the runs, for one process or for two together.
        kills: of the killed run.
        points: to cluster.
        captions: by the local captioner.
    """

    preset: str
    batches: Sequence[int]
    steps: int
    photographs: int
    workers: Sequence[int]
    people: tuple[int, int, int]
    settings: Sequence[str]
    batch: int
    kills: int
    points: int
    captions: int


# Random weights of the size of BLIP's: figures of speed, none of accuracy.
_RANDOM = ("model.init=null", "model.vocab=null", "train.lr=1.0e-4", "train.pretrain_epochs=1")
FULL = Sizes(
    preset="base",
    batches=(36, 128, 256),
    steps=20,
    photographs=4000,
    workers=(1, 4, 8, 16),
    people=(400, 50, 50),
    settings=(*_RANDOM, "cluster.degenerate=adjust"),
    batch=72,
    kills=3,
    points=34054,
    captions=256,
)
SMALL = Sizes(
    preset="tiny",
    batches=(8,),
    steps=2,
    photographs=100,
    workers=(0, 1),
    people=(12, 4, 6),
    settings=("cluster.k1=4", "train.batch_size=16", "train.workers=0"),
    batch=16,
    kills=1,
    points=1000,
    captions=4,
)


@dataclass(frozen=True)
class Trial:
    """What a section gets: the device, the sizes, a folder for its files, and the captioner if one is given."""

    device: torch.device
    sizes: Sizes
    folder: Path
    captioner: str | None

    @property
    def gpus(self) -> int:
        """Number of GPUs that are measured."""
        return torch.cuda.device_count() if self.device.type == "cuda" else 0

    @property
    def settings(self) -> list[str]:
        """Overrides of every run: drawn people, captioned by `palette`."""
        own = ["data.name=cuhk_pedes", f"data.root={self.folder / 'drawn'}", f"captions.dir={self.folder / 'captions'}"]
        own += [f"model.preset={self.sizes.preset}", "captioner.backend=palette", "train.rounds=1", "train.epochs=1"]
        return [*own, f"run.device={self.device.type}", *self.sizes.settings]


class FailedError(Exception):
    """A section failed; the message is the last line of the process that failed."""


def python(*command: str, minutes: float = _MINUTES) -> str:
    """Run Python with these arguments and return its standard output.

    Raises:
        FailedError: it failed or took too long; the message is its last line.
    """
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True, process_group=0
        )
        try:
            output, _ = process.communicate(timeout=60 * minutes)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # and the processes that it has started
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise FailedError(f"{' '.join(command[:3])}: not finished after {minutes:g} minutes") from None
            raise
        errors.seek(0)
        lines = [line.strip() for line in f"{output}\n{errors.read()}".splitlines() if line.strip()]
    if process.returncode:
        last = next(
            (line for line in reversed(lines) if re.search(r"error", line, re.IGNORECASE)), (lines or ["-"])[-1]
        )
        raise FailedError(f"{' '.join(command[:3])}: exit status {process.returncode}: {last}")
    return output


def training_step(trial: Trial) -> str:
    """Images per second and utilization of a step, for every batch size, eager and compiled."""
    precision = "bf16" if trial.device.type == "cuda" else "fp32"
    common = ["-m", "benchmarks.train_step", "--presets", trial.sizes.preset, "--precision", precision]
    common += ["--device", trial.device.type, "--steps", str(trial.sizes.steps), "--part"]
    rate = json.loads(python(*common, "rate").splitlines()[-1])["rate"]
    rows = [f"{trial.sizes.preset}, {precision}; matrix products reach {rate / 1e12:,.2f} TFLOP/s\n"]
    rows += [
        "| batch | encoders | s/step | images/s | peak memory, GiB | TFLOP/s | MFU |",
        "|---|---|---|---|---|---|---|",
    ]
    for batch in trial.sizes.batches:
        for kind in ("eager", "compiled"):
            more = ["--compile"] if kind == "compiled" else []
            try:
                found = json.loads(python(*common, "ours", "--batch", str(batch), *more).splitlines()[-1])
            except FailedError as error:
                if "out of memory" not in str(error).lower():
                    raise
                rows.append(f"| {batch} | {kind} | does not fit into the memory | | | | |")
                continue
            done = found["flops"] / found["seconds"]
            rows.append(
                f"| {batch} | {kind} | {found['seconds']:.4f} | {batch / found['seconds']:.1f} "
                f"| {found['memory'] / 2**30:.1f} | {done / 1e12:.2f} | {done / rate:.1%} |"
            )
    return "\n".join([*rows, "\nMFU: operations without padding, relative to those matrix products."])


def loader(trial: Trial) -> str:
    """Images per second of the data loader."""
    workers = [str(number) for number in trial.sizes.workers if number <= max(1, len(os.sched_getaffinity(0)))]
    return python("-m", "benchmarks.loader", "--images", str(trial.sizes.photographs), "--workers", *workers)


def killed_run(trial: Trial) -> str:
    """Train on drawn people, and once more killed and resumed."""
    prepare(trial)
    start = time.monotonic()
    config = ["--config", "configs/cuhk_pedes.yaml", "--set", *trial.settings]
    output = python("train.py", *config, f"run.dir={trial.folder / 'run'}")
    seconds = time.monotonic() - start
    command = ["-m", "benchmarks.kills", str(trial.folder / "run"), str(trial.folder / "killed"), *config]
    command += ["--kills", str(trial.sizes.kills), "--within", f"{seconds:.0f}"]
    # On a GPU, the order of sums differs from run to run.
    command += ["--losses-within", "0.05"] if trial.device.type == "cuda" else []
    epochs = "\n".join(f"- {line}" for line in output.splitlines() if "images/s" in line)
    kills = "\n".join(f"- {line}" for line in python(*command).splitlines() if line.startswith(("kill", "id", "mean")))
    return f"The undisturbed run took {seconds:.0f} s:\n\n{epochs}\n\nThe killed one:\n\n{kills}"


def prepare(trial: Trial) -> None:
    """Draw people and caption them, once."""
    train, val, test = trial.sizes.people
    drawn = DrawnSet(seed=11, train_people=train, val_people=val, test_people=test, train_images=6, eval_images=4)
    draw_people(trial.folder / "drawn", drawn)
    for script in ("gen_train_data.py", "gen_test_data.py"):
        python(script, "--config", "configs/cuhk_pedes.yaml", "--set", *trial.settings)


def two_processes(trial: Trial) -> str:
    """An epoch on two GPUs by NCCL, compared with one of a single process."""
    if trial.gpus == 1:
        return "Not run: there is one GPU."
    prepare(trial)
    rows = ["| processes | images/s | loss | itc | itm | id |", "|---|---|---|---|---|---|"]
    losses = []
    for count in (1, 2):
        own = ["train.rounds=0", "train.pretrain_epochs=1", "train.pretrain_labels=identity", "eval.select=last"]
        own += ["train.negatives=hardest", "model.dropout=0.0", f"train.batch_size={trial.sizes.batch}"]
        folder = trial.folder / f"processes_{count}"
        run = [*trial.settings, *own, f"run.processes={count}", f"run.dir={folder}"]
        python("train.py", "--config", "configs/cuhk_pedes.yaml", "--set", *run)
        epoch = next(line for line in read_jsonl(folder / "log.jsonl") if line["event"] == "epoch")
        losses.append(epoch["loss"])
        rows.append(
            f"| {count} | {epoch['images_per_s']:.1f} | "
            + " | ".join(f"{epoch[n]:.4f}" for n in ("loss", "itc", "itm", "id"))
            + " |"
        )
    if abs(losses[0] - losses[1]) > 0.02 * losses[0]:
        raise FailedError(f"the mean losses of one process and of two differ: {losses[0]:.4f} and {losses[1]:.4f}")
    backend = "NCCL" if trial.gpus else "gloo, on the CPU"
    return f"By {backend}; a batch of {trial.sizes.batch} for all processes together.\n\n" + "\n".join(rows)


def captioner(trial: Trial) -> str:
    """Photographs per second of the local captioner."""
    command = ["-m", "benchmarks.gpu_parts", "captioner", "--size", str(trial.sizes.captions)]
    command += ["--device", trial.device.type, *(["--model", trial.captioner] if trial.captioner else [])]
    return python(*command)


def matching(trial: Trial) -> str:
    """Pairs per second of the matching head, with the weights of the run."""
    if not (trial.folder / "run" / "best.pth").exists():
        raise FailedError("there is no run to take weights from: the section of the killed run failed")
    return python(
        "-m", "benchmarks.rerank", str(trial.folder / "run"), "--times", "1", "--size", str(trial.sizes.points // 10)
    )


def clustering(trial: Trial) -> str:
    """Seconds of the clustering, by step."""
    sizes = ["--sizes", str(trial.sizes.points), "--dense-up-to", "0", "--scikit-learn-up-to", "0", "--repeats", "1"]
    return python("-m", "benchmarks.clustering", *sizes)


def faiss_search(trial: Trial) -> str:
    """Seconds of the search for neighbors, by faiss on the CPU and on the GPU."""
    return python(
        "-m", "benchmarks.gpu_parts", "faiss", "--size", str(trial.sizes.points), "--device", trial.device.type
    )


SECTIONS: dict[str, Callable[[Trial], str]] = {
    "Training step": training_step,
    "Data loader": loader,
    "A run that is killed and resumed": killed_run,
    "Two processes": two_processes,
    "Local captioner": captioner,
    "Matching": matching,
    "Clustering": clustering,
    "faiss on the GPU": faiss_search,
}
