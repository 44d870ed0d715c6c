# Sourced by train.bash and check.bash: sets $python to one that has what requirements.txt asks for.
# An active virtualenv or conda environment is used as it is; elsewhere .venv is made, once.

complain() { echo "error: $*" >&2; exit 2; }
is_new_enough() { "$1" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
# The stamp holds the requirements that were installed to the end: a half-made .venv has none.
is_complete() { cmp -s requirements.txt .venv/complete.txt && "$python" -c '' 2>/dev/null; }

make_environment() {
    local base='' candidate
    for candidate in python3.12 python3.11 python3 python3.13 python; do
        if is_new_enough "$candidate"; then base=$candidate; break; fi
    done
    [ -n "$base" ] || complain "Python 3.11 or newer, with its venv module, is needed and was not found"
    echo "Making .venv with $("$base" --version) from requirements.txt: about 8 GB, some minutes, once." >&2
    rm -rf .venv
    "$base" -m venv .venv || complain "cannot make .venv (on Debian: apt install python3-venv)"
    local quiet=
    [ -t 1 ] || quiet="--quiet --progress-bar off"
    # shellcheck disable=SC2086 - several words, or none
    "$python" -m pip install --disable-pip-version-check $quiet -r requirements.txt ||
        complain "the installation did not finish: see above, then run the same command again"
    cp requirements.txt .venv/complete.txt
}

if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]; then
    python=python
    command -v python >/dev/null || complain "the active environment ${VIRTUAL_ENV:-$CONDA_PREFIX} has no python"
    is_new_enough python || complain "the active environment has $(python --version 2>&1): Python 3.11 or newer is needed"
    "$python" scripts/missing_packages.py requirements.txt || exit 2
else
    python=.venv/bin/python
    if ! is_complete; then
        # Two that start at once: the second waits, and finds the work done.
        if command -v flock >/dev/null; then exec 9>.venv.lock; flock 9; fi
        is_complete || make_environment
        if command -v flock >/dev/null; then exec 9>&-; fi
    fi
fi
