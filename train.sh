#!/usr/bin/env bash
# Train the decoder: nine stages, each from the newest checkpoint of the one it continues.
#
#   bash train.sh [STAGE [LAST]] [KEY=VALUE ...]
#
# Without numbers all nine; with one number that stage; with two the stages from one to the other.
# A second call skips finished stages and resumes a stopped one. The first failure stops.
#
# DATA     folder of the clips, or one with `static` (stages 1-7) and `dynamic` (8, 9) in it
# CONFIGS  folder of one configuration a stage (configs/training)
# OUTPUT   training/<stage> below it holds the checkpoints (outputs)
# STEPS    steps of each stage, instead of those of its configuration
# MINUTES  nine numbers: minutes of training of each stage, instead of steps; a stage with 0 is left
#          out, and the next one continues the stage before it
# DYNAMIC  the stage that the dynamic ones continue (6)
# LAUNCH   command that starts a training (accelerate launch; python without a GPU)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/scripts/bash/child.sh"
require_numbers DYNAMIC STEPS
configs=${CONFIGS:-$here/configs/training}
output=${OUTPUT:-outputs}
launcher=python
if command -v nvidia-smi > /dev/null; then launcher="accelerate launch"; fi
read -r -a launch <<< "${LAUNCH:-$launcher}"

stages=(
    176_320_views_17
    176_320_views_49
    352_640_views_49
    704_1280_views_49
    704_1280_views_121
    704_1280_views_121_multi_6
    704_1280_views_121_multi_6_prune
    704_1280_views_121_multi_6_dynamic
    704_1280_views_121_multi_6_dynamic_prune
)
# The stage that each one continues: dynamic scenes start from the static decoder before pruning.
sources=(0 1 2 3 4 5 6 "${DYNAMIC:-6}" 8)
read -r -a minutes <<< "${MINUTES:-}"
if ((${#minutes[@]} != 0 && ${#minutes[@]} != 9)); then
    echo "train.sh: MINUTES '$MINUTES': expected nine numbers" >&2
    exit 1
fi
for each in ${minutes[@]+"${minutes[@]}"}; do
    if [[ ! $each =~ ^([0-9]+[.]?[0-9]*|[.][0-9]+)$ ]]; then
        echo "train.sh: MINUTES '$each': expected a number" >&2
        exit 2
    fi
done
if ((sources[7] < 1 || sources[7] > 7)); then
    echo "train.sh: DYNAMIC '$DYNAMIC': expected a stage in 1 ... 7" >&2
    exit 2
fi

numbers=()
while [[ ${1:-} =~ ^[1-9]$ ]]; do
    numbers+=("$1")
    shift
done
first=${numbers[0]:-1}
last=${numbers[1]:-${numbers[0]:-9}}
if ((${#numbers[@]} > 2 || first > last)); then
    echo "train.sh: stages ${numbers[*]}: expected STAGE, or FIRST LAST, in 1 ... 9" >&2
    exit 1
fi

is_left_out() {
    [[ ${minutes[$1 - 1]:-1} =~ ^0*[.]?0*$ ]]
}

for ((number = first; number <= last; number++)); do
    if is_left_out "$number"; then continue; fi
    stage=3dgs_res_${stages[number - 1]}
    settings=("output_dir=$output/training/$stage" "data.worlds.folder=$output/data")
    source=${sources[number - 1]}
    while ((source > 0)) && is_left_out "$source"; do source=${sources[source - 1]}; done
    if ((source > 0)); then
        settings+=("resume_from_checkpoint_dir=$output/training/3dgs_res_${stages[source - 1]}")
    fi
    if [[ -n ${STEPS:-} ]]; then
        settings+=("loop.stage_steps=$STEPS")
    fi
    if ((${#minutes[@]})); then
        # The steps are more than the minutes allow: time ends the stage.
        settings+=("loop.stage_steps=10000000" "loop.total_minutes=${minutes[number - 1]}")
    fi
    if [[ -n ${DATA:-} ]]; then
        kind=static
        if ((number > 7)); then kind=dynamic; fi
        if [[ -d $DATA/$kind ]]; then
            settings+=("dataset_root=$DATA/$kind")
        else
            settings+=("dataset_root=$DATA")
        fi
    fi
    echo "== stage $number: $stage"
    run_child "${launch[@]}" "$here/train.py" --config_default "$configs/default.yaml" \
        --config "$configs/$stage.yaml" "${settings[@]}" "$@"
done
