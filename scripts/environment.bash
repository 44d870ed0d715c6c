# Sourced by train.bash and check.bash: sets $python to an interpreter that has the packages of requirements.txt.
# An active virtualenv or conda environment is used as it is; otherwise .venv is created once.

fail() { echo "error: $*" >&2; exit 2; }
is_new_enough() { "$1" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
# complete.txt is written after a successful installation, so an incomplete .venv is detected and rebuilt.
is_complete() { cmp -s requirements.txt .venv/complete.txt && "$python" -c '' 2>/dev/null; }

create_environment() {
    local base='' candidate
    for candidate in python3.12 python3.11 python3 python3.13 python; do
        if is_new_enough "$candidate"; then base=$candidate; break; fi
    done
    [ -n "$base" ] || fail "Python 3.11 or newer with the venv module is required and was not found"
    echo "Creating .venv with $("$base" --version) from requirements.txt: about 8 GB, a few minutes, once." >&2
    rm -rf .venv
    "$base" -m venv .venv || fail "cannot create .venv (on Debian: apt install python3-venv)"
    local quiet=
    [ -t 1 ] || quiet="--quiet --progress-bar off"
    # shellcheck disable=SC2086 - $quiet is several words or none
    "$python" -m pip install --disable-pip-version-check $quiet -r requirements.txt ||
        fail "the installation failed: see above, then run the same command again"
    cp requirements.txt .venv/complete.txt
}

if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]; then
    python=python
    command -v python >/dev/null || fail "the active environment ${VIRTUAL_ENV:-$CONDA_PREFIX} has no python"
    is_new_enough python || fail "the active environment has $(python --version 2>&1): Python 3.11 or newer is required"
    "$python" scripts/missing_packages.py requirements.txt || exit 2
else
    python=.venv/bin/python
    if ! is_complete; then
        # If two scripts start at once, the second waits for the first and finds .venv complete.
        if command -v flock >/dev/null; then exec 9>.venv.lock; flock 9; fi
        is_complete || create_environment
        if command -v flock >/dev/null; then exec 9>&-; fi
    fi
fi
