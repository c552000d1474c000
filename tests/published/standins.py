"""Stand-ins of everything that is published, with random weights: formats, names, layout.

    python tests/published/standins.py --size full --folder DIR [--without t5 moge ...]

writes DIR/checkpoints (what the downloads end in) and DIR/hub (the repositories they come from;
large files are links to those of the checkpoints). Weights are scaled so that activations and
outputs stay about 1.

`full` has the published sizes: 574 entries and 7,237,257,216 parameters of the generator, 315 and
105,653,696 of the tokenizer, 254 and 32,753,996 of each decoder; the writers check them.

`tiny` is for a CPU. Its files have the published names, keys and containers, and its clips the
published 121 frames and 16 latent frames, but pictures of 32x64 and small networks:

- The tokenizer's width is read off its tensors, so nothing else need say it.
- GEN3C's `model.pt` says no sizes and no recipe. Its folder holds the `config.json` of this project
  (sizes, 32x64, 2 steps); at full size a foreign one lies there, which must not matter.
- A Lyra decoder's file has the published network of 33 million parameters, which small pictures
  make cheap. The size of the pictures is a key of configs/training; `shrink_settings` replaces
  it, and nothing else, in a copy of the repository.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[number]) for number in (2, 1)]


def main() -> None:
    """Parse the arguments and write."""
    from published.layout import PARTS, SIZES, write_standins

    from src.entry import manual_parser

    parser = manual_parser(__doc__)
    parser.add_argument("--size", choices=[*SIZES], required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--without", nargs="*", choices=PARTS, default=[])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_standins(arguments.folder, SIZES[arguments.size], arguments.without, arguments.seed)


if __name__ == "__main__":
    main()
