#!/usr/bin/env bash
# Set up, then run scripts/quickstart.py, which holds the manual: `bash scripts/quickstart.sh --help`.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
source "$root/scripts/bash/child.sh"
python="" arguments=()

fail() { # MESSAGE
    echo "quickstart: $1" >&2
    exit 2
}

# The interpreter is taken out, the rest is for Python; only a mistyped name must not cost a set-up.
while [[ $# -gt 0 ]]; do
    case $1 in
        -h | --help)
            sed -n '1s/^r*"""//; /^"""$/q; p' "$root/scripts/quickstart.py"
            exit
            ;;
        --python)
            [[ $# -ge 2 ]] || fail "--python: got nothing, expected an interpreter"
            python=$2
            shift
            ;;
        --output | --seed | --checkpoint_dir | --device | --depth)
            arguments+=("$1" ${2+"$2"})
            [[ $# -lt 2 ]] || shift
            ;;
        --full | --yes | --disable_prompt_encoder) arguments+=("$1") ;;
        -*) fail "$1: unknown option (see --help)" ;;
        *)
            [[ $1 == *=* || -e $1 ]] || fail "$1: no such file or folder"
            arguments+=("$1")
            ;;
    esac
    shift
done

if [[ -z $python ]]; then
    run_child bash "$root/scripts/setup.sh"
    python="$root/.venv/bin/python"
fi
# bash before 4.4 takes an empty array for an unset one.
exec "$python" "$root/scripts/quickstart.py" ${arguments[@]+"${arguments[@]}"}
