"""Train a part of the system; goes on where a stopped run left off.

    accelerate launch --config_file configs/accelerate/accelerate_config.yaml train.py \
        --config configs/training/3dgs_res_704_1280_views_121.yaml dataset_root=CLIPS

`task` names what is trained (src/config/loading.py). Later settings win: --config_default, then
--config, then KEY=VALUE. `bash train.sh` runs the decoder's nine stages. Written below output_dir:

    config.yaml               all settings, as `sample.py` and `inference.sh` read them
    checkpoint-<step>/        weights, optimizer, generators, position in the data
    steps.jsonl               the figures of every step
    validation/step-<n>.png   held-out scenes: rendered, true, depth
    failed/                   the scenes of a step whose loss was not a number

Ctrl-C and SIGTERM end it after its step with a checkpoint; the exit code is then 130 or 143.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from src.entry import manual_parser, run_entry


def main() -> int:
    """Read the arguments, load the configuration, train; returns the exit code."""
    parser = manual_parser(__doc__)
    parser.add_argument("--config", required=True, help="YAML file of the stage")
    known = "YAML file of all keys (decoder: configs/training/default.yaml)"
    parser.add_argument("--config_default", help=known)
    for name in ("run", "group"):
        setting = f"loop.{name}_name={{}}".format
        parser.add_argument(f"--wandb_{name}_name", action="append", dest="names", type=setting)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args()

    # Both add their tasks to the table; `nano` also offers worlds to trainings without clips.
    import cosmos_predict1.training  # noqa: F401
    import nano  # noqa: F401
    from src.config.loading import (
        TASKS,
        command_line_layer,
        file_layer,
        load_train_config,
        settings_text,
        task_name,
    )
    from src.runtime import setup_logging
    from src.training import imported
    from src.training.loop.interruption import Stopped
    from src.training.loop.run import train

    setup_logging()
    files = [arguments.config_default] if arguments.config_default else []
    layers = [file_layer(path) for path in [*files, arguments.config]]
    layers += [command_line_layer([*(arguments.names or []), *arguments.settings])]
    name = task_name(layers)
    row = TASKS[name]
    if row.defaults and not files:
        layers.insert(0, file_layer(row.defaults))
    config = load_train_config(imported(row.config), layers)
    try:
        task, settings = imported(row.task)(config), settings_text(config, name)
        train(task, config.loop, config.optim, settings=settings)
    except Stopped as error:
        sys.stderr.write(f"train.py: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    run_entry(main, "train.py", "stopped at once; the next call goes on from a checkpoint")
