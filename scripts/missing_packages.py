"""Say what of a requirements file the running Python lacks, and how to install it; exit status 2 if anything."""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def numbers(text: str) -> tuple[int, ...]:
    """ "2.11.0+cpu" -> (2, 11, 0)."""
    parts = text.partition("+")[0].split(".")
    return tuple(int(part) for part in parts if part.isdigit())


def main() -> int:
    file = Path(sys.argv[1])
    lacking = []
    for line in file.read_text(encoding="utf-8").splitlines():
        name, _, wanted = line.partition("#")[0].strip().partition(">=")
        name = name.partition("[")[0]
        if not name:
            continue
        try:
            found = version(name)
        except PackageNotFoundError:
            lacking.append(f"{name} (not installed)")
            continue
        if numbers(found) < numbers(wanted):
            lacking.append(f"{name}>={wanted} (found {found})")
    if lacking:
        print(f"error: the active environment {sys.prefix} lacks {', '.join(lacking)}", file=sys.stderr)
        print(f"install with: {sys.executable} -m pip install -r {file}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
