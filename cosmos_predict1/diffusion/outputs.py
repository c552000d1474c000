"""The clips of one shot on disk: their paths, whether they are finished, how they are written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from src.io.atomic import EXPECTED, UnwritableError
from src.io.clip.clip import Clip, ClipPaths, is_finished, open_clip, write_clip
from src.io.records import check_made_from
from src.io.video.video import write_video
from src.runtime import InputError

from .sampling.rollout import RolledPiece
from .scenes.shots import Shot

# Keys of a clip's metadata that the flags decide.
DECIDED = ("settings", "trajectory", "prompt", "negative_prompt", "made_from")
WAY_OUT = "--overwrite replaces such clips, another --video_save_folder keeps both"


class WriteError(InputError):
    """The output cannot be written: the next clip could not either."""


@dataclass(frozen=True)
class ShotFiles:
    """The clips of one shot: one for each piece, in the order of the scene's time."""

    root: Path
    shot: Shot
    key: str
    pieces: int

    @property
    def paths(self) -> list[ClipPaths]:
        """The paths of each piece; a single piece has the scene's name."""
        names = [f"{self.key}_part{index}" for index in range(self.pieces)]
        names = names if self.pieces > 1 else [self.key]
        return [ClipPaths(self.root, self.shot.folder, name) for name in names]

    def is_finished(self, record: Mapping[str, object], overwrite: bool = False) -> bool:
        """Whether all pieces are there and made as `record` says.

        With `overwrite`, a piece that was made otherwise counts as missing.

        Raises:
            InputError: a finished piece was made otherwise.
            WriteError: the file system denies access.
        """
        try:
            done = [is_finished(paths) for paths in self.paths]
        except OSError as error:
            raise WriteError(self.root, f"no access ({error.strerror})", EXPECTED) from error
        try:
            for paths, finished in zip(self.paths, done, strict=True):
                if finished:
                    _check_record(paths, record)
        except InputError:
            if overwrite:
                return False
            raise
        return all(done)

    def clip(self, rolled: RolledPiece, fps: float, meta: Mapping[str, object]) -> Clip:
        """Returns the clip of a piece as it is stored, on the CPU.

        A reversed shot is stored forwards and without its latents, which belong to the video
        played backwards.
        """
        frames, rig, latents = rolled.piece.frames, rolled.rig, rolled.piece.latents
        if self.shot.backwards:
            frames, rig, latents = frames.flip(0), rig.backwards(), None
        return Clip(
            cameras=rig.cameras(frames.shape[1], frames.shape[2]),
            fps=int(fps) if fps == int(fps) else fps,
            frames=frames,
            latents=latents,
            meta=meta,
        )

    def write(self, index: int, clip: Clip) -> None:
        """Write the clip of piece `index`, counted in the order of generation.

        Raises:
            WriteError: the file system refuses; a half-written clip does not count as finished.
        """
        paths = self.paths[-1 - index if self.shot.backwards else index]
        try:
            write_clip(paths, clip)
        except OSError as error:
            raise _write_error(paths.meta, error) from error

    def write_buffer(
        self, index: int, frames: UInt8[Tensor, "frame h buffer_w 3"], fps: float
    ) -> None:
        """Write the warps of piece `index` beside the output."""
        if self.shot.backwards:
            index, frames = -1 - index, frames.flip(0)
        name = f"{self.paths[index].key}.mp4"
        path = beside(self.root, "buffers") / self.shot.folder / name
        try:
            write_video(path, frames, fps)
        except OSError as error:
            raise _write_error(path, error) from error


def beside(output: Path, name: str) -> Path:
    """Returns a folder next to the output: published readers take all files inside for clips."""
    return output.with_name(f"{output.name}_{name}")


def _write_error(path: Path, error: OSError) -> WriteError:
    """Returns the error with the file that an atomic write has named, or `path`."""
    if isinstance(error, UnwritableError):
        return WriteError(error.source, error.value, error.expected)
    return WriteError(path, f"no file ({error.strerror})", EXPECTED)


def _check_record(paths: ClipPaths, record: Mapping[str, object]) -> None:
    stored = open_clip(paths).meta()
    kept = {name: stored[name] for name in DECIDED if name in stored}
    wanted = {name: record[name] for name in DECIDED if name in record}
    check_made_from(paths.meta, kept, wanted, WAY_OUT)
