# Sourced by scripts that start other programs: a child that ends with its script, and a check of
# numbers, since bash runs commands inside of them when it calculates.

# run_child COMMAND ...: returns the command's exit code; SIGTERM, SIGHUP and Ctrl-C end the command,
# then the script. The command has a process group of its own, so that each process gets one signal.
run_child() {
    child=""
    trap 'end_child SIGTERM 143' TERM HUP
    trap 'end_child SIGINT 130' INT
    set -m
    "$@" < /dev/null &
    child=$!
    set +m
    local status=0
    wait "$child" || status=$?
    trap - TERM HUP INT
    return "$status"
}

end_child() { # SIGNAL STATUS
    trap '' TERM HUP INT
    if [[ -n $child ]]; then
        # Always SIGTERM: a training then writes a checkpoint before it ends.
        kill -s TERM -- "-$child" 2> /dev/null || true
        wait "$child" 2> /dev/null || true
    fi
    echo "${0##*/}: stopped ($1)" >&2
    exit "$2"
}

# require_numbers NAME ...: exits unless these variables are empty or whole numbers.
require_numbers() {
    local name
    for name in "$@"; do
        if [[ ! ${!name:-0} =~ ^(0|[1-9][0-9]{0,9})$ ]]; then
            echo "${0##*/}: $name '${!name}': expected a whole number" >&2
            exit 2
        fi
    done
}
