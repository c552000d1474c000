"""Fill in what was measured of the small weights: `python scripts/report_nano.py`.

Reads what scripts/bash/train_nano.sh and scripts/bash/nano_ablations.sh leave behind (evaluations,
journals, minutes) and puts tables, curves and contact sheets into docs/nano.md, between
`<!-- begin NAME -->` and `<!-- end NAME -->`. What is missing is called so. Running it again
changes nothing else.
"""

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Parse the arguments, read everything, fill in the document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--runs", type=Path, default=Path("outputs/nano"), help="NANO of the scripts; %(default)s")
    add("--document", type=Path, default=Path("docs/nano.md"), help="%(default)s")
    add("--images", type=Path, default=Path("docs/images"), help="%(default)s")
    arguments = parser.parse_args()

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from nano.evaluation.report.document import (
        ablation_block,
        evaluation_blocks,
        fill_blocks,
        read_evaluation,
        sheets_block,
        training_blocks,
    )
    from nano.evaluation.report.trainings import find_trainings, parts_table
    from src.runtime import InputError

    runs, document, images = arguments.runs, arguments.document, arguments.images
    content = read_evaluation(runs / "evaluation")
    blocks = evaluation_blocks(content)
    blocks |= training_blocks(find_trainings(runs / "training"), images, document)
    blocks["minutes"] = parts_table(runs / "minutes.txt")
    blocks["ablations"] = ablation_block(runs / "ablations")
    blocks["sheets"] = sheets_block(content, runs / "evaluation", images, document)
    try:
        fill_blocks(document, blocks)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
