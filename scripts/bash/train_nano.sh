#!/usr/bin/env bash
# Make the small weights from nothing: every part, from seeds, in order.
#
#   bash scripts/bash/train_nano.sh [PART ...]
#
# Parts, in their order (default: all):
#   tokenizer depth generator   trainings, a few minutes of a GPU each
#   clips_static clips_dynamic  what the decoders learn from, made by the generator ("clips": both)
#   base                        the decoder's stages 1 to 5: one trajectory
#   static                      stages 6 and 7: six trajectories, then pruned
#   dynamic                     stages 8 and 9, from stage 5: moving scenes ("decoders": these three)
#   evaluate                    figures on held-out worlds
#   release                     half precision and the model card, into RELEASE
# A part whose result is there does nothing when it is called again, a stopped one goes on. The first
# failure stops. NANO/minutes.txt tells how long each part took.
#
# NANO       everything is written below it (outputs/nano)
# RELEASE    the folder that ships (assets/nano)
# GPUS       2 or more: depth, generator and base on all of them; clips of both kinds, then static
#            and dynamic decoders, beside each other, on a half of them each (1)
# TOGETHER   1: beside each other on one GPU too, which either of them keeps busy in part only (0)
# MINUTES_TOKENIZER MINUTES_TOKENIZER_FINISH MINUTES_DEPTH MINUTES_GENERATOR   of the whole training
# MINUTES_CLIPS    start no more worlds after so long, for each kind (no limit)
# MINUTES_STAGES   of the updates of the nine stages; 0 leaves a stage out
# WORLDS_STATIC WORLDS_DYNAMIC   worlds that become clips
# START      a folder like RELEASE: stages 6 and 8 go on from its decoders, where the stages before
#            them are left out (none)
# MAKERS     processes that make clips of one kind, each of its own worlds (1)
# CLIPS SETTINGS   further KEY=VALUE of the clips, of the decoder's trainings
# SEEDS      held-out worlds to evaluate on (64)
# PYTHON     the interpreter (python)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$here/scripts/bash/child.sh"
require_numbers GPUS TOGETHER MAKERS WORKERS WORLDS_STATIC WORLDS_DYNAMIC
cd "$here"
nano=${NANO:-outputs/nano}
python=${PYTHON:-python}
gpus=${GPUS:-1}
# What shares the processor cores.
beside=$((gpus > 1 || ${TOGETHER:-0} ? 2 : 1))
stages=${MINUTES_STAGES:-0.5 0 0.4 0 1.2 10 6.2 10 6.2}
training="$nano/training"
multi=3dgs_res_704_1280_views_121_multi_6
read -r -a clip_settings <<< "${CLIPS:-}"
read -r -a own_settings <<< "${SETTINGS:-}"

# What the configurations say suits a CPU; a GPU takes more at once.
small=()
decoder=(loop.report_every=1)
if command -v nvidia-smi > /dev/null; then
    decoder=(batch_size=8 "num_workers=$((12 / beside))" mixed_precision=bf16 num_test_scenes=16
        loop.report_every=20 loop.validate_every=1000 checkpointing_steps=500)
else
    small=(loop.mixed_precision=no)
fi

# find_gpus: `own` are the GPUs of the part that asks, `launch` starts a training on all of them.
find_gpus() {
    IFS=, read -r -a own <<< "${CUDA_VISIBLE_DEVICES-$(seq -s, 0 $((gpus - 1)))}"
    own=("${own[@]:0:gpus}")
    # None, where they are hidden.
    ((${#own[@]})) || own=("")
    launch=("$python")
    if ((${#own[@]} > 1)); then
        launch+=(-m torch.distributed.run --standalone "--nproc_per_node=${#own[@]}")
    fi
}

part=none
say_failure() {
    local status=$?
    if ((status)); then
        echo "train_nano.sh: FAILED in part $part (exit $status); call it again to go on" >&2
    fi
}
trap say_failure EXIT

# Whether the weights of a part are there already.
has_weights() {
    if [[ ! -f $nano/$1/config.json ]]; then return 1; fi
    echo "$nano/$1 is there"
}

# export_weights RUN NAME: its newest weights, averaged where there is an average, in NANO/NAME.
export_weights() {
    "$python" scripts/export_nano.py weights "$training/$1" "$nano/$2"
}

# train NAME MINUTES [KEY=VALUE ...]: one training, rendering and compiling included.
train() {
    local name=$1 minutes=$2
    shift 2
    if has_weights "$name"; then return; fi
    find_gpus
    "${launch[@]}" train.py --config "configs/nano/training/$name.yaml" \
        loop.output_dir="$training/$name" loop.max_minutes="$minutes" "${small[@]}" "$@"
    export_weights "$name" "$name"
}

# The tokenizer: crops in all colours, then whole frames from these weights.
tokenizer() {
    local first=$training/tokenizer finish=$training/tokenizer_finish
    local configs=configs/nano/training
    if has_weights tokenizer; then return; fi
    if ! has_weights training/tokenizer_first; then
        "$python" train.py --config "$configs/tokenizer.yaml" loop.output_dir="$first" \
            loop.max_minutes="${MINUTES_TOKENIZER:-7.4}" "${small[@]}"
        export_weights tokenizer training/tokenizer_first
    fi
    "$python" train.py --config_default "$configs/tokenizer.yaml" \
        --config "$configs/tokenizer_finish.yaml" loop.output_dir="$finish" \
        loop.initial_weights="$training/tokenizer_first" \
        loop.max_minutes="${MINUTES_TOKENIZER_FINISH:-5}" "${small[@]}"
    # With the statistics of the averaged weights' latents.
    export_weights tokenizer_finish training/tokenizer_last
    "$python" scripts/export_tokenizer.py "$finish" "$nano/tokenizer" \
        --dtype float32 --held-out "${SEEDS:-64}"
    cp "$training/tokenizer_last/origin.json" "$nano/tokenizer/"
}

# clips KIND WORLDS: static or dynamic ones.
clips() {
    local dynamic=false first=0 number makers=${MAKERS:-1} processes=() limit=()
    if [[ $1 == dynamic ]]; then dynamic=true first=100000; fi
    if [[ -n ${MINUTES_CLIPS:-} ]]; then limit=("max_minutes=$MINUTES_CLIPS"); fi
    local each=$((($2 + makers - 1) / makers)) cores=$(($(nproc) / (beside * makers)))
    find_gpus
    for ((number = 0; number < makers; number++)); do
        CUDA_VISIBLE_DEVICES=${own[number % ${#own[@]}]} "$python" scripts/make_nano_clips.py \
            output="$nano/clips" checkpoint_dir="$nano" dynamic="$dynamic" \
            first_seed="$((first + number * each))" worlds="$each" \
            workers="${WORKERS:-$((cores > 0 ? cores : 1))}" "${limit[@]}" "${clip_settings[@]}" &
        processes+=($!)
    done
    # In the background they would outlive an interruption of this script.
    trap 'kill "${processes[@]}" 2> /dev/null; wait; exit 143' TERM INT
    # Until the last of them has ended, also where one fails.
    local failed=0 process
    for process in "${processes[@]}"; do wait "$process" || failed=1; done
    trap - TERM INT
    return "$failed"
}

# ladder FIRST LAST [DECODER]: stages of the decoder; START has a DECODER to go on from.
ladder() {
    local start=()
    if [[ -n ${3:-} && -n ${START:-} ]]; then start=("loop.initial_weights=$START/$3"); fi
    find_gpus
    DATA="$nano/clips" CONFIGS=configs/nano/training OUTPUT="$nano" MINUTES="$stages" DYNAMIC=5 \
        LAUNCH="${LAUNCH:-${launch[*]}}" bash train.sh "$1" "$2" vae_path="$nano/tokenizer" \
        "${start[@]}" "${decoder[@]}" "${own_settings[@]}"
}

run_part() {
    part=$1
    case $part in
        tokenizer) tokenizer ;;
        depth) train depth "${MINUTES_DEPTH:-4}" ;;
        generator) train generator "${MINUTES_GENERATOR:-7}" tokenizer="$nano/tokenizer" ;;
        clips_static) clips static "${WORLDS_STATIC:-1000}" ;;
        clips_dynamic) clips dynamic "${WORLDS_DYNAMIC:-520}" ;;
        base) ladder 1 5 ;;
        static)
            if has_weights decoder_static; then return; fi
            ladder 6 7 decoder_static
            export_weights "${multi}_prune" decoder_static
            ;;
        dynamic)
            if has_weights decoder_dynamic; then return; fi
            ladder 8 9 decoder_dynamic
            export_weights "${multi}_dynamic_prune" decoder_dynamic
            ;;
        evaluate)
            "$python" scripts/evaluate_nano.py --nano "$nano" --output "$nano/evaluation" \
                --seeds "${SEEDS:-64}"
            ;;
        release) "$python" scripts/export_nano.py release "$nano" "${RELEASE:-assets/nano}" ;;
        *)
            echo "train_nano.sh: no part '$part'; see the head of this file" >&2
            exit 2
            ;;
    esac
}

timed() {
    local begin=$SECONDS
    echo "== $1"
    run_part "$1"
    echo "$1: $((SECONDS - begin)) s" | tee -a "$nano/minutes.txt"
}

# together PART PART: on a half of the GPUs each, or both on one; logs in NANO/PART.log.
together() {
    if ((beside < 2)); then
        for each in "$@"; do timed "$each"; done
        return
    fi
    local number=0 processes=() failed=() half some
    find_gpus
    half=$(((${#own[@]} + 1) / 2))
    part="$*"
    # Each with its own process group, so that what it has started ends with it.
    set -m
    for each in "$@"; do
        some=("${own[@]:number * half % ${#own[@]}:half}")
        CUDA_VISIBLE_DEVICES=$(IFS=, && echo "${some[*]}") timed "$each" > "$nano/$each.log" 2>&1 &
        processes+=($!)
        number=$((number + 1))
    done
    set +m
    trap 'for each in "${processes[@]}"; do kill -- "-$each"; done; wait; exit 143' TERM INT
    number=0
    for each in "$@"; do
        wait "${processes[number]}" || failed+=("$each")
        tail -n 3 "$nano/$each.log"
        number=$((number + 1))
    done
    trap - TERM INT
    if ((${#failed[@]})); then
        part="${failed[*]}"
        echo "the end of $nano/${failed[0]}.log:" >&2
        tail -n 30 "$nano/${failed[0]}.log" >&2
        return 1
    fi
}

parts=("$@")
if ((${#parts[@]} == 0)); then
    parts=(tokenizer depth generator clips decoders evaluate release)
fi
mkdir -p "$nano"
for each in "${parts[@]}"; do
    case $each in
        clips) together clips_static clips_dynamic ;;
        decoders)
            timed base
            together static dynamic
            ;;
        *) timed "$each" ;;
    esac
done
echo "train_nano.sh: done: ${parts[*]}"
