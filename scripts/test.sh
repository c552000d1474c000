#!/usr/bin/env bash
# Set up, lint, unused code, types, import rules, tests: `bash scripts/test.sh [--all] [pytest arguments]`.
#
# --all adds the tests marked `slow` and `gpu`, and reads 20,000 damaged files (FUZZ_EXAMPLES) instead
# of 2,000. The other arguments go to pytest, with paths relative to the repository:
# `bash scripts/test.sh tests/src/io -k ply`. Up to four files of tests run at a time, one on each
# core; `-n 0` runs one after the other.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$root/.venv/bin/python"
step=""

begin() { # STEP
    step="$1"
    echo "test: $step"
}

report() {
    local status=$?
    if [[ $status -ne 0 ]]; then
        echo "test: FAILED (exit code $status) at the step: $step" >&2
    fi
}
trap report EXIT

marks="not slow and not gpu"
arguments=()
for argument in "$@"; do
    if [[ $argument == --all ]]; then
        marks=""
        # Ten times as many damaged files (tests/corpus/test_fuzz.py).
        export FUZZ_EXAMPLES="${FUZZ_EXAMPLES:-20000}"
    else
        arguments+=("$argument")
    fi
done

begin "set up (scripts/setup.sh)"
bash "$root/scripts/setup.sh"
cd "$root"

begin "lint (ruff check)"
"$python" -m ruff check .
begin "format (ruff format --check)"
"$python" -m ruff format --check .
begin "unused code (vulture)"
"$python" -m vulture
begin "types (basedpyright)"
"$python" -m basedpyright --pythonpath "$python"
begin "import rules (lint-imports)"
"$python" .venv/bin/lint-imports --no-logo
begin "tests (pytest, marks: ${marks:-all})"
export OMP_NUM_THREADS=1
# In the order of tests/conftest.py, the longest files first.
parallel=(-n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder)
# bash 3 takes an empty array for an unset one.
"$python" -m pytest -m "$marks" "${parallel[@]}" ${arguments[@]+"${arguments[@]}"}
echo "test: all passed"
