#!/usr/bin/env bash
# Set up, then run scripts/quickstart.py, which holds the manual: `bash scripts/quickstart.sh --help`.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
source "$root/scripts/bash/child.sh"
python="" arguments=()
while [[ $# -gt 0 ]]; do
    case $1 in
        -h | --help)
            sed -n '1s/^r*"""//; /^"""$/q; p' "$root/scripts/quickstart.py"
            exit
            ;;
        --python)
            if [[ $# -lt 2 ]]; then
                echo "quickstart: --python: got nothing, expected an interpreter" >&2
                exit 2
            fi
            python=$2
            shift
            ;;
        *) arguments+=("$1") ;;
    esac
    shift
done
# bash before 4.4 takes an empty array for an unset one.
set -- ${arguments[@]+"${arguments[@]}"}

if [[ -z $python ]]; then
    # A mistyped name must not cost a set-up, if a Python is there that can read the arguments.
    if python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
        python3 "$root/scripts/quickstarts/request.py" "$@"
    fi
    run_child bash "$root/scripts/setup.sh"
    python="$root/.venv/bin/python"
fi
exec "$python" "$root/scripts/quickstart.py" "$@"
