# Sourced by static_sdg.sh and dynamic_sdg.sh.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
source "$root/scripts/bash/child.sh"

# make_clips KIND DEMO COMMAND INPUT_FLAG [INPUT OUTPUT] [FLAG ...]: six clips of INPUT, by default of
# DEMO in assets/demo. INPUT_FLAG is the command's flag for an INPUT.
make_clips() {
    local kind=$1 demo=$2 command=$3 input=("$4") gpus=${GPUS:-1} launch=()
    shift 4
    require_numbers GPUS
    if [[ $# -eq 0 || $1 == -* ]]; then
        input=(--input_image_path "$root/assets/demo/$demo" --video_save_folder "outputs/clips/$kind")
    elif [[ $# -lt 2 || $2 == -* ]]; then
        echo "usage: ${0##*/} [INPUT OUTPUT] [FLAG ...]" >&2
        exit 2
    else
        input+=("$1" --video_save_folder "$2")
        shift 2
    fi
    if [[ $gpus -gt 1 ]]; then
        launch=(-m torch.distributed.run --nproc_per_node "$gpus")
    fi
    # bash before 4.4 takes an empty array for an unset one.
    exec "${PYTHON:-python}" ${launch[@]+"${launch[@]}"} \
        "$root/cosmos_predict1/diffusion/inference/$command" "${input[@]}" --num_gpus "$gpus" \
        --foreground_masking --multi_trajectory "$@"
}
