"""MoGe's networks (Wang et al. 2025), versions 1 and 2, and its result at the generator's size.

A published file holds `model_config`, the arguments of the network's class, and `model`, its
tensors. The original program uses version 1, with depth of about unit scale; version 2 is metric.

Images are RGB; `uint8` ones are height x width x 3, float ones 3 x height x width. As published,
they are resized with half-pixel centres and no antialiasing, so not by `geometry/fit.py`.
"""

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional

from ...checkpoints import search_checkpoint
from ...checkpoints.archive import read_objects
from ...geometry.cameras import matrix_to_intrinsics
from ...geometry.fit import WHOLE, Region, plan_fit
from ...io.cameras.lens import to_pixels
from ...io.damage import check_tensors
from ...runtime import InputError, get_logger, listed
from ..estimate import DepthEstimate, clamp_depth

LOGGER = get_logger(__name__)
# The depth of pixels without one, before the resize blends them into their neighbours.
UNKNOWN_DEPTH = 1000.0
FARTHEST_DEPTH = 1e4
REPOSITORY, FILE = "Ruicheng/moge-vitl", "model.pt"
FETCH = "python scripts/download_checkpoints.py --what moge"
# Without their requirements, which the networks don't need.
INSTALL = "pip install --no-deps dlr-moge==2.0.0 dlr-utils3d==1.3 scipy"


@dataclass(frozen=True)
class PreparedImage:
    """One image with its depth at the generator's size; its camera is the world origin."""

    image: Float[Tensor, "3 h w"]  # RGB in [-1, 1]
    estimate: DepthEstimate
    w2c: Float[Tensor, "4 4"]


def moge_estimate(
    depth: Float[Tensor, "h w"], mask: Bool[Tensor, "h w"], normalised_K: Float[Tensor, "3 3"]
) -> DepthEstimate:
    """MoGe's result as an estimate; `normalised_K` has row 0 over width, row 1 over height."""
    height, width = depth.shape
    lens = to_pixels(matrix_to_intrinsics(normalised_K), height, width)
    return DepthEstimate(depth, mask, lens)


def prepare_image(
    image: Float[Tensor, "3 h w"], estimate: DepthEstimate, height: int, width: int
) -> PreparedImage:
    """The image that depth was estimated on, and its depth, at `height` x `width`.

    `image` is RGB in [0, 1]. Depth is in [0, 1e4] and finite: unknown depth counts as 1000 and
    blends into its neighbours. Intrinsics scale axis by axis, so `fx != fy` if the aspect ratio
    changes. The mask has the pixels whose nearest source pixel has a depth.
    """
    if image.shape[1:] != estimate.depth.shape:
        expected = f"the depth's size {tuple(estimate.depth.shape)}"
        raise InputError("image of a depth map", f"size {tuple(image.shape[1:])}", expected)
    # Infinite depth would make the pixels that it blends into infinite or NaN.
    known = torch.where(estimate.mask, estimate.depth, UNKNOWN_DEPTH)
    depth = clamp_depth(_bilinear(known[None], height, width)[0], FARTHEST_DEPTH)
    mask = functional.interpolate(estimate.mask[None, None].float(), (height, width))[0, 0] > 0
    fit = plan_fit(image.shape[1], image.shape[2], (height, width), mode="stretch")
    return PreparedImage(
        image=2 * _bilinear(image, height, width) - 1,
        estimate=DepthEstimate(depth, mask, fit.intrinsics(estimate.intrinsics)),
        w2c=torch.eye(4, dtype=depth.dtype, device=depth.device),
    )


def resize_uint8(
    image: UInt8[Tensor, "h w channel"], height: int, width: int
) -> UInt8[Tensor, "{height} {width} channel"]:
    """The image bilinearly resized in fixed-point arithmetic, bit for bit as by OpenCV.

    Weights have 11 bits. Rows are blended with truncated products, so results lie up to 0.75 below
    the real-valued resize; a rounded resize differs in a tenth of the values.
    """
    low, high, low_weight, high_weight = _fixed_point_taps(image.shape[1], width, image.device)
    rows = image.int()
    rows = rows[:, low] * low_weight[:, None] + rows[:, high] * high_weight[:, None]
    low, high, low_weight, high_weight = _fixed_point_taps(image.shape[0], height, image.device)
    above = ((rows[low] >> 4) * low_weight[:, None, None]) >> 16
    below = ((rows[high] >> 4) * high_weight[:, None, None]) >> 16
    return ((above + below + 2) >> 2).to(torch.uint8)


def _fixed_point_taps(
    size: int, resized: int, device: torch.device
) -> tuple[Int[Tensor, " {resized}"], ...]:
    """Indices of the two pixels around each resized one, and their weights times 2048."""
    steps = torch.arange(resized, dtype=torch.float64, device=device)
    # As OpenCV: positions in double, fractions in single precision.
    position = ((steps + 0.5) * (size / resized) - 0.5).float()
    index = position.floor()
    fraction = position - index
    low, high = index.long().clamp(0, size - 1), (index.long() + 1).clamp(0, size - 1)
    return low, high, (2048 * (1 - fraction)).round().int(), (2048 * fraction).round().int()


def _bilinear(
    image: Float[Tensor, "channel h w"], height: int, width: int
) -> Float[Tensor, "channel {height} {width}"]:
    size = (height, width)
    return functional.interpolate(image[None], size, mode="bilinear", align_corners=False)[0]


class MoGeDepth:
    """MoGe on one device."""

    def __init__(self, checkpoint_dir: Path | str, device: torch.device | str = "cpu") -> None:
        """Load `moge/model.pt` of the checkpoint folder, or the published weights from the hub.

        Raises `InputError` if MoGe is not installed, for weights that are missing, damaged, or not
        MoGe's.
        """
        require_moge()
        path = search_checkpoint("moge", checkpoint_dir) or _fetched(checkpoint_dir)
        self._device = torch.device(device)
        self.network: Any = load_moge(path).to(self._device).eval()
        # Only version 2 has this head.
        self.scene_scale = not hasattr(self.network, "scale_head")
        version = type(self.network).__module__.rpartition(".")[2]
        self.name = "moge" if version == "v1" else "moge-2"

    @torch.inference_mode()
    def __call__(self, image: Float[Tensor, "3 h w"], region: Region = WHOLE) -> DepthEstimate:
        """Depth of the picture, infinite where the mask is false."""
        # Half precision is the published way on a GPU, and slower than single on a CPU.
        half = self._device.type == "cuda"
        with warnings.catch_warnings():
            # torch warns because the networks leave autocast by asking for float32.
            warnings.filterwarnings("ignore", message="In .* autocast", category=UserWarning)
            found = self.network.infer(image.to(self._device), use_fp16=half)
        depth = found["depth"].float()
        # Version 2 has no mask without a head for it.
        mask = found["mask"].bool() if "mask" in found else depth.isfinite()
        return moge_estimate(depth, mask, found["intrinsics"].float())


def require_moge() -> None:
    """Raises `InputError` with the command that installs MoGe, if it is missing."""
    if importlib.util.find_spec("moge") is None:
        expected = f"MoGe: `{INSTALL}` (README, section Depth), or another --depth"
        raise InputError("depth backend moge", "no package moge", expected)


def load_moge(path: Path) -> nn.Module:
    """The network of a published file, in float32 on the CPU; no code in the file is run.

    Raises `InputError` for an unreadable file, another file than MoGe's, tensors of another
    network.
    """
    expected = "a model.pt of MoGe: model_config and model"
    stored = read_objects(path, expected)
    parts = stored if isinstance(stored, Mapping) else {}
    config, state = parts.get("model_config"), parts.get("model")
    if not isinstance(config, Mapping) or not isinstance(state, Mapping):
        found = f"a {type(stored).__name__} of {listed([str(name) for name in parts]) or 'nothing'}"
        raise InputError(path, found, expected)
    # The encoder is a table of arguments in version 2, a name in version 1.
    version = "v2" if isinstance(config.get("encoder"), Mapping) else "v1"
    model_class = _model_class(version)
    try:
        network: nn.Module = model_class(**config)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        value = f"model_config {dict(config)} ({error})"
        raise InputError(path, value, f"that of MoGe {version}") from error
    wanted, tensors = network.state_dict(), dict(state)
    left = [name for name in tensors if name not in wanted]
    if left and version == "v2":
        # Heads that the configuration leaves out; MoGe ignores them too.
        LOGGER.info("%s: not used: %s", path, listed(left))
        tensors = {name: part for name, part in tensors.items() if name in wanted}
    check_tensors(path, tensors, wanted, f"MoGe {version}")
    network.load_state_dict(tensors)
    return network


def _model_class(version: str) -> Any:
    """The network's class in the installed package."""
    try:
        with _without_opencv():
            return importlib.import_module(f"moge.model.{version}").MoGeModel
    except ImportError as error:
        expected = f"a package moge that can be imported: `{INSTALL}`"
        raise InputError("depth backend moge", error, expected) from error


@contextmanager
def _without_opencv() -> Iterator[None]:
    """Replaces a missing OpenCV, which MoGe's networks don't use, with an empty module."""
    if "cv2" in sys.modules or importlib.util.find_spec("cv2") is not None:
        yield
        return
    sys.modules["cv2"] = ModuleType("cv2")
    try:
        yield
    finally:
        del sys.modules["cv2"]


def _fetched(checkpoint_dir: Path | str) -> Path:
    """The published weights, from the hub or its client's cache; the log says so."""
    from huggingface_hub import hf_hub_download

    words = "no moge/%s in %s: fetching %s from the hub (1.3 GB); `%s` keeps it there"
    LOGGER.info(words, FILE, checkpoint_dir, REPOSITORY, FETCH)
    try:
        return Path(hf_hub_download(REPOSITORY, FILE))
    # Offline, or a broken answer.
    except (OSError, ValueError, RuntimeError) as error:
        expected = f"weights in {checkpoint_dir}/moge/{FILE}: `{FETCH}`"
        raise InputError(f"{REPOSITORY} on the hub", error, expected) from error
