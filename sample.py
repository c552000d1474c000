"""Turn clips into Gaussians and render them: scenes of a data set, one after another.

    accelerate launch sample.py --config configs/demo/lyra_static.yaml \
        dataset_root=CLIPS ckpt_path=checkpoints/Lyra/lyra_static.pt

Later settings win: --config_default, then --config, then the KEY=VALUE arguments.
configs/inference/default.yaml lists the keys; `model.KEY=VALUE` changes a key of the model, listed
in configs/training/default.yaml. Several processes share the scenes; with processes_per_scene=2 two
of them share the attention of each one. A stopped run continues when it is called again;
`overwrite=true` replaces scenes that were made from something else.
Encoded cameras stay in OUT_DIR_INFERENCE/.pluecker, where another run on the same cameras, size
and tokenizer finds them (at most pluecker_cache_gb=2; 0: none; it may be deleted at any time).

CLIPS is a folder `<trajectory>/{rgb,pose,intrinsics,latent}/<scene>.*`. Results below
out_dir_inference (and a folder for the checkpoint, the trajectories, the data set and the time):

    main_gaussians_renderings/rgb_<i>.mp4   a wave through the depths, then every trajectory
    full_output/sample_<i>.mp4              rendering, reference and depth side by side
    raw/rgb_<i>_view_idx_<k>.mp4            one trajectory; raw/rgb_wave_<i>.mp4 the wave
    gaussians_orig/gaussians_<i>.ply        the Gaussians, for any 3DGS viewer
    gaussians_export/gaussians_<i>.*        other formats: export_formats=[ply,spz,usdz]
    scenes/<i>/cameras.json, metrics.json   the input's cameras; PSNR and SSIM by frame
    scenes/<i>/sheet.png                    input, clips, renderings and depths at a glance
    scenes/<i>/made_from.json               digests of the scene's inputs, and its settings
    meta/sample_<i>.json                    the scene's name, written when all else is there
"""

import gc
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from src.entry import manual_parser, run_entry


def main() -> None:
    """Reads the arguments, load the configuration, reconstruct."""
    parser = manual_parser(__doc__)
    parser.add_argument("--config", required=True, help="YAML file of the run")
    parser.add_argument("--config_default", default="configs/inference/default.yaml")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args()

    # Imports leave little garbage, and the search for it takes a tenth of a short run.
    gc.disable()
    from src.config.sample import load_sample_config
    from src.reconstruct.run import reconstruct
    from src.runtime import setup_logging

    gc.freeze()
    gc.enable()
    setup_logging()
    reconstruct(load_sample_config(arguments.config_default, arguments.config, arguments.settings))


if __name__ == "__main__":
    run_entry(main, "sample.py", "stopped; the same command goes on")
