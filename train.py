"""Train a part of the system; goes on where a stopped run left off.

    accelerate launch --config_file configs/accelerate/accelerate_config.yaml train.py \
        --config configs/training/3dgs_res_704_1280_views_121.yaml dataset_root=CLIPS

Later settings win: --config_default (which has all keys), then --config, then KEY=VALUE; `task`
says what is trained. `bash train.sh` runs the decoder's nine stages. Written below output_dir:

    config.yaml               all settings, as `sample.py` and `inference.sh` read them
    checkpoint-<step>/        weights, optimizer, generators, position in the data
    steps.jsonl               the figures of every step
    validation/step-<n>.png   held-out scenes: rendered, true, depth
    failed/                   the scenes of a step whose loss was not a number

Ctrl-C and SIGTERM end it after its step with a checkpoint; the exit code is then 130 or 143.
"""

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

TASKS = {
    "decoder": (
        "src.config.decoder:load_decoder_train_config",
        "src.training.decoder.task:DecoderTask",
    ),
    "generator": (
        "cosmos_predict1.training.config:load_generator_train_config",
        "cosmos_predict1.training.task:GeneratorTask",
    ),
    "depth": ("nano.depth.config:load_depth_train_config", "nano.depth.task:DepthTask"),
    "tokenizer": (
        "src.config.tokenizer:load_tokenizer_train_config",
        "src.training.tokenizer.task:TokenizerTask",
    ),
}
# Files of all keys, for tasks whose defaults are not those in the code.
DEFAULTS = {"decoder": "configs/training/default.yaml"}


def main() -> None:
    """Read the arguments, load the configuration, train."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--config", required=True, help="YAML file of the stage")
    parser.add_argument("--config_default", help=f"YAML file of all keys {DEFAULTS}")
    for name in ("run", "group"):
        setting = f"loop.{name}_name={{}}".format
        parser.add_argument(f"--wandb_{name}_name", action="append", dest="names", type=setting)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args()

    # Offers procedural worlds to trainings without a folder of clips.
    importlib.import_module("nano")
    from src.config.loading import command_line_layer, file_layer
    from src.config.training import settings_text, split_task
    from src.runtime import InputError, setup_logging
    from src.training.loop.interruption import Interrupted, Stopped
    from src.training.loop.run import train

    setup_logging()
    try:
        files = [arguments.config_default] if arguments.config_default else []
        layers = [file_layer(path) for path in [*files, arguments.config]]
        layers += [command_line_layer([*(arguments.names or []), *arguments.settings])]
        name, layers = split_task(layers, [*TASKS])
        if not files and name in DEFAULTS:
            layers.insert(0, file_layer(DEFAULTS[name]))
        paths = (path.split(":") for path in TASKS[name])
        load, task = (getattr(importlib.import_module(module), part) for module, part in paths)
        config = load(layers)
        train(task(config), config.loop, config.optim, settings_text(config, name))
    except Interrupted as error:
        sys.stderr.write(f"train.py: {error}\n")
        sys.exit(error.exit_code)
    except (InputError, Stopped) as error:
        sys.exit(f"train.py: {error}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.stderr.write("train.py: stopped at once; the next call goes on from a checkpoint\n")
        sys.exit(130)
