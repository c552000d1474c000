"""A prompt alone becomes a picture first, once, whoever asks for it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_generator import write_tiny_weights
from tiny_painter import write_tiny_painter

from cosmos_predict1.diffusion import preparation
from cosmos_predict1.diffusion.config import sdg_config
from cosmos_predict1.diffusion.flags import static_parser
from cosmos_predict1.diffusion.run import run
from cosmos_predict1.diffusion.scenes.text_to_image import TextToImage, picture_size
from src.io.clip.clip import ClipPaths, list_keys, open_clip
from src.io.image import read_image
from src.runtime import InputError

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [(704, 1280), (176, 320), (320, 176), (512, 512), (2048, 16)])
def test_pictures_are_large_enough_and_of_the_right_shape(size: tuple[int, int]) -> None:
    """A model asked for 176 x 320 pixels, at which it paints mud, or for a square."""
    height, width = picture_size(*size)
    assert height >= size[0] and width >= size[1] and max(height, width) >= 1024
    assert height % 32 == width % 32 == 0
    assert abs(height * size[1] / (width * size[0]) - 1) < 0.05 or min(size) < 32


def test_an_unknown_model_is_named(tmp_path: Path) -> None:
    """A traceback of the hub for a misspelt model."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="--text_to_image_model"):
        TextToImage(str(tmp_path / "empty"), CPU, torch.float32)("a dog", 32, 48, 1)


def test_a_prompt_becomes_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture made anew for each trajectory, each process, each resumed run."""
    monkeypatch.setattr("cosmos_predict1.diffusion.scenes.text_to_image.SHORTEST_LONG_SIDE", 64)
    weights = write_tiny_weights(tmp_path / "weights")
    painter = write_tiny_painter(tmp_path / "painter-turbo")
    line = ["--checkpoint_dir", weights, "--text_to_image_model", painter, "--num_steps", "1"]
    line += ["--video_save_folder", tmp_path / "out", "--device", "cpu", "--multi_trajectory"]
    line += ["--prompt", "a dog/cat in the sun"]
    config = sdg_config(static_parser("").parse_args([str(part) for part in line]))
    painted = []
    original = preparation.TextToImage.__call__

    def paint(painter: TextToImage, *arguments: Any, **named: Any) -> torch.Tensor:
        painted.append(arguments)
        return original(painter, *arguments, **named)

    monkeypatch.setattr(preparation.TextToImage, "__call__", paint)
    run(config)
    (key,) = list_keys(tmp_path / "out")
    assert key.startswith("a_dog_cat_in_the_sun_") and len(painted) == 1
    picture = read_image(tmp_path / "out_images" / f"{key}.png")
    assert picture.shape == (64, 64, 3)
    clip = open_clip(ClipPaths(tmp_path / "out", "5", key))
    assert clip.meta()["prompt"] == "a dog/cat in the sun"
    clip.paths.meta.unlink()
    # As a run leaves it that is killed when it has made the picture.
    lock = tmp_path / "out_images" / f".{key}.lock"
    assert not lock.exists()
    lock.write_text("process 1 on another host")
    run(config)
    assert len(painted) == 1 and clip.paths.meta.is_file() and not lock.exists()
