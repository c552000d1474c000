#!/usr/bin/env bash
# Six clips of a video with ViPE results, for the decoder (sample.py).
#
#   bash scripts/bash/dynamic_sdg.sh [VIPE_RESULT/rgb/CLIP.mp4 OUTPUT] [FLAG ...]
#
# The defaults are assets/demo/bouncing_ball.mp4, whose camera stands still and whose depth is
# estimated, and outputs/clips/dynamic. FLAGs are those of gen3c_dynamic_sdg.py --help; later ones
# win. Data for training the dynamic decoder also needs --flip_supervision.
# GPUS    number of GPUs that share the trajectories (1)
# PYTHON  the interpreter (python)
source "$(dirname "${BASH_SOURCE[0]}")/sdg.sh"
make_clips dynamic bouncing_ball.mp4 gen3c_dynamic_sdg.py --vipe_path "$@"
