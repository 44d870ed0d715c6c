#!/usr/bin/env bash
# Run lint, type checks and tests. Arguments are passed to pytest.
set -euo pipefail
cd "$(dirname "$0")"
. scripts/environment.bash

"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
"$python" -m pytest "$@"
