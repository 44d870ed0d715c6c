#!/usr/bin/env bash
# Run the whole pipeline of a config: missing captions, training rounds, test, report.
#   bash train.bash [CONFIG] [--seeds 1,2,3] [--yes] [--set key=value ...]        (default: configs/demo.yaml)
# With --seeds: one run per seed in seed_<N>/ of output/<name> or run.dir, and a table of mean and standard deviation.
# With --yes: photographs and sentences may be sent to the endpoints of captioner.base_url (docs/captioning.md).
set -euo pipefail
if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then sed -n '2,5s/^# *//p' "$0"; exit; fi
yes=
for word in "$@"; do  # --yes is for the captioning scripts alone
    shift
    if [ "$word" = --yes ]; then yes=--yes; else set -- "$@" "$word"; fi
done
config=configs/demo.yaml
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then config=$1; shift; fi
seeds=
if [ "${1:-}" = --seeds ]; then seeds=${2:-nothing}; shift $(($# > 1 ? 2 : 1)); fi
if [ -f "$config" ]; then config=$(realpath "$config"); fi
cd "$(dirname "$0")"
. scripts/environment.bash
if [ -n "$seeds" ] && [[ ! $seeds =~ ^[0-9]+(,[0-9]+)*$ ]]; then fail "--seeds $seeds: expected numbers such as 1,2,3"; fi

# SIGTERM and Ctrl-C go to the running script, which saves and ends; then this one ends. bash itself waits for a command in
# the foreground before it handles a signal, so scripts run in the background, with signals as in the foreground (set -m).
set -m
child= stopped=
trap 'stopped=0; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true' TERM
trap 'stopped=130; [ -z "$child" ] || kill -INT -- "-$child" 2>/dev/null || true' INT
run() {
    local status=0
    "$python" "$@" <&0 & child=$!
    while wait "$child" && status=0 || status=$?; kill -0 "$child" 2>/dev/null; do :; done
    child=
    [ -z "$stopped" ] || exit "$stopped"
    return $status
}
# Status 3: some images or queries have no valid caption. They are listed and left out from here on.
run gen_train_data.py --config "$config" $yes "$@" || { status=$?; [ $status -eq 3 ] || exit $status; }
run gen_test_data.py --config "$config" $yes "$@" || { status=$?; [ $status -eq 3 ] || exit $status; }
if [ -z "$seeds" ]; then
    run train.py --config "$config" "$@"
    run test.py --config "$config" "$@"
    exit
fi
folder=output/$(basename "$config" .yaml)
for word in "$@"; do if [ "${word#run.dir=}" != "$word" ]; then folder=${word#run.dir=}; fi; done
runs=()
for seed in ${seeds//,/ }; do
    runs+=("$folder/seed_$seed")
    run train.py --config "$config" "$@" --set "train.seed=$seed" "run.dir=${runs[-1]}"
    run test.py --config "$config" "$@" --set "train.seed=$seed" "run.dir=${runs[-1]}"
done
run -m retrieval.seeds "${runs[@]}" --out "$folder/seeds.md"
