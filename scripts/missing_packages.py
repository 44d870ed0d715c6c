"""Report packages of a requirements file that this Python lacks, and how to install them; exit status 2 if any."""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def parse_version(text: str) -> tuple[int, ...]:
    """Return the numeric parts of a version, e.g. "2.11.0+cpu" -> (2, 11, 0)."""
    parts = text.partition("+")[0].split(".")
    return tuple(int(part) for part in parts if part.isdigit())


def main() -> int:
    file = Path(sys.argv[1])
    missing = []
    for line in file.read_text(encoding="utf-8").splitlines():
        name, _, required = line.partition("#")[0].strip().partition(">=")
        name = name.partition("[")[0]
        if not name:
            continue
        try:
            found = version(name)
        except PackageNotFoundError:
            missing.append(f"{name} (not installed)")
            continue
        if parse_version(found) < parse_version(required):
            missing.append(f"{name}>={required} (found {found})")
    if missing:
        print(f"error: the active environment {sys.prefix} lacks {', '.join(missing)}", file=sys.stderr)
        print(f"install with: {sys.executable} -m pip install -r {file}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
