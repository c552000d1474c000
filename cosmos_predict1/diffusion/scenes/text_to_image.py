"""Pictures from prompts, by any text-to-image model of diffusers."""

import math
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from src.io.image import round_to_uint8
from src.runtime import InputError

# Steps of distilled models, by a part of their name; they take no guidance.
FEW_STEPS = {"schnell": 4, "turbo": 1, "lightning": 4}
# Models that were trained at 1024 pixels fail below.
SHORTEST_LONG_SIDE = 1024
MULTIPLE = 32


class TextToImage:
    """A text-to-image pipeline, loaded with the first prompt."""

    def __init__(self, model: str, device: torch.device, dtype: torch.dtype) -> None:
        """Take the name of a model on the hub, or its folder."""
        self.model, self.device, self.dtype = model, device, dtype
        self._pipeline: Any = None

    @torch.inference_mode()
    def __call__(self, prompt: str, height: int, width: int, seed: int) -> UInt8[Tensor, "h w 3"]:
        """Returns a picture of about the shape of `height` x `width`; see `picture_size`.

        Raises:
            InputError: the model cannot be loaded.
        """
        if self._pipeline is None:
            self._pipeline = self._load()
        rows, columns = picture_size(height, width)
        steps = next((n for name, n in FEW_STEPS.items() if name in self.model.lower()), None)
        options = {} if steps is None else {"num_inference_steps": steps, "guidance_scale": 0.0}
        result = self._pipeline(
            prompt,
            height=rows,
            width=columns,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
            **options,
        )
        return round_to_uint8(torch.from_numpy(result.images[0]))

    def _load(self) -> Any:
        from diffusers import AutoPipelineForText2Image

        try:
            pipeline: Any = AutoPipelineForText2Image.from_pretrained(self.model, dtype=self.dtype)
        except (OSError, ValueError, RuntimeError) as error:
            expected = "a text-to-image model of diffusers, on disk or on the hub"
            value = f"{self.model} ({error})"
            raise InputError("--text_to_image_model", value, expected) from error
        if self.device.type != "cpu":
            # One part on the GPU at a time: the largest, FLUX's, takes 24 GB.
            pipeline.enable_model_cpu_offload(device=self.device)
        return pipeline


def picture_size(height: int, width: int) -> tuple[int, int]:
    """Returns a size of about the same shape, multiples of 32, the longer side 1024 or more."""
    scale = max(1.0, SHORTEST_LONG_SIDE / max(height, width))
    rows, columns = (
        max(math.ceil(side * scale / MULTIPLE), 1) * MULTIPLE for side in (height, width)
    )
    return rows, columns
