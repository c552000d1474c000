#!/usr/bin/env bash
# Six clips of a video with ViPE results, for the decoder (sample.py).
#
#   bash scripts/bash/dynamic_sdg.sh [VIPE_RESULT/rgb/CLIP.mp4 OUTPUT] [FLAG ...]
#
# Without a video and OUTPUT the clips of assets/demo/bouncing_ball.mp4, whose camera stands still and
# whose depth is estimated, into outputs/clips/dynamic. FLAGs are those of gen3c_dynamic_sdg.py
# --help; later ones win. Data for training the dynamic decoder also wants --flip_supervision.
# GPUS    how many GPUs share the trajectories (1)
# PYTHON  the interpreter (python)
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
source "$root/scripts/bash/child.sh"
require_numbers GPUS
input=(--vipe_path)
if [[ $# -eq 0 || $1 == -* ]]; then
    input=(--input_image_path)
    set -- "$root/assets/demo/bouncing_ball.mp4" outputs/clips/dynamic "$@"
elif [[ $# -lt 2 || $2 == -* ]]; then
    echo "usage: dynamic_sdg.sh [VIPE_RESULT/rgb/CLIP.mp4 OUTPUT] [FLAG ...]" >&2
    exit 2
fi
input+=("$1") output=$2
shift 2
gpus=${GPUS:-1}
launch=()
if [[ $gpus -gt 1 ]]; then
    launch=(-m torch.distributed.run --nproc_per_node "$gpus")
fi
# bash before 4.4 takes an empty array for an unset one.
exec "${PYTHON:-python}" ${launch[@]+"${launch[@]}"} \
    "$root/cosmos_predict1/diffusion/inference/gen3c_dynamic_sdg.py" \
    "${input[@]}" --video_save_folder "$output" --num_gpus "$gpus" \
    --foreground_masking --multi_trajectory "$@"
