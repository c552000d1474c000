"""A folder of encoded Pluecker maps, for runs on cameras that were encoded before.

A file holds the maps of all trajectories of a scene. Its name is a digest of all that decides on
them: the cameras to the bit, the size, the tokenizer's weights, types, device and libraries. So
maps from a file equal, bit for bit, the ones that are encoded again.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..geometry.cameras import Cameras
from ..io.atomic import UnwritableError, atomic_path, is_temporary
from ..io.damage import read_safetensors
from ..models.recon.scene_decoder import Plueckers, SceneDecoder
from ..runtime import InputError, get_logger

LOGGER = get_logger(__name__)
PLUECKER_FOLDER = ".pluecker"
# Changes with the arithmetic of Pluecker maps or the form of the files.
FORMAT = 2
# Runs a job, now or in another thread.
Background = Callable[[Callable[[], object]], object]


def encoding_settings(
    decoder: SceneDecoder, tokenizer: str, dtype: torch.dtype
) -> dict[str, object]:
    """Returns what decides on encoded maps, beside the cameras.

    `tokenizer` is the digest of its weights, `dtype` their type.
    """
    device = decoder.device
    return {
        "format": FORMAT,
        "tokenizer": tokenizer,
        "type": str(dtype),
        "precision": decoder.model.config.precision,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads() if device.type == "cpu" else 0,
        "tf32": [torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()],
        "libraries": [torch.__version__, torch.backends.cudnn.version()],
    }


class PlueckerFiles:
    """Encodes the Pluecker maps of a scene's cameras, or reads them from their file.

    The last scene's maps also stay in memory. The least recently used files are removed when all
    have more than `most_bytes`; 0 keeps no files. A damaged file is encoded again, with a warning.
    """

    def __init__(
        self,
        encode: Plueckers,
        folder: Path,
        most_bytes: int,
        made_by: Mapping[str, object],
        background: Background,
    ) -> None:
        """Wraps `encode`; files are written in the `background`."""
        self._encode, self._folder, self._most_bytes = encode, folder, most_bytes
        self._made_by, self._background = json.dumps(made_by, sort_keys=True), background
        self._last: tuple[str, Tensor] | None = None

    def __call__(
        self, cameras: Cameras, device: torch.device
    ) -> Float[Tensor, "traj latent_frame twice_channel lh lw"]:
        """Returns the maps of cameras (trajectory, frame) on `device`, as `encode` does."""
        name = self._name(cameras)
        if self._last is None or self._last[0] != name:
            # Frees the other maps first.
            self._last = None
            self._last = name, self._found_or_encoded(name, cameras, device)
        return self._last[1]

    def _found_or_encoded(
        self, name: str, cameras: Cameras, device: torch.device
    ) -> Float[Tensor, "traj latent_frame _ lh lw"]:
        path = self._path(name)
        if self._most_bytes and path.is_file():
            try:
                found = _read(path)
                # The date of the last use.
                path.touch()
                return found.to(device)
            except (InputError, OSError) as error:
                LOGGER.warning("encoded Pluecker maps are made again: %s", error)
        maps = self._encode(cameras, device)
        if maps.nbytes <= self._most_bytes:
            copy = maps.cpu()
            self._background(lambda: self._write(path, copy))
        return maps

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.safetensors"

    def _name(self, cameras: Cameras) -> str:
        digest = hashlib.sha256(self._made_by.encode())
        digest.update(f"{cameras.width}x{cameras.height}".encode())
        for part in (cameras.c2w, cameras.intrinsics):
            digest.update(f"{part.dtype}{tuple(part.shape)}".encode())
            digest.update(part.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _write(self, path: Path, maps: Float[Tensor, "traj latent_frame _ lh lw"]) -> None:
        """Writes a file and removes old ones; a full or read-only disk costs only the cache."""
        from safetensors.torch import save

        try:
            with atomic_path(path) as temporary:
                temporary.write_bytes(save({"maps": maps, "digest": _digest(path, maps)}))
            files = [file for file in self._folder.iterdir() if not is_temporary(file)]
            total = 0
            for file in sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True):
                total += file.stat().st_size
                if total > self._most_bytes:
                    file.unlink(missing_ok=True)
        except (UnwritableError, FileNotFoundError) as error:
            LOGGER.warning("encoded Pluecker maps are not kept: %s", error)


def _read(path: Path) -> Float[Tensor, "traj latent_frame _ lh lw"]:
    """Reads the maps of a file; `InputError` if they are not the ones that were written there."""
    tensors = read_safetensors(path)
    maps, digest = tensors.get("maps"), tensors.get("digest")
    if maps is None or digest is None or not torch.equal(digest, _digest(path, maps)):
        raise InputError(path, "other content than was written", "a file that nobody changed")
    return maps


def _digest(path: Path, maps: Float[Tensor, "traj latent_frame _ lh lw"]) -> UInt8[Tensor, "32"]:
    """Returns a digest of the file's name and its maps with shape and type."""
    digest = hashlib.sha256(f"{path.stem}{maps.dtype}{tuple(maps.shape)}".encode())
    digest.update(maps.contiguous().flatten().view(torch.uint8).numpy().data)
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)
