#!/usr/bin/env bash
# Measure and try out on this machine what needs a GPU, in about 20 minutes, and write one page, output/gpu.md:
#   bash benchmarks/gpu.bash [--out FILE] [--captioner MODEL] [--device cpu --small]
# Exit status 0 if every section passed. --device cpu --small tries the script itself, in a few minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.bash
exec "$python" -m benchmarks.gpu "$@"
