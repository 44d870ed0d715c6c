#!/usr/bin/env bash
# The whole pipeline of one config: captions that are missing, training rounds, test, report.
#   bash train.bash [CONFIG] [--set key=value ...]        (default: configs/demo.yaml)
set -euo pipefail
if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then sed -n '2,3s/^# *//p' "$0"; exit; fi
config=configs/demo.yaml
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then config=$1; shift; fi
if [ -f "$config" ]; then config=$(realpath "$config"); fi
cd "$(dirname "$0")"
. scripts/environment.bash

# A scheduler that makes room (SIGTERM): train.py saves and ends well, and nothing else is begun.
trap 'exit 0' TERM
# Status 3: some images or queries could not be described. They are listed, and left out of what follows.
"$python" gen_train_data.py --config "$config" "$@" || [ $? -eq 3 ]
"$python" gen_test_data.py --config "$config" "$@" || [ $? -eq 3 ]
"$python" train.py --config "$config" "$@"
"$python" test.py --config "$config" "$@"
