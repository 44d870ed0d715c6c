#!/usr/bin/env bash
# Run the whole pipeline of a config: missing captions, training rounds, test, report.
#   bash train.bash [CONFIG] [--seeds 1,2,3] [--set key=value ...]        (default: configs/demo.yaml)
# With --seeds: one run per seed in seed_<N>/ of output/<name> or run.dir, and a table of mean and standard deviation.
set -euo pipefail
if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then sed -n '2,4s/^# *//p' "$0"; exit; fi
config=configs/demo.yaml
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then config=$1; shift; fi
seeds=
if [ "${1:-}" = --seeds ]; then seeds=${2:-nothing}; shift $(($# > 1 ? 2 : 1)); fi
if [ -f "$config" ]; then config=$(realpath "$config"); fi
cd "$(dirname "$0")"
. scripts/environment.bash
if [ -n "$seeds" ] && [[ ! $seeds =~ ^[0-9]+(,[0-9]+)*$ ]]; then fail "--seeds $seeds: expected numbers such as 1,2,3"; fi

# On SIGTERM (a scheduler stops the job), train.py saves and exits with status 0; then stop here as well.
trap 'exit 0' TERM
# Status 3: some images or queries have no valid caption. They are listed and left out from here on.
"$python" gen_train_data.py --config "$config" "$@" || { status=$?; [ $status -eq 3 ] || exit $status; }
"$python" gen_test_data.py --config "$config" "$@" || { status=$?; [ $status -eq 3 ] || exit $status; }
if [ -z "$seeds" ]; then
    "$python" train.py --config "$config" "$@"
    "$python" test.py --config "$config" "$@"
    exit
fi
folder=output/$(basename "$config" .yaml)
for word in "$@"; do if [ "${word#run.dir=}" != "$word" ]; then folder=${word#run.dir=}; fi; done
runs=()
for seed in ${seeds//,/ }; do
    runs+=("$folder/seed_$seed")
    "$python" train.py --config "$config" "$@" --set "train.seed=$seed" "run.dir=${runs[-1]}"
    "$python" test.py --config "$config" "$@" --set "train.seed=$seed" "run.dir=${runs[-1]}"
done
"$python" -m retrieval.seeds "${runs[@]}" --out "$folder/seeds.md"
