"""Try commands on thousands of damaged and hostile files, generated from seeds.

python -m benchmarks.fuzz --minutes 10

Each try must succeed or end in one line with status 2, change no file that it was not told to, and show no key. The
exit status is 1 if one did not; each finding is printed with its target and seed, and repeated by
`--only TARGET --seed SEED --tries 1`.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.hostile.targets import TARGETS, write_originals
from tests.hostile.tries import try_once
from utils.errors import run_script


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--tries", type=int, help="of each target (default: as many as fit into the time)")
    parser.add_argument("--seed", type=int, default=0, help="of the first try")
    parser.add_argument("--only", nargs="+", choices=[target.name for target in TARGETS], metavar="TARGET")
    given = parser.parse_args(argv)
    targets = [target for target in TARGETS if not given.only or target.name in given.only]
    counts: Counter[tuple[str, str]] = Counter()
    spent = {target.name: 0.0 for target in targets}
    tried: Counter[str] = Counter()
    findings = set()
    with tempfile.TemporaryDirectory() as temporary:
        originals, workspace = Path(temporary, "originals"), Path(temporary, "workspace")
        for folder in (originals, workspace):
            folder.mkdir()
        write_originals(originals)
        logging.disable(logging.CRITICAL)
        warnings.simplefilter("ignore")
        end = time.monotonic() + 60 * given.minutes
        open_targets = targets
        while open_targets and time.monotonic() < end:
            target = min(open_targets, key=lambda each: spent[each.name])  # each gets the same time
            seed, start = given.seed + tried[target.name], time.monotonic()
            outcome = try_once(target, originals, workspace, seed)
            spent[target.name] += time.monotonic() - start
            tried[target.name] += 1
            counts[target.name, outcome.kind] += 1
            if outcome.kind == "finding" and outcome.detail not in findings:
                findings.add(outcome.detail)
                print(f"\n{target.name}, seed {seed} ({'; '.join(outcome.changes)}):\n{outcome.detail}", flush=True)
            open_targets = [each for each in targets if given.tries is None or tried[each.name] < given.tries]
    print("\n| target | tries | success | one line | findings |\n|---|---|---|---|---|")
    for target in targets:
        row = [counts[target.name, kind] for kind in ("success", "error", "finding")]
        print(f"| {target.name} | {sum(row)} | {' | '.join(map(str, row))} |")
    print(f"\n{sum(tried.values())} tries, {len(findings)} kinds of findings")
    return 1 if findings else 0


if __name__ == "__main__":
    run_script(main)
