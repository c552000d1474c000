"""Turn the published generator into a diffusers folder: `python scripts/convert.py SOURCE TARGET`.

SOURCE is a `model.pt`, its folder or a checkpoint folder; TARGET receives `config.json` and
safetensors, in shards where they are large. It loads faster, wherever SOURCE would load.
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
    parser.add_argument("--dtype", choices=TYPES, default="keep", help="type of the weights (keep)")
    parser.add_argument("--shard_gb", type=float, default=5.0, help="largest file in GB (5)")
    arguments = parser.parse_args()
    if arguments.shard_gb <= 0:
        parser.error(f"--shard_gb {arguments.shard_gb}: not positive")

    import torch

    from cosmos_predict1.diffusion.model.network import convert_generator

    name = TYPES[arguments.dtype]
    dtype = None if name is None else getattr(torch, name)
    size = int(arguments.shard_gb * 1e9)
    config = convert_generator(arguments.source, arguments.target, dtype, size)
    print(f"{arguments.target}: {config.num_layers} layers, width {config.width}")


if __name__ == "__main__":
    run_entry(main, "convert.py")
