"""Where the weights of LPIPS lie for a loss that has it as a term."""

from pathlib import Path

from ..checkpoints import PLACES, search_checkpoint
from ..runtime import InputError


def lpips_folder(weight: float, setting: str, checkpoint_dir: Path | str) -> Path | None:
    """The folder of the weights of LPIPS; None where the term's `weight` is 0.

    `setting` is the key of that weight. Without its weights the term cannot be computed, and a
    training without the term minimises another loss: nobody gets one who has not said so.

    Raises:
        InputError: the term counts and its weights are missing; names the files, the command that
            fetches them, and the setting that trains without.
    """
    if not weight:
        return None
    folder = search_checkpoint("lpips", checkpoint_dir)
    if folder is None:
        missing = ", ".join(PLACES["lpips"][0].missing(Path(checkpoint_dir)))
        command = "python scripts/download_checkpoints.py --what lpips"
        expected = f"these weights of LPIPS (`{command}`), or {setting}=0 to train without the term"
        raise InputError(checkpoint_dir, f"{setting}={weight:g} without {missing}", expected)
    return folder
