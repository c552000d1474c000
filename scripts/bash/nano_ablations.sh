#!/usr/bin/env bash
# What each idea is worth at nano scale: the static decoder from nothing, once as it is and once
# without each of them, all with equally many steps, on clips that `train_nano.sh clips` has made.
#
#   bash scripts/bash/nano_ablations.sh [VARIANT ...]
#
# Variants (default: all): full, truth (the worlds themselves instead of what the generator makes of
# them), one_trajectory, no_depth_loss, no_pruning, transformer_only.
# NANO/ablations/VARIANT has the decoder, NANO/ablations/VARIANT_evaluation its figures on held-out
# worlds. What is finished is passed over, what was stopped goes on. The first failure stops.
#
# NANO      as of train_nano.sh (outputs/nano)
# STEPS     of each variant's stage with six trajectories; pruning takes a quarter of them more (800)
# WORLDS    for the clips of `truth` (350)
# SEEDS     held-out worlds to evaluate on (64); 0: none
# SETTINGS CLIPS  further KEY=VALUE of the trainings, of the clips of `truth`
# EVALUATE  further flags of scripts/evaluate_nano.py
# PYTHON    the interpreter (python)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$here"
nano=${NANO:-outputs/nano}
python=${PYTHON:-python}
steps=${STEPS:-800}
output="$nano/ablations"
stage=3dgs_res_704_1280_views_121_multi_6
read -r -a own_settings <<< "${SETTINGS:-}"
read -r -a clip_settings <<< "${CLIPS:-}"
read -r -a own_flags <<< "${EVALUATE:-}"
gpu=()
if command -v nvidia-smi > /dev/null; then
    gpu=(batch_size=8 num_workers=12 mixed_precision=bf16 num_test_scenes=16
        loop.report_every=20 loop.validate_every=0 checkpointing_steps=400)
fi

declare -A variants=(
    [full]=""
    [truth]="dataset_root=$nano/clips_truth/static"
    [one_trajectory]="num_input_multi_views=1 num_views=24"
    [no_depth_loss]="lambda_depth=0 use_depth=false"
    [no_pruning]="gaussians_prune_ratio=0 lambda_opacity=0"
    [transformer_only]="use_mamba=false"
)
# What a decoder of one trajectory is given when it is evaluated.
declare -A flags=([one_trajectory]="--trajectories 0")

say_failure() {
    local status=$?
    if ((status)); then
        echo "nano_ablations.sh: FAILED at ${variant:-the start} (exit $status)" >&2
    fi
}
trap say_failure EXIT

# train VARIANT STAGE STEPS [KEY=VALUE ...]: in the folder NANO/ablations/training/VARIANT/STAGE.
train() {
    local folder="$output/training/$1/$2" settings
    read -r -a settings <<< "${variants[$1]}"
    # Pruning is what the second stage is about: the first one is alike in all variants.
    if [[ $1 == no_pruning && $2 == "$stage" ]]; then settings=(); fi
    "$python" train.py --config_default configs/nano/training/default.yaml \
        --config "configs/nano/training/$2.yaml" output_dir="$folder" \
        dataset_root="$nano/clips/static" vae_path="$nano/tokenizer" \
        loop.stage_steps="$3" "${gpu[@]}" "${settings[@]}" "${own_settings[@]}" "${@:4}"
}

names=("$@")
if ((${#names[@]} == 0)); then
    names=(full truth one_trajectory no_depth_loss no_pruning transformer_only)
fi
for variant in "${names[@]}"; do
    if [[ ! -v "variants[$variant]" ]]; then
        echo "nano_ablations.sh: no variant '$variant'; there are ${!variants[*]}" >&2
        exit 2
    fi
done
for variant in "${names[@]}"; do
    echo "== $variant"
    if [[ $variant == truth ]]; then
        "$python" scripts/make_nano_clips.py output="$nano/clips_truth" checkpoint_dir="$nano" \
            depth=truth targets=truth archives=truth worlds="${WORLDS:-350}" "${clip_settings[@]}"
    fi
    train "$variant" "$stage" "$steps"
    train "$variant" "${stage}_prune" "$((steps / 4))" \
        resume_from_checkpoint_dir="$output/training/$variant/$stage"
    "$python" scripts/export_nano.py weights "$output/training/$variant/${stage}_prune" \
        "$output/$variant"
    if ((${SEEDS:-64} == 0)); then continue; fi
    read -r -a variant_flags <<< "${flags[$variant]:-}"
    "$python" scripts/evaluate_nano.py --what static --nano "$nano" \
        --output "$output/${variant}_evaluation" --decoder_static "$output/$variant" \
        --seeds "${SEEDS:-64}" "${variant_flags[@]}" "${own_flags[@]}"
done
echo "nano_ablations.sh: done: ${names[*]}"
