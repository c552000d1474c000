#!/usr/bin/env bash
# Train the nano tokenizer on canvases and worlds, and write it in half precision.
#
#   bash scripts/bash/train_tokenizer_photos.sh MINUTES TARGET [KEY=VALUE ...]
#
# MINUTES  of training, over all calls with the same TARGET: one that was stopped goes on
# TARGET   the run and its checkpoints are below TARGET/run; TARGET/tokenizer is what others read,
#          TARGET/report has figures and sheets of held-out worlds
# LARGE    1: 256x448 pixels instead of 176x320 (0)
# SEEDS    held-out worlds of a kind to measure at the end (16)
# PYTHON   the interpreter (python)
set -euo pipefail
(($# >= 2)) || { sed -n '2,12s/^# \?//p' "$0" >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
minutes=$1 target=$2 python=${PYTHON:-python}
shift 2
configs=configs/nano/training
files=(--config "$configs/tokenizer_photos.yaml")
if ((${LARGE:-0})); then
    files=(--config_default "$configs/tokenizer_photos.yaml"
        --config "$configs/tokenizer_photos_large.yaml")
fi
"$python" train.py "${files[@]}" loop.output_dir="$target/run" loop.total_minutes="$minutes" "$@"
"$python" scripts/export_tokenizer.py "$target/run" "$target/tokenizer" --dtype float16 \
    --held-out "${SEEDS:-16}" --report "$target/report"
