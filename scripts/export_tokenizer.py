"""Write the tokenizer of a training for everybody else: `export_tokenizer.py RUN TARGET`.

RUN is the `loop.output_dir` of a training with `task: tokenizer`. TARGET receives `config.json`
with the statistics of the latents, `encoder.safetensors` and `decoder.safetensors`: the moving
average of the weights where the training kept one. Prints the figures of held-out worlds as JSON.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

DTYPES = ("bfloat16", "float16", "float32")


def main() -> int:
    """Parse the arguments, write, print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("target", type=Path, metavar="TARGET")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16", help="type of the weights")
    parser.add_argument("--held-out", type=int, default=64, help="worlds of a kind; 0: no figures")
    parser.add_argument("--report", type=Path, help="folder for figures.json and sheets of clips")
    arguments = parser.parse_args()

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    import torch

    from nano.evaluation.figures.tokenizer import world_figures
    from src.config.loading import file_layer
    from src.config.tasks import load_train_config
    from src.io.json_object import write_json
    from src.runtime import InputError, setup_logging
    from src.training.tokenizer.config import TokenizerTrainConfig
    from src.training.tokenizer.export import export_tokenizer

    setup_logging()
    try:
        dtype = getattr(torch, arguments.dtype)
        config = load_train_config(
            TokenizerTrainConfig, [file_layer(arguments.run / "config.yaml")]
        )
        done = export_tokenizer(config, arguments.run, arguments.target, dtype)
        exported: dict[str, Any] = {**done}
        count, report = arguments.held_out, arguments.report
        figures = world_figures(config.data, arguments.target, count, report) if count else {}
        exported["figures"] = figures
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(exported, indent=1))
    if arguments.report is not None:
        write_json(arguments.report / "figures.json", exported)
    return 0


if __name__ == "__main__":
    sys.exit(main())
