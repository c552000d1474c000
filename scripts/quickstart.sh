#!/usr/bin/env bash
# From a picture or a video to a 3D or 4D scene, on any machine, with the small weights that come
# with the project:
#
#   bash scripts/quickstart.sh [PICTURE | VIDEO | FOLDER] [--output DIR] [--seed N] [KEY=VALUE ...]
#
# Sets the environment up (scripts/setup.sh), then runs the two commands of the project: one makes
# six clips along six camera paths, the other makes Gaussians of them and renders these. Without an
# argument the input is assets/demo/garden.jpg; of a FOLDER every picture and every video is taken.
#
#   --output DIR          where the results go (outputs/quickstart)
#   --seed N              other noise and other camera paths (1)
#   --checkpoint_dir DIR  other weights of the same layout (assets/nano)
#   --python PATH         an interpreter that has all packages: nothing is set up
#   KEY=VALUE             settings of the second command (configs/inference/default.yaml)
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
input="" output="outputs/quickstart" seed=1 weights="$root/assets/nano" python="" settings=()
pictures="jpg jpeg png webp" videos="mp4 mov mkv webm avi m4v"

fail() { # MESSAGE
    echo "quickstart: $1" >&2
    exit 2
}

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"
}

while [[ $# -gt 0 ]]; do
    case $1 in
        -h | --help)
            usage
            exit
            ;;
        --output | --seed | --checkpoint_dir | --python)
            [[ $# -ge 2 ]] || fail "$1: got nothing, expected a value"
            case $1 in
                --output) output=$2 ;;
                --seed) seed=$2 ;;
                --checkpoint_dir) weights=$2 ;;
                --python) python=$2 ;;
            esac
            shift 2
            ;;
        -*) fail "$1: unknown option (see --help)" ;;
        [a-z]*=*)
            settings+=("$1")
            shift
            ;;
        *)
            [[ -z $input ]] || fail "$1: a second input, expected one; put them into a folder"
            input=$1
            shift
            ;;
    esac
done
input=${input:-$root/assets/demo/garden.jpg}

# What is wrong shows now, not after minutes.
kind_of() { # FILE: picture, video, or nothing
    local suffix
    suffix="$(printf '%s' "${1##*.}" | tr '[:upper:]' '[:lower:]')"
    case " $pictures " in *" $suffix "*) echo picture ;; esac
    case " $videos " in *" $suffix "*) echo video ;; esac
}

absolute() { # PATH
    (cd "$(dirname "$1")" && printf '%s/%s\n' "$PWD" "$(basename "$1")")
}

known="a picture ($pictures), a video ($videos), or a folder of them"
[[ -e $input ]] || fail "$input: no such file or folder, expected $known"
[[ $seed =~ ^[0-9]+$ ]] || fail "--seed: got $seed, expected a whole number"
stills=() films=()
if [[ -d $input ]]; then
    input="$(cd "$input" && pwd)"
    for file in "$input"/*; do
        [[ -f $file ]] || continue
        case "$(kind_of "$file")" in
            picture) stills+=("$file") ;;
            video) films+=("$file") ;;
        esac
    done
    [[ $((${#stills[@]} + ${#films[@]})) -gt 0 ]] || fail "$input: neither pictures ($pictures) nor videos ($videos) in it"
else
    input="$(absolute "$input")"
    case "$(kind_of "$input")" in
        picture) stills=("$input") ;;
        video) films=("$input") ;;
        *) fail "$input: unknown type of file, expected $known" ;;
    esac
fi
# The decoder of moving scenes may be missing: pictures do without it.
if [[ ${#films[@]} -gt 0 && ! -f $weights/decoder_dynamic/config.json ]]; then
    without="$weights/decoder_dynamic: no weights, without which videos become no scenes"
    [[ ${#stills[@]} -gt 0 ]] || fail "$without, expected a picture instead of $(basename "${films[0]}")"
    echo "quickstart: $without; leaving out ${films[*]##*/}" >&2
    films=()
fi
for part in generator tokenizer depth ${stills[0]+decoder_static} ${films[0]+decoder_dynamic}; do
    [[ -f $weights/$part/config.json ]] || fail "$weights/$part: no weights, expected those of assets/nano, which come with the project"
done
weights="$(cd "$weights" && pwd)"
mkdir -p "$output" || fail "$output: cannot be made, expected a folder for the results"
output="$(cd "$output" && pwd)"

if [[ -z $python ]]; then
    bash "$root/scripts/setup.sh"
    python="$root/.venv/bin/python"
fi

gpu="$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1 || true)"
echo "quickstart: on ${gpu:-the CPU}"
rasterizer=auto
if [[ -n $gpu ]] && ! command -v nvcc >/dev/null && [[ ! -x ${CUDA_HOME:-/usr/local/cuda}/bin/nvcc ]]; then
    # Without its compiler gsplat may not start; for scenes of this size the twin is fast enough.
    rasterizer=torch
fi
# Threads that wait spin for a moment only: much faster where the cores have other work too.
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-1000}"
# Large tensors stay with the process between uses: a tenth of the time is spent on fresh pages else.
export MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_:-1073741824}"
export MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-2147483648}"

run() { # COMMAND ...
    printf '+'
    printf ' %q' "$@"
    printf '\n'
    "$@"
}

# Another input, seed or other weights are other results: they get a folder of their own.
folder_of() { # NAME FILE ...
    local name digest
    # A name of a folder that means nothing to a shell or in a setting.
    name="$(printf '%s' "$1" | tr -c '[:alnum:]._-' '_')"
    shift
    digest="$({
        cat "$@" "$weights"/{generator,tokenizer,depth}/*
        echo "$seed"
    } | cksum | cut -d ' ' -f 1)"
    echo "$output/${name}_$digest"
}

report() { # FOLDER
    local meta tree index key
    # Of a video there is a folder for each moment, in the order of time.
    for meta in "$1"/scene/static_view_indices_fixed_*/*/meta/sample_*.json \
        "$1"/scene/static_view_indices_fixed_*/*/[0-9]/meta/sample_*.json \
        "$1"/scene/static_view_indices_fixed_*/*/[0-9][0-9]*/meta/sample_*.json; do
        [[ -f $meta ]] || continue
        tree="$(dirname "$(dirname "$meta")")"
        index="${meta##*sample_}" index="${index%.json}"
        key="$(sed 's/.*\["\(.*\)"\].*/\1/' "$meta")"
        [[ $tree == */lyra_dynamic_demo/* ]] && key="$key at frame $(basename "$tree")"
        echo
        echo "$key"
        echo "  at a glance  $tree/scenes/$index/sheet.png"
        echo "  3D scene     $tree/gaussians_orig/gaussians_$index.ply"
        echo "  renderings   $tree/main_gaussians_renderings/rgb_$index.mp4"
        echo "  one by one   $tree/raw/rgb_${index}_view_idx_{0,1,2,3,4,5}.mp4"
    done
    echo "  generated    $1/clips/{0,1,2,3,4,5}/rgb/"
}

make_scenes() { # static|dynamic INPUT FOLDER
    local command=gen3c_single_image_sdg.py
    [[ $1 == static ]] || command=gen3c_dynamic_sdg.py
    run "$python" "$root/cosmos_predict1/diffusion/inference/$command" \
        --checkpoint_dir "$weights" --input_image_path "$2" --video_save_folder "$3/clips" \
        --multi_trajectory --foreground_masking --depth nano --seed "$seed"
    run "$python" "$root/sample.py" --config "$root/configs/demo/nano_$1.yaml" \
        "dataset_root=$3/clips" "ckpt_path=$weights/decoder_$1" "vae_path=$weights/tokenizer" \
        "out_dir_inference=$3/scene" "rasterizer=$rasterizer" ${settings[@]+"${settings[@]}"}
    done_folders+=("$3")
}

started=$SECONDS done_folders=()
if [[ ${#stills[@]} -gt 0 ]]; then
    name="$(basename "$input")"
    make_scenes static "$input" "$(folder_of "${name%.*}" "${stills[@]}")"
fi
for film in ${films[@]+"${films[@]}"}; do
    name="$(basename "$film")"
    make_scenes dynamic "$film" "$(folder_of "${name%.*}" "$film")"
done

echo
echo "quickstart: done in $((SECONDS - started)) s"
for folder in "${done_folders[@]}"; do
    report "${folder#"$PWD"/}"
done
cat <<'TEXT'

The pictures and videos open in any viewer and player. The .ply opens in every viewer for 3D
Gaussian splats: drop it onto https://superspl.at/editor in a browser, for one.
TEXT
if [[ -f $root/checkpoints/Lyra/lyra_static.pt && (-d $root/checkpoints/Gen3C-Cosmos-7B || -d $root/checkpoints/GEN3C-Cosmos-7B) ]]; then
    cat <<TEXT

The full weights are in checkpoints/. In full size, on a GPU with 30 GB (see README.md):
  bash scripts/bash/static_sdg.sh $(printf '%q' "${stills[0]:-PICTURE}") outputs/clips --checkpoint_dir checkpoints
  accelerate launch sample.py --config configs/demo/lyra_static.yaml dataset_root=outputs/clips
TEXT
elif [[ -n $gpu ]]; then
    echo "This GPU can do more: README.md says how to get the full weights."
fi
