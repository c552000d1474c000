"""The two commands that make a scene, with their weights, device and flags."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from src.checkpoints import find_checkpoint

from .request import REPOSITORY, Request

Kind = Literal["static", "dynamic"]
GENERATORS: Mapping[Kind, str] = {
    "static": "gen3c_single_image_sdg.py",
    "dynamic": "gen3c_dynamic_sdg.py",
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The options of the two commands beside the input and the folder of the results.

    Attributes:
        request: the arguments of the user; a KEY=VALUE of theirs wins over `rasterizer`.
        name: the size, as in `configs/demo/<name>_static.yaml`.
        flags: more flags of the first command.
    """

    request: Request
    name: Literal["nano", "lyra"]
    rasterizer: str
    flags: tuple[str, ...] = ()

    def weights(self, part: str) -> Path:
        """The path of the weights of a part."""
        return find_checkpoint(part, self.request.checkpoint_dir)

    def generate(self, kind: Kind, source: Path, folder: Path) -> list[str]:
        """The command that makes the clips of an input in `folder`."""
        asked = self.request
        return [
            *(sys.executable, _script(f"cosmos_predict1/diffusion/inference/{GENERATORS[kind]}")),
            *("--checkpoint_dir", str(asked.checkpoint_dir)),
            *("--input_image_path", str(source), "--video_save_folder", str(folder)),
            # Clips that an earlier call made from something else are replaced.
            *("--multi_trajectory", "--foreground_masking", "--overwrite"),
            *("--depth", asked.depth, "--seed", str(asked.seed)),
            *([] if asked.device == "auto" else ["--device", asked.device]),
            *self.flags,
        ]

    def decode(self, kind: Kind, clips: Path, folder: Path, partly: bool = False) -> list[str]:
        """The command that makes scenes of clips in `folder`, of whole clips alone if `partly`."""
        device = self.request.device
        return [
            *(sys.executable, _script("sample.py")),
            *("--config", str(REPOSITORY / f"configs/demo/{self.name}_{kind}.yaml")),
            f"dataset_root={clips}",
            f"ckpt_path={self.weights(f'decoder_{kind}')}",
            f"vae_path={self.weights('tokenizer')}",
            f"out_dir_inference={folder}",
            f"rasterizer={self.rasterizer}",
            "overwrite=true",
            *(["skip_unreadable=true"] if partly else []),
            *([] if device == "auto" else [f"device={device}"]),
            *self.request.settings,
        ]


def _script(name: str) -> str:
    return str(REPOSITORY / name)
