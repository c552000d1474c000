"""Turn published weights into a folder of safetensors: `python scripts/convert.py SOURCE TARGET`.

SOURCE is the generator's `model.pt`, its folder or a checkpoint folder; TARGET receives
`config.json` and safetensors, in shards where they are large. It loads faster, wherever SOURCE
would load.

With `--part t5`, SOURCE is the folder of T5-11b or a checkpoint folder, and TARGET receives the
encoder alone, 19.5 GB of the 45.2, with its tokenizer. Then SOURCE is not needed any more.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from src.entry import manual_parser, run_entry

TYPES = {"keep": None, "bf16": "bfloat16", "fp32": "float32"}


def main() -> None:
    """Convert the weights and print their size."""
    parser = manual_parser(__doc__)
    parser.add_argument("source", type=Path, metavar="SOURCE")
    parser.add_argument("target", type=Path, metavar="TARGET")
    parser.add_argument("--part", choices=("generator", "t5"), default="generator")
    parser.add_argument("--dtype", choices=TYPES, default="keep", help="type of the weights (keep)")
    parser.add_argument("--shard_gb", type=float, default=5.0, help="largest file in GB (5)")
    arguments = parser.parse_args()
    if arguments.shard_gb <= 0:
        parser.error(f"--shard_gb {arguments.shard_gb}: not positive")

    import torch

    from cosmos_predict1.diffusion.model.network import convert_generator
    from cosmos_predict1.diffusion.model.t5 import convert_t5

    name = TYPES[arguments.dtype]
    dtype = None if name is None else getattr(torch, name)
    size = int(arguments.shard_gb * 1e9)
    if arguments.part == "t5":
        convert_t5(arguments.source, arguments.target, dtype, size)
        print(f"{arguments.target}: T5's encoder")
        return
    config = convert_generator(arguments.source, arguments.target, dtype, size)
    print(f"{arguments.target}: {config.num_layers} layers, width {config.width}")


if __name__ == "__main__":
    run_entry(main, "convert.py")
