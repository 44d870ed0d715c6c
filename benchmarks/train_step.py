"""Compare a training step with the published one: images/s, peak memory and model FLOPs utilization.

python -m benchmarks.train_step --presets tiny base large --batch 36 --steps 3 --precision fp32 bf16

Every measurement runs in a separate process. Utilization is the arithmetic that this project's step needs, without
padding and recomputation, divided by what the device's matrix products reach in the same precision. The published step
is rated with the same amount of arithmetic, so that unnecessary work does not count.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.step_parts import check, matmul_rate, ours, published
from models.options import PRESETS
from utils.device import pick_device
from utils.errors import UserError, run_script

Values = dict[str, Any]
SLOWER = 0.5  # precisions with matrix products below this share of float32's speed are not measured


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", choices=[*PRESETS], default=[*PRESETS])
    parser.add_argument("--batch", type=int, default=36, help="pairs in a step (default: %(default)s)")
    parser.add_argument(
        "--steps", type=int, default=3, help="measured steps, after one of warm-up (default: %(default)s)"
    )
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16", "fp16"], default=["fp32", "bf16"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true", help="compile the encoders of our step")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.batch < 2 or arguments.steps < 1:
        raise UserError("--batch needs at least 2 pairs and --steps at least 1")
    if arguments.part:
        print(json.dumps(_measure(arguments)))
        return

    device = pick_device(arguments.device)
    threads = "" if device.type == "cuda" else f", {torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}{threads}, torch {torch.__version__}, batch {arguments.batch}, {arguments.steps} steps\n")
    rates = {kind: _run("rate", arguments, kind)["rate"] for kind in dict.fromkeys(["fp32", *arguments.precision])}
    print("Matrix products reach " + ", ".join(f"{rate / 1e9:,.1f} GFLOP/s in {kind}" for kind, rate in rates.items()))
    kinds = [kind for kind in arguments.precision if rates[kind] >= SLOWER * rates["fp32"]]
    for kind in arguments.precision:
        if kind not in kinds:
            print(f"{kind} is not measured: this device's matrix products are slower in it than in fp32.")
    print("\n| preset | step | precision | s/step | images/s | ratio | peak memory, GiB | utilization |")
    print("|---|---|---|---:|---:|---:|---:|---:|", flush=True)
    for preset in arguments.presets:
        _run("check", arguments, "fp32", preset)
        before = _run("published", arguments, "fp32", preset)
        ours = {kind: _run("ours", arguments, kind, preset) for kind in kinds}
        flops = next((one["flops"] for one in ours.values()), None)
        for step, kind, one in [("published", "fp32", before), *(("ours", kind, ours[kind]) for kind in kinds)]:
            used = f"{flops / one['seconds'] / rates[kind]:.1%}" if flops else "-"
            print(
                f"| {preset} | {step} | {kind} | {one['seconds']:.3f} | {arguments.batch / one['seconds']:.2f} "
                f"| {before['seconds'] / one['seconds']:.2f} | {one['memory'] / 2**30:.2f} | {used} |",
                flush=True,
            )


def _run(part: str, arguments: argparse.Namespace, kind: str, preset: str = "tiny") -> Values:
    """Run one measurement in a separate process."""
    command = [sys.executable, "-m", "benchmarks.train_step", "--part", part, "--presets", preset, "--precision", kind]
    command += ["--batch", str(arguments.batch), "--steps", str(arguments.steps), "--device", arguments.device]
    command += ["--compile"] * arguments.compile
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise UserError(
            f"{part} of {preset} in {kind} failed with status {done.returncode}: see above, or set a smaller --batch"
        )
    values: Values = json.loads(done.stdout.splitlines()[-1])
    return values


def _measure(arguments: argparse.Namespace) -> Values:
    """What the process of one part measures."""
    device, preset, precision = pick_device(arguments.device), arguments.presets[0], arguments.precision[0]
    if arguments.part == "rate":
        return matmul_rate(device, precision)
    if arguments.part == "check":
        return check(preset, device)
    if arguments.part == "published":
        return published(preset, device, batch=arguments.batch, steps=arguments.steps)
    batch, steps = arguments.batch, arguments.steps
    return ours(preset, device, precision, batch=batch, steps=steps, compiled=arguments.compile)


if __name__ == "__main__":
    run_script(main)
