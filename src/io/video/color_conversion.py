"""Between the colours of pictures and those of videos, frame by frame."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av import VideoFrame

# By itself PyAV begins and ends a thread a core for each frame: 64 of them take longer than all the
# rest of a small clip.
THREADS = 4


class ColorConverter:
    """Converts the frames of one video with the same few threads."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()

    def __call__(
        self,
        frame: "VideoFrame",
        pixel_format: str,
        interpolation: str | None = None,
        size: tuple[int, int] | None = None,
    ) -> "VideoFrame":
        """The frame in FFmpeg's `pixel_format`, and of `size` (height, width) where that is given.

        `interpolation` subsamples the chroma and stretches.
        """
        return self._reformatter.reformat(
            frame,
            height=None if size is None else size[0],
            width=None if size is None else size[1],
            format=pixel_format,
            interpolation=interpolation,
            threads=THREADS,
        )
