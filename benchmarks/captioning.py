"""Captions a second and peak memory with many requests in flight to a slow server, and with one at a time.

    python -m benchmarks.captioning [--images 1000 2000 20000] [--in-flight 64] [--delay 0.2]

A local server takes `delay` seconds for an answer; gen_train_data.py is run in a separate process, on photographs of
64 x 128 pixels. "seconds" is its total time, including imports; "once running" is measured from the first request to
the last answer in the journal. The baseline sends one request at a time, as the published script does, and is measured
on 50 images.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
_BASELINE = 50  # images that are captioned one at a time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 2000, 20000])
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--delay", type=float, default=0.2, help="seconds an answer takes")
    given = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.chat_server", "--port", str(port), "--delay", str(given.delay)], cwd=ROOT
    )
    try:
        _wait_for(port)
        ideal = given.in_flight / given.delay
        print(f"ideal: {ideal:.0f} images/s\n")
        print("| images | in flight | seconds | images/s | of the ideal | once running | peak memory, MB |")
        print("|---|---|---|---|---|---|---|")
        for images, in_flight in [(_BASELINE, 1), *((images, given.in_flight) for images in given.images)]:
            with tempfile.TemporaryDirectory() as folder:
                print(_row(Path(folder), images, in_flight, port, in_flight / given.delay), flush=True)
    finally:
        server.terminate()
        server.wait()


def _row(folder: Path, images: int, in_flight: int, port: int, ideal: float) -> str:
    random = np.random.default_rng(0)
    (folder / "photos" / "train").mkdir(parents=True)
    for number in range(images):
        pixels = random.integers(0, 256, (16, 8, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((64, 128), Image.Resampling.BICUBIC)
        image.save(folder / "photos" / "train" / f"{number:05d}.jpg")
    command = [sys.executable, "gen_train_data.py", "--config", "configs/custom.yaml", "--set"]
    command += [f"data.root={folder / 'photos'}", f"captions.dir={folder / 'captions'}", "captioner.backend=openai"]
    command += [f"captioner.base_url=http://127.0.0.1:{port}/v1", "captioner.model=m"]
    command += [f"captioner.concurrency={in_flight}"]
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    written = json.loads((folder / "captions" / "custom_qwen_gen_captions.json").read_text())
    assert status == 0, output
    assert len(written) == images, output
    running = float(output.rpartition("(")[2].partition("/s")[0])
    return (
        f"| {images:,} | {in_flight} | {seconds:.1f} | {images / seconds:.1f} | {images / seconds / ideal:.0%} | "
        f"{running:.1f} | {usage.ru_maxrss / 1024:.0f} |"
    )


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("the server did not start")


if __name__ == "__main__":
    main()
