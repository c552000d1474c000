"""Videos as other programs write them, made with the ffmpeg command."""

import subprocess

import imageio_ffmpeg


def ffmpeg(*arguments: object) -> bytes:
    """The output of the ffmpeg command."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout
