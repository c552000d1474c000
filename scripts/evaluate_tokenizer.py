"""Measure a tokenizer folder on photographs, videos and held-out worlds, in dB over RGB.

    python scripts/evaluate_tokenizer.py assets/nano/tokenizer --photos FOLDER --videos PATH:2

A photograph is reduced to a quarter more than the size of the clips, and a window slides over it
from the top left to the bottom right in 17 frames; its first frame is measured alone, too. Of a
video (PATH:2 means every second frame), or of a folder of its pictures, 17 frames are cropped in
the middle. Worlds have figures of luma and of every colour axis. `--output` receives figures.json
and sheets: given | decoded, at the first and the thirteenth frame.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def main() -> int:
    """Parse the arguments, measure, print the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("tokenizer", type=Path, metavar="FOLDER")
    add("--photos", type=Path, nargs="*", default=[], help="pictures, or folders of them")
    add("--videos", nargs="*", default=[], metavar="PATH[:STRIDE]", help="videos or folders")
    add("--worlds", type=int, default=0, help="held-out worlds of a kind (%(default)s)")
    add("--size", type=int, nargs=2, default=(176, 320), metavar=("HEIGHT", "WIDTH"))
    add("--output", type=Path, help="folder for figures.json and sheets")
    arguments = parser.parse_args()

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from src.io.json_object import write_json
    from src.runtime import InputError

    try:
        figures = measure_all(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(figures, indent=1))
    if arguments.output is not None:
        write_json(arguments.output / "figures.json", figures)
    return 0


def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures of everything that was given."""
    from src.evaluation.photographs import read_footage, sliding_window
    from src.io.image.folders import find_images
    from src.io.image.image import read_image
    from src.tokenizer.loading import load_tokenizer

    tokenizer, size = load_tokenizer(arguments.tokenizer), tuple(arguments.size)
    measure = Clips(tokenizer, arguments.output)
    figures: dict[str, Any] = {"size": size, "photographs": {}, "videos": {}}
    given = [find_images(path) if path.is_dir() else [path] for path in arguments.photos]
    for file in [file for files in given for file in files]:
        clip = sliding_window(read_image(file), size)
        first, window = measure.psnr(clip[:, :1]), measure.sheet(file.stem, clip)
        figures["photographs"][file.stem] = {"first": first, "window": window}
    for name in arguments.videos:
        path, _, stride = name.partition(":")
        clip = read_footage(Path(path), size, stride=int(stride or 1))
        figures["videos"][path] = measure.sheet(Path(path).stem, clip)
    found = figures["photographs"].values()
    figures["mean"] = {
        "first": mean([part["first"] for part in found]),
        "window": mean([part["window"] for part in found]),
        "videos": mean([*figures["videos"].values()]),
    }
    if arguments.worlds:
        figures["worlds"] = measure_worlds(arguments.tokenizer, arguments.worlds, size)
    return figures


class Clips:
    """Sends clips through a tokenizer."""

    def __init__(self, tokenizer: Any, output: Path | None) -> None:
        self._tokenizer, self._output = tokenizer, output

    def psnr(self, clip: "Tensor", decoded: "Tensor | None" = None) -> float:
        """PSNR in dB over RGB of one uint8 clip `[3, frame, h, w]`."""
        from src.evaluation.masked import clip_errors

        decoded = self._decoded(clip) if decoded is None else decoded
        return float(clip_errors(decoded[None], clip[None].float() / 255).psnr())

    def sheet(self, name: str, clip: "Tensor") -> float:
        """The PSNR, and a sheet of the first and of a later frame where an output is wanted."""
        import torch

        from src.io.image.image import write_png
        from src.io.image.pixels import round_to_uint8

        decoded = self._decoded(clip)
        if self._output is not None:
            later = clip.shape[1] * 3 // 4
            pairs = [part[:, k] for k in (0, later) for part in (clip.float() / 255, decoded)]
            picture = round_to_uint8(torch.cat(pairs, 2))
            write_png(self._output / f"{name}.png", picture.movedim(0, -1))
        return self.psnr(clip, decoded)

    def _decoded(self, clip: "Tensor") -> "Tensor":
        """What comes back, RGB in about [0, 1]."""
        import torch

        with torch.no_grad():
            video = clip[None].float() / 127.5 - 1
            return (self._tokenizer.decode(self._tokenizer.encode(video))[0] + 1) / 2


def mean(values: list[float]) -> float | None:
    """The mean, None of nothing."""
    return sum(values) / len(values) if values else None


def measure_worlds(folder: Path, count: int, size: tuple[int, ...]) -> dict[str, Any]:
    """PSNR of RGB, luma and both chroma channels on held-out worlds, still and moving."""
    from nano.evaluation.figures.tokenizer import world_figures
    from src.training.tokenizer.config import TokenizerDataConfig

    height, width = size
    data = TokenizerDataConfig(image_size=(height, width), crop=(height, width))
    return world_figures(data, folder, count)


if __name__ == "__main__":
    sys.exit(main())
