"""With what scenes are made: weights, device and flags, as the two command lines."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from src.checkpoints import search_checkpoint
from src.runtime import InputError

from .request import REPOSITORY, Request

Kind = Literal["static", "dynamic"]
GENERATORS: Mapping[Kind, str] = {
    "static": "gen3c_single_image_sdg.py",
    "dynamic": "gen3c_dynamic_sdg.py",
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the two commands are told beside the input and the folder of the results.

    Attributes:
        request: what the user asked for.
        name: the size, as in `configs/demo/<name>_static.yaml`.
        rasterizer: who renders; a setting of the user has precedence.
        generator_flags: of the first command.
        settings: of the second one.
    """

    request: Request
    name: Literal["nano", "lyra"]
    rasterizer: str
    generator_flags: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def weights(self, part: str) -> Path:
        """Where the weights of a part lie."""
        return require_weights(part, self.request.checkpoint_dir)

    def generate(self, kind: Kind, source: Path, folder: Path) -> list[str]:
        """The command that makes the clips of an input in `folder`."""
        asked = self.request
        return [
            *(sys.executable, _script(f"cosmos_predict1/diffusion/inference/{GENERATORS[kind]}")),
            *("--checkpoint_dir", str(asked.checkpoint_dir)),
            *("--input_image_path", str(source), "--video_save_folder", str(folder)),
            # What an earlier call made from something else is replaced.
            *("--multi_trajectory", "--foreground_masking", "--overwrite"),
            *("--depth", asked.depth, "--seed", str(asked.seed)),
            *self.generator_flags,
        ]

    def decode(self, kind: Kind, clips: Path, folder: Path, partly: bool = False) -> list[str]:
        """The command that makes scenes in `folder` of clips; `partly`: of those that are whole."""
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
            *self.settings,
            *self.request.settings,
        ]


def require_weights(part: str, folder: Path) -> Path:
    """Where the weights of a part lie below a checkpoint folder; `InputError` if they don't."""
    found = search_checkpoint(part, folder)
    if found is None:
        value = f"no weights of the {part.replace('_', ' ')} ({part})"
        raise InputError(folder, value, "a folder like assets/nano, which comes with the project")
    return found


def _script(name: str) -> str:
    return str(REPOSITORY / name)
