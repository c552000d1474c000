#!/usr/bin/env bash
# Render every stage of the training that has a checkpoint.
#
#   bash inference.sh [KEY=VALUE ...]      for example dataset_root=CLIPS overwrite=true
#
# CONFIGS  folder of one configuration a stage (configs/inference)
# OUTPUT   training/<stage> holds the checkpoints, inference/<stage> the results (outputs)
# LAUNCH   how to start a command (accelerate launch)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/scripts/bash/child.sh"

configs=${CONFIGS:-$here/configs/inference}
output=${OUTPUT:-outputs}
read -r -a launch <<< "${LAUNCH:-accelerate launch}"

rendered=0
for config in "$configs"/*.yaml; do
    stage=$(basename "$config" .yaml)
    run=$output/training/$stage
    if [[ $stage == default ]] || ! compgen -G "$run/checkpoint-*" > /dev/null; then
        continue
    fi
    echo "== $stage"
    run_child "${launch[@]}" "$here/sample.py" --config "$config" "config_path=$run/config.yaml" \
        "model.output_dir=$run" "out_dir_inference=$output/inference/$stage" "$@"
    rendered=$((rendered + 1))
done

if [[ $rendered == 0 ]]; then
    echo "inference.sh: no checkpoint below $output/training for a stage of $configs" >&2
    exit 1
fi
