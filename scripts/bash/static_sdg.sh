#!/usr/bin/env bash
# Six clips of a picture, or of each picture of a folder, for the decoder (sample.py).
#
#   bash scripts/bash/static_sdg.sh [PICTURE OUTPUT] [FLAG ...]
#
# Without PICTURE and OUTPUT the clips of assets/demo/garden.jpg, into outputs/clips/static. FLAGs
# are those of gen3c_single_image_sdg.py --help; later ones win.
# GPUS    how many GPUs share the trajectories (1)
# PYTHON  the interpreter (python)
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
source "$root/scripts/bash/child.sh"
require_numbers GPUS
if [[ $# -eq 0 || $1 == -* ]]; then
    set -- "$root/assets/demo/garden.jpg" outputs/clips/static "$@"
elif [[ $# -lt 2 || $2 == -* ]]; then
    echo "usage: static_sdg.sh [PICTURE OUTPUT] [FLAG ...]" >&2
    exit 2
fi
picture=$1 output=$2
shift 2
gpus=${GPUS:-1}
launch=()
if [[ $gpus -gt 1 ]]; then
    launch=(-m torch.distributed.run --nproc_per_node "$gpus")
fi
# bash before 4.4 takes an empty array for an unset one.
exec "${PYTHON:-python}" ${launch[@]+"${launch[@]}"} \
    "$root/cosmos_predict1/diffusion/inference/gen3c_single_image_sdg.py" \
    --input_image_path "$picture" --video_save_folder "$output" --num_gpus "$gpus" \
    --foreground_masking --multi_trajectory --total_movement_distance_factor 1.0 "$@"
