#!/usr/bin/env bash
# Six clips of a picture, or of each picture of a folder, for the decoder (sample.py).
#
#   bash scripts/bash/static_sdg.sh [PICTURE OUTPUT] [FLAG ...]
#
# The defaults are assets/demo/garden.jpg and outputs/clips/static. FLAGs are those of
# gen3c_single_image_sdg.py --help; later ones win.
# GPUS    number of GPUs that share the trajectories (1)
# PYTHON  the interpreter (python)
source "$(dirname "${BASH_SOURCE[0]}")/sdg.sh"
make_clips static garden.jpg gen3c_single_image_sdg.py --input_image_path "$@"
