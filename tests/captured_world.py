"""A filmed world that tests write as a capture."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from nano.worlds.film import PooledClips
from src.evaluation.capture.scale import InputView
from src.gaussians import Gaussians
from src.geometry.cameras import invert_rigid
from src.io.image import write_png
from src.rendering.unprojected import unproject_picture

SIZE = (96, 160)


@dataclass(frozen=True)
class CapturedWorld:
    """A film of a world with exact depth; the first frame, at the origin, is the input."""

    pool: PooledClips

    @property
    def depth(self) -> Float[Tensor, "h w"]:
        """Depth of the input in the world's unit."""
        return self.pool.depth[0, 0, 0].float()

    @property
    def median(self) -> float:
        """World units in a unit of the scene."""
        return self.depth.median().item()

    def view(self) -> InputView:
        """The input with its exact depth in the scene's unit."""
        return InputView(
            image=self.pool.color[0, 0, :, 0].float() / 255,
            depth=self.depth / self.median,
            known=torch.ones(SIZE, dtype=torch.bool),
            intrinsics=self.pool.intrinsics[0],
            divisor=self.median,
        )

    def gaussians(self) -> Gaussians:
        """The exact scene of the input."""
        view = self.view()
        everywhere = torch.ones_like(view.known)
        return unproject_picture(
            view.image, view.depth, everywhere, view.intrinsics, c2w=torch.eye(4)
        )

    def write(self, folder: Path, scale: float = 1.0) -> Path:
        """Writes a capture as the desk's, in a unit of 1 / `scale` of the world's."""
        w2c = invert_rigid(self.pool.c2w[0, 0].double())
        w2c[:, :3, 3] *= scale
        fx, fy, cx, cy = self.pool.intrinsics[0].tolist()
        lens = {"fx": fx, "fy": fy, "cx": cx, "cy": cy, "width": SIZE[1], "height": SIZE[0]}
        frames = []
        for number, pose in enumerate(w2c):
            name = f"images/{number:04d}.png"
            write_png(folder / name, self.pool.color[0, 0, :, number].movedim(0, -1))
            frames.append({"image": name, "w2c": pose.tolist(), **lens})
        (folder / "cameras.json").write_text(json.dumps({"frames": frames}))
        return folder
