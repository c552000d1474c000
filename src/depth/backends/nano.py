"""A small network from one picture to depth, valid pixels and focal length.

Its input has a fixed area and sides that are multiples of 16. It predicts the logarithms of depth
and of the focal length over the picture's diagonal.
"""

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ...io.atomic import atomic_path
from ...io.damage import check_tensors, read_safetensors
from ...io.json_object import is_count, read_json_object, write_json
from ...runtime import InputError

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"
STRIDE = 16
# The largest width, side or number of blocks of a small network.
MOST = 4096
# exp(-0.3) of the diagonal is a field of view of about 62 degrees across a 16:9 picture.
USUAL_LOG_FOCAL = -0.3


@dataclass(frozen=True, kw_only=True)
class NanoDepthConfig:
    """Widths and numbers of blocks at strides 2, 4, 8, 16, and the size of the input."""

    widths: tuple[int, ...] = (24, 48, 96, 128)
    blocks: tuple[int, ...] = (1, 2, 2, 3)
    heads: int = 4
    height: int = 176
    width: int = 320

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            for number in value if isinstance(value, tuple) else [value]:
                if not is_count(number, MOST) or number == 0:
                    found = f"{name} = {value}"[:200]
                    raise InputError("nano depth network", found, f"integers from 1 to {MOST}")
        if len(self.widths) != 4 or len(self.blocks) != 4:
            value = f"widths {self.widths}, blocks {self.blocks}"
            raise InputError("nano depth network", value, "four widths and block counts")
        if self.widths[-1] % self.heads or min(self.height, self.width) < STRIDE:
            value = f"{self.heads} heads, size {self.height}x{self.width}"
            expected = f"heads that divide {self.widths[-1]}, sides of {STRIDE} and more"
            raise InputError("nano depth network", value, expected)


@dataclass(frozen=True)
class NanoPrediction:
    """Predictions of the network, at the size of the pictures."""

    log_depth: Float[Tensor, "batch h w"]
    mask_logit: Float[Tensor, "batch h w"]
    log_focal: Float[Tensor, " batch"]  # of the focal length over the picture's diagonal


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel."""

    def forward(self, input: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
        """The normalised picture."""
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class Block(nn.Module):
    """A depthwise 7x7 convolution and a pointwise network (Liu et al. 2022, ConvNeXt)."""

    def __init__(self, width: int, expansion: int = 3) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = ChannelNorm(width)
        self.widen = nn.Conv2d(width, expansion * width, 1)
        self.narrow = nn.Conv2d(expansion * width, width, 1)

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
        """The picture plus the block's residual."""
        return x + self.narrow(F.gelu(self.widen(self.norm(self.spatial(x)))))


class PatchAttention(nn.Module):
    """Attention between all pixels: any of them may show the scale of the scene."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = ChannelNorm(width)
        self.project = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
        """The picture plus the attention's residual."""
        projected = self.project(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1))
        query, key, value = projected.mT.unbind(dim=1)
        mixed = F.scaled_dot_product_attention(query, key, value).mT
        return x + self.out(mixed.flatten(1, 2).unflatten(2, x.shape[-2:]))


class NanoDepth(nn.Module):
    """A U-Net: down to a sixteenth of the size, attention there, up to half the size, heads."""

    def __init__(self, config: NanoDepthConfig | None = None) -> None:
        """A network with random weights, which predicts depth 1 and a usual lens."""
        super().__init__()
        self.config = config or NanoDepthConfig()
        widths, last = self.config.widths, self.config.widths[-1]
        # RGB and the position: floors are near at the bottom of a picture.
        down: list[nn.Module] = [nn.Conv2d(5, widths[0], 4, stride=2, padding=1)]
        for width, following in zip(widths[:-1], widths[1:], strict=True):
            down.append(nn.Sequential(ChannelNorm(width), nn.Conv2d(width, following, 2, stride=2)))
        self.down = nn.ModuleList(down)
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(count)))
            for width, count in zip(widths, self.config.blocks, strict=True)
        )
        self.attention = PatchAttention(last, self.config.heads)
        self.up = nn.ModuleList(
            nn.Conv2d(width, previous, 1)
            for previous, width in zip(widths[:-1], widths[1:], strict=True)
        )
        self.merge = nn.ModuleList(Block(width, expansion=2) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], 2, 3, padding=1)
        lens = nn.Linear(last, 1)
        self.focal = nn.Sequential(nn.Linear(last, last), nn.GELU(), lens)
        for parameter in (*self.head.parameters(), *lens.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, image: Float[Tensor, "batch 3 h w"], zoom: float = 1.0) -> NanoPrediction:
        """Depth, valid pixels and focal length of RGB pictures in [0, 1], of any size.

        `zoom` multiplies the sides of the network's input. Other inputs than it has learnt (1) show
        other edges, but not the scale of depth and the focal length.
        """
        size = image.shape[-2:]
        # A fixed area: learnt sizes do not depend on the resolution. The network was trained with
        # antialiased bilinear pictures, not with those of `geometry/fit.py`.
        small = F.interpolate(
            image, self.working_size(*size, zoom=zoom), mode="bilinear", antialias=True
        )
        x = torch.cat([2 * small - 1, _positions(small)], dim=1)
        skips = []
        for down, stage in zip(self.down, self.stages, strict=True):
            x = stage(down(x))
            skips.append(x)
        x = self.attention(x)
        # One lens a picture, after attention over all of it.
        log_focal = self.focal(x.mean(dim=(2, 3)))[:, 0] + USUAL_LOG_FOCAL
        for up, merge, skip in zip(self.up[::-1], self.merge[::-1], skips[-2::-1], strict=True):
            x = merge(F.interpolate(up(x), skip.shape[-2:], mode="bilinear") + skip)
        maps = F.interpolate(self.head(x), size, mode="bilinear", align_corners=False)
        return NanoPrediction(maps[:, 0], maps[:, 1], log_focal)

    def working_size(self, height: int, width: int, zoom: float = 1.0) -> tuple[int, int]:
        """The network's input size for a picture: its shape, `zoom` times the configured sides."""
        scale = zoom * math.sqrt(self.config.height * self.config.width / (height * width))
        rows, columns = (max(round(side * scale / STRIDE), 1) * STRIDE for side in (height, width))
        return rows, columns


def load_nano_depth(folder: Path | str, device: torch.device | str = "cpu") -> NanoDepth:
    """The network in `folder` (config.json, model.safetensors), float32, in evaluation mode.

    Raises `InputError` for a missing or damaged file, an unknown configuration, tensors of another
    network.
    """
    folder = Path(folder)
    config = _read_config(folder / CONFIG_FILE)
    # On the meta device: a small file must not describe a network that fills the memory.
    with torch.device("meta"):
        network = NanoDepth(config)
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise InputError(path, "no such file", "the weights of the nano depth network")
    state = read_safetensors(path)
    check_tensors(path, state, network.state_dict(), f"the network in {CONFIG_FILE}")
    # A copy: the file may be replaced while the network is in use.
    state = {name: tensor.to(torch.float32, copy=True) for name, tensor in state.items()}
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(False).eval().to(device)


def save_nano_depth(network: NanoDepth, folder: Path | str) -> None:
    """Write the network's configuration and weights into `folder`, each file atomically."""
    from safetensors.torch import save_file

    folder = Path(folder)
    state = network.state_dict()
    tensors = {name: part.detach().cpu().contiguous() for name, part in state.items()}
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        save_file(tensors, temporary)
    write_json(folder / CONFIG_FILE, asdict(network.config), indent=2)


def _read_config(path: Path) -> NanoDepthConfig:
    stored = read_json_object(path)
    known = {field.name for field in fields(NanoDepthConfig)}
    if not stored.keys() <= known:
        raise InputError(path, stored, f"an object with the keys {sorted(known)}")
    values: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in stored.items()
    }
    try:
        return NanoDepthConfig(**values)
    except InputError as error:
        raise InputError(path, error.value, error.expected) from error
    except TypeError as error:
        raise InputError(path, f"{stored} ({error})", "numbers and lists of numbers") from error


def _positions(image: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch 2 h w"]:
    """Rows and columns of the pixels in [-1, 1]."""
    batch, _, height, width = image.shape
    like = {"device": image.device, "dtype": image.dtype}
    rows, columns = (torch.linspace(-1, 1, size, **like) for size in (height, width))
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    return grid.expand(batch, 2, height, width)
