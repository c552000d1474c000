"""What each of several processes runs: the linear task; its sizes and settings are arguments."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from linear_task import LinearTask  # noqa: E402

from src.runtime import InputError  # noqa: E402
from src.training.loop.run import train  # noqa: E402
from src.training.optim import OptimConfig  # noqa: E402
from src.training.settings import LoopConfig  # noqa: E402


def main() -> None:
    folder, size, steps, settings, accumulation = sys.argv[1:6]
    # A different rank may be told something else.
    settings = settings.replace("RANK", os.environ.get("RANK", "0"))
    loop = LoopConfig(
        output_dir=folder,
        max_steps=int(steps),
        checkpoint_every=2,
        mixed_precision="no",
        validate_every=2,
        ema=True,
    )
    optim = OptimConfig(learning_rate=1e-2, accumulation_steps=int(accumulation))
    try:
        train(LinearTask(int(size), noise=0), loop, optim, settings)
    except InputError as error:
        sys.exit(f"input error: {error}")


if __name__ == "__main__":
    main()
