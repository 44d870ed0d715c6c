#!/usr/bin/env bash
# Lint, types and tests.
set -euo pipefail
cd "$(dirname "$0")"
. scripts/environment.bash

"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
"$python" -m pytest "$@"
