"""What each of two processes runs: a training whose checkpoints take longer than a collective may.

Prints which process read or wrote weights, and how many tensors it had of a checkpoint.
"""

import sys
import time
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch.distributed as dist  # noqa: E402
from linear_task import LinearTask  # noqa: E402
from torch import Tensor  # noqa: E402

from src.training.checkpoints.files import Checkpoint  # noqa: E402
from src.training.loop.run import train  # noqa: E402
from src.training.loop.state import TrainingState  # noqa: E402
from src.training.optim import OptimConfig  # noqa: E402
from src.training.settings import LoopConfig  # noqa: E402

TIMEOUT, WRITING = 8, 11


class SlowTask(LinearTask):
    """Writing takes longer than the process group of the launch waits."""

    def write_weights(self, folder: Path, weights: dict[str, Tensor]) -> None:
        say("writes")
        time.sleep(WRITING)
        super().write_weights(folder, weights)

    def read_weights(self, path: Path) -> dict[str, Tensor]:
        say("reads")
        return super().read_weights(path)


def say(text: str) -> None:
    sys.stdout.write(f"process {dist.get_rank()} {text}\n")
    sys.stdout.flush()


def main() -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=TIMEOUT))
    capture = TrainingState.capture

    def counted(self: TrainingState, position: int, minutes: float) -> Checkpoint:
        checkpoint = capture(self, position, minutes)
        tensors = sum(map(len, [checkpoint.weights, checkpoint.average or {}]))
        say(f"holds {tensors + sum(map(len, checkpoint.optimizer.values()))} tensors")
        return checkpoint

    TrainingState.capture = counted
    folder, steps = sys.argv[1:3]
    loop = LoopConfig(
        output_dir=folder,
        max_steps=int(steps),
        checkpoint_every=2,
        mixed_precision="no",
        validate_every=0,
        ema=True,
    )
    train(SlowTask(noise=0), loop, OptimConfig())


if __name__ == "__main__":
    main()
