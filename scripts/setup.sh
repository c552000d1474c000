#!/usr/bin/env bash
# Make or refresh the environment of this checkout: `bash scripts/setup.sh`, from any folder.
#
# Installs the tested versions of constraints.txt into .venv: core, extras and dev, MoGe, and
# the gpu extra if an NVIDIA GPU answers. A second run does nothing until pyproject.toml,
# constraints.txt or this script changes.
#
#   --check           install nothing; exit code 0 if .venv is up to date, 1 if not
#   PYTHON            the interpreter to make .venv with, 3.11 or newer (else the first one found)
#   TORCH_INDEX_URL   the package index that torch comes from (else pip's own configuration)
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"
python="$venv/bin/python"
stamp="$venv/setup-stamp"
step="" advice=""

begin() { # STEP ADVICE
    step="$1" advice="$2"
    echo "setup: $step"
}

report() {
    local status=$?
    if [[ $status -ne 0 && -n $step ]]; then
        echo "setup: FAILED (exit code $status) at the step: $step" >&2
        echo "setup: $advice Then run scripts/setup.sh again; it carries on from here." >&2
    fi
}
trap report EXIT

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3.13 python3.14 python3 python; do
        # A system's Python may have venv in a package of its own, and then lacks ensurepip.
        if "$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
            >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
        [[ -z ${PYTHON:-} ]] || break # PYTHON is an order, not a hint
    done
    echo "setup: no Python >= 3.11 with the venv and ensurepip modules found" \
        "(tried ${PYTHON:-python3.11 to python3.14, python3, python})" >&2
    return 1
}

fingerprint() {
    {
        cat "$root/pyproject.toml" "$root/constraints.txt" "$root/scripts/setup.sh"
        echo "$root $extras"
        "$python" --version
    } | cksum
}

up_to_date() {
    [[ -f $stamp && -x $python ]] && [[ "$(cat "$stamp")" == "$(fingerprint)" ]]
}

extras="train viewer export usd dev"
if nvidia-smi -L >/dev/null 2>&1; then
    extras="$extras gpu"
fi
if [[ ${1:-} == --check ]]; then
    up_to_date
    exit
elif [[ $# -gt 0 ]]; then
    echo "usage: scripts/setup.sh [--check]" >&2
    exit 2
fi

# Two runs at once take turns.
if command -v flock >/dev/null; then
    exec 9<"$root/pyproject.toml"
    flock 9
fi
if up_to_date; then
    echo "setup: .venv is up to date ($extras); delete it to start over"
    exit
fi

if ! "$python" -m pip --version >/dev/null 2>&1; then
    begin "make .venv" "Install Python 3.11 or newer with its venv module, or name one: PYTHON=/path/to/python3."
    base="$(find_python)"
    "$base" -m venv "$venv"
fi
step="look at .venv" advice="Delete .venv: its Python is older than 3.11."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'
# The stamp goes while the environment changes.
rm -f "$stamp"

torch="$(grep '^torch==' "$root/constraints.txt")"
begin "install $torch" "Check pip's index (pip config list), or set TORCH_INDEX_URL to one that has this torch."
if [[ -n ${TORCH_INDEX_URL:-} ]]; then
    # That index may lack pinned versions of torch's own requirements; the next step installs them.
    "$python" -m pip install --index-url "$TORCH_INDEX_URL" "$torch"
else
    "$python" -m pip install --constraint "$root/constraints.txt" "$torch"
fi

begin "install the requirements (core $extras)" "See pip's message above; usually the index is out of reach (pip config list)."
"$python" - "$root/pyproject.toml" "$extras" >"$venv/requirements.txt" <<'PROGRAM'
import sys
import tomllib

with open(sys.argv[1], "rb") as file:
    table = tomllib.load(file)
project = table["project"]
extras = [line for name in sys.argv[2].split() for line in project["optional-dependencies"][name]]
print(*table["build-system"]["requires"], *project["dependencies"], *extras, sep="\n")
PROGRAM
"$python" -m pip install --constraint "$root/constraints.txt" --requirement "$venv/requirements.txt"

# Without its requirements torchvision, OpenCV and gradio, which only its programs use.
begin "install MoGe" "See pip's message above; MoGe is dlr-moge and dlr-utils3d on PyPI."
"$python" -m pip install --no-deps --constraint "$root/constraints.txt" dlr-moge dlr-utils3d scipy

begin "install the project itself" "See pip's message above."
"$python" -m pip install --no-deps --no-build-isolation --editable "$root"

if [[ $extras == *gpu* ]]; then
    begin "check that torch is a CUDA build" "Set TORCH_INDEX_URL to an index with CUDA builds of torch and delete .venv."
    "$python" -c 'import sys, torch; sys.exit(torch.version.cuda is None)'
fi

fingerprint >"$stamp"
echo "setup: done ($extras)"
