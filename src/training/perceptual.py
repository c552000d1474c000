"""The weights of LPIPS for a loss with this term."""

from pathlib import Path

from ..checkpoints import PLACES, search_checkpoint
from ..runtime import InputError


def lpips_folder(weight: float, setting: str, checkpoint_dir: Path | str) -> Path | None:
    """Returns the folder of LPIPS' weights; None if the term's `weight`, a `setting`, is 0.

    Raises:
        InputError: the weights of a term that counts are missing. The term is never dropped in
            silence: the message names the command that fetches them, and the setting.
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
