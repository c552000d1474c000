"""Videos with depth and cameras as ViPE writes them, read at the generator's size.

A result folder holds, for each clip, `rgb/<clip>.mp4`, `depth/<clip>.zip` (metric z-depth),
`pose/<clip>.npz` (camera-to-world), `intrinsics/<clip>.npz` and maybe `mask/<clip>.zip`.
As for the published generator, pictures are stretched without antialiasing, then cut at the centre.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...geometry.cameras import intrinsics_to_matrix
from ...geometry.fit import WHOLE, Fit, cut_middle
from ...io.cameras.frame_table import FrameTable, read_intrinsics, read_poses
from ...io.cameras.lens import check_lens
from ...io.damage import DAMAGES, read_npz
from ...io.depth_file import iterate_depth, read_members
from ...io.video.video import iterate_video, video_info
from ...runtime import InputError

PINHOLE_EXPECTED = "pinhole cameras: run ViPE with its pinhole pipeline, or undistort the video"


@dataclass(frozen=True)
class PosedDepthVideo:
    """A video with a depth map, a mask of valid pixels and a camera for each frame.

    `image` is in [-1, 1], `depth` is z-depth in the unit of the poses, `mask` is 0 or 1, `K` is in
    pixels of `image`.
    """

    image: Float[Tensor, "frame 3 h w"]
    depth: Float[Tensor, "frame 1 h w"]
    mask: Float[Tensor, "frame 1 h w"]
    w2c: Float[Tensor, "frame 4 4"]
    K: Float[Tensor, "frame 3 3"]
    fps: float

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class ResizeCrop:
    """Stretch to `resize`, then cut `crop` out of the centre; both are (height, width)."""

    resize: tuple[int, int] = (720, 1280)
    crop: tuple[int, int] = (704, 1280)

    def __post_init__(self) -> None:
        if any(cut > size or cut < 1 for cut, size in zip(self.crop, self.resize, strict=True)):
            raise InputError("crop", self.crop, f"a size within {self.resize}")

    def picture(
        self, picture: Float[Tensor, "channel source_h source_w"], mode: str = "bilinear"
    ) -> Float[Tensor, "channel h w"]:
        """A picture resized without antialiasing, and cut."""
        resized = torch.nn.functional.interpolate(picture[None], size=self.resize, mode=mode)[0]
        return cut_middle(resized, self.crop)

    def intrinsics(
        self, intrinsics: Float[Tensor, "frame 4"], height: int, width: int
    ) -> Float[Tensor, "frame 4"]:
        """Intrinsics of pictures of `height` x `width` as those of the resized and cut ones."""
        top, left = ((a - b) // 2 for a, b in zip(self.resize, self.crop, strict=True))
        return Fit(
            source=(height, width),
            target=self.crop,
            region=WHOLE,
            content=self.resize,
            offset=(-top, -left),
        ).intrinsics(intrinsics)


def read_vipe(
    path: Path | str,
    start: int = 0,
    num_frames: int = 121,
    size: ResizeCrop | None = None,
    read_mask: bool = False,
) -> PosedDepthVideo:
    """The frames `start` ... `start + num_frames - 1` of a ViPE result; the last frame repeats.

    `path` is a result folder, whose alphabetically first clip is read, or one of its `rgb/*.mp4`. A
    `start` beyond the end is the last frame. Frames are 720x1280 cut to 704x1280 by default. With
    `read_mask`, `mask/<clip>.zip` is read (> 0 is valid); else every pixel is valid. Raises
    `InputError` for a missing, truncated or damaged file, a frame without pose, intrinsics, depth
    or mask, a negative start.
    """
    if start < 0 or num_frames < 1:
        value = f"start {start}, {num_frames} frames"
        raise InputError(path, value, "a start >= 0 and at least one frame")
    size = size or ResizeCrop()
    root, clip = _find_clip(Path(path))
    video = root / "rgb" / f"{clip}.mp4"
    info = video_info(video)
    indices = torch.arange(start, start + num_frames).clamp(max=info.num_frames - 1)
    frames, repeats = torch.unique_consecutive(indices, return_counts=True)

    c2w = read_poses(root / "pose" / f"{clip}.npz").at(frames)
    source = _pinhole_lenses(root, clip, height=info.height, width=info.width).at(frames)
    intrinsics = size.intrinsics(source, info.height, info.width)
    wanted = frames.tolist()
    image = torch.empty(len(wanted), 3, *size.crop)
    for row, (_, rgb) in enumerate(iterate_video(video, wanted)):
        image[row] = size.picture(rgb.permute(2, 0, 1).float() / 255) * 2 - 1
    depth = torch.empty(len(wanted), 1, *size.crop)
    for row, z in enumerate(iterate_depth(root / "depth" / f"{clip}.zip", wanted)):
        depth[row] = size.picture(z[None])
    mask = torch.ones_like(depth)
    if read_mask:
        for row, valid in enumerate(_iterate_masks(root / "mask" / f"{clip}.zip", wanted)):
            mask[row] = size.picture(valid[None], mode="nearest")

    def repeated(values: Float[Tensor, " read *shape"]) -> Float[Tensor, " frame *shape"]:
        """The values of all frames; each frame is read once."""
        return values if len(wanted) == num_frames else values.repeat_interleave(repeats, dim=0)

    return PosedDepthVideo(
        image=repeated(image),
        depth=repeated(depth),
        mask=repeated(mask),
        # Inverted, not transposed: rotations in files are orthonormal to a few digits only.
        w2c=repeated(torch.linalg.inv(c2w.double()).float()),
        K=repeated(intrinsics_to_matrix(intrinsics)),
        fps=info.fps,
    )


def list_clips(root: Path) -> list[Path]:
    """The videos of a ViPE result folder, by name."""
    return sorted(path for path in root.glob("rgb/*.mp4") if not path.name.startswith("."))


def _find_clip(path: Path) -> tuple[Path, str]:
    """The result folder, and the name of the clip."""
    if path.is_file():
        if path.parent.name != "rgb":
            expected = "a video in the folder rgb/; --input_image_path takes plain videos"
            raise InputError(path, f"a video in {path.parent.name}/", expected)
        return path.parent.parent, path.stem
    if not path.is_dir():
        raise InputError(path, "no such file or folder", "a ViPE result folder or its rgb/*.mp4")
    videos = list_clips(path)
    if not videos:
        raise InputError(path, "no rgb/*.mp4", "a ViPE result folder")
    return path, videos[0].stem


def _pinhole_lenses(root: Path, clip: str, height: int, width: int) -> FrameTable:
    """The lenses of a clip; `InputError` for a camera that is no pinhole camera."""
    path = root / "intrinsics" / f"{clip}.npz"
    # ViPE writes the kinds of cameras beside the numbers, `FRAME: KIND` a line.
    kinds = path.with_name(f"{clip}_camera.txt")
    if kinds.is_file():
        text = kinds.read_bytes().decode("utf-8", "replace")
        found = {line.split(":")[-1].strip().upper() for line in text.split("\n") if line.strip()}
        if other := sorted(found - {"PINHOLE", "SIMPLE_PINHOLE"}):
            value = f"cameras of the kind {', '.join(kind[:40] for kind in other[:4])}"
            raise InputError(kinds, value, PINHOLE_EXPECTED)
    data = read_npz(path, "an npz file", ("data",)).get("data")
    if data is not None and data.ndim == 2 and data.shape[1] not in (4, 16):
        value = f"{data.shape[1]} numbers a frame: a wide-angle or panorama camera"
        raise InputError(path, value, PINHOLE_EXPECTED)
    table = read_intrinsics(path)
    check_lens(path, "data", table.values, size=(height, width), frames=table.frames)
    return table


def _iterate_masks(path: Path, indices: Sequence[int]) -> Iterator[Float[Tensor, "h w"]]:
    from PIL import Image, UnidentifiedImageError

    contents = read_members(path, ".png", indices)
    for index, content in zip(indices, contents, strict=True):
        try:
            picture = np.array(Image.open(io.BytesIO(content)))
        except (UnidentifiedImageError, *DAMAGES, Image.DecompressionBombError) as error:
            value = f"an unreadable mask for frame {index} ({error})"
            raise InputError(path, value, "PNG pictures") from error
        # A pixel of a coloured mask is valid if any channel is.
        if picture.ndim == 3:
            picture = picture.max(axis=2)
        yield torch.from_numpy((picture > 0).astype(np.float32))
