"""Fill in what was measured of the small weights: `python scripts/report_nano.py`.

Reads the evaluation (scripts/evaluate_nano.py), the journals of the trainings, the evaluations of
the ablations and the weights, and puts tables, curves and contact sheets into docs/nano.md and
the model card assets/nano/README.md, between their `<!-- begin NAME -->` and `<!-- end NAME -->`.
What is missing is called so. Running it again changes nothing else.
"""

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Parse the arguments, read everything, fill in both documents."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--evaluation", type=Path, default=Path("outputs/nano/evaluation"), help="%(default)s")
    add("--runs", type=Path, default=Path("outputs/nano"), help="holds journals (%(default)s)")
    add("--ablations", type=Path, default=Path("outputs/nano/ablations"), help="%(default)s")
    add("--nano", type=Path, default=Path("assets/nano"), help="the weights (%(default)s)")
    add("--document", type=Path, default=Path("docs/nano.md"), help="%(default)s")
    add("--images", type=Path, default=Path("docs/images"), help="%(default)s")
    arguments = parser.parse_args()

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from heldout.document import (
        ablation_block,
        evaluation_blocks,
        fill_blocks,
        read_evaluation,
        sheets_block,
        training_blocks,
        weights_block,
    )
    from heldout.trainings import find_trainings

    from src.runtime import InputError

    document, images = arguments.document, arguments.images
    content = read_evaluation(arguments.evaluation)
    blocks = evaluation_blocks(content)
    blocks |= training_blocks(find_trainings(arguments.runs), images, document)
    blocks["ablations"] = ablation_block(arguments.ablations)
    blocks["sheets"] = sheets_block(content, arguments.evaluation, images, document)
    blocks["weights"] = weights_block(arguments.nano)
    try:
        for path in (document, arguments.nano / "README.md"):
            fill_blocks(path, blocks)
            print(path)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
