#!/usr/bin/env bash
# Six clips of a video with ViPE results, for the decoder (sample.py).
#
#   bash scripts/bash/dynamic_sdg.sh VIPE_RESULT/rgb/CLIP.mp4 OUTPUT [FLAG ...]
#
# FLAGs are those of gen3c_dynamic_sdg.py --help; later ones win. Data for training the dynamic
# decoder also wants --flip_supervision.
# GPUS    how many GPUs share the trajectories (1)
# PYTHON  the interpreter (python)
set -euo pipefail

if [[ $# -lt 2 ]]; then
    echo "usage: dynamic_sdg.sh VIPE_RESULT/rgb/CLIP.mp4 OUTPUT [FLAG ...]" >&2
    exit 2
fi
video=$1 output=$2
shift 2
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
gpus=${GPUS:-1}
launch=()
if [[ $gpus -gt 1 ]]; then
    launch=(-m torch.distributed.run --nproc_per_node "$gpus")
fi
"${PYTHON:-python}" "${launch[@]}" \
    "$root/cosmos_predict1/diffusion/inference/gen3c_dynamic_sdg.py" \
    --vipe_path "$video" --video_save_folder "$output" --num_gpus "$gpus" \
    --foreground_masking --multi_trajectory "$@"
