"""Numbers of 8 bits with a scale for each row, and linear layers that store and multiply them."""

from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor, nn

from src.runtime import InputError, get_logger

LOGGER = get_logger(__name__)
FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max
# The least absolute maximum of a row, so that rows of zeros divide by no zero.
LEAST = 1e-12
# The layers of a block that hold nearly all of its weights and see every token. Modulations and
# the text's keys and values see few rows, so they cost nothing and keep their precision.
LAYERS = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "attn2.to_q")
LAYERS += ("attn2.to_out.0", "ff.net.0.proj", "ff.net.2")


@dataclass(frozen=True)
class Float8Rows:
    """Float8Rows in float8_e4m3fn; a row times its scale, float32, is what it stands for."""

    values: Float[Tensor, "*row width"]
    scale: Float[Tensor, "*row 1"]

    def __getitem__(self, index: slice | tuple[slice, ...]) -> "Float8Rows":
        return Float8Rows(self.values[index], self.scale[index])

    def wide(self, dtype: torch.dtype) -> Float[Tensor, "*row width"]:
        """Returns the numbers that the rows stand for."""
        return (self.values.float() * self.scale).to(dtype)


def to_rows(x: Float[Tensor, "*row width"]) -> Float8Rows:
    """Returns `x` rounded to 8 bits, each row scaled so that its largest number is 448."""
    wide = x.float()
    scale = wide.abs().amax(-1, keepdim=True).clamp_min(LEAST) / LARGEST
    return Float8Rows((wide / scale).to(FLOAT8), scale)


def multiplies_float8(device: torch.device) -> bool:
    """Whether a device multiplies float8 numbers: a GPU of compute capability 8.9 or later."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 9)


def require_float8(device: torch.device) -> None:
    """Raise `InputError` if a device does not multiply float8 numbers."""
    if not multiplies_float8(device):
        expected = "bf16; fp8 needs a GPU of compute capability 8.9 or later"
        raise InputError("--precision", f"fp8 on {device}", expected)


class Float8Linear(nn.Module):
    """A linear layer without bias, its weights in float8_e4m3fn with a scale for each output.

    It is for inference. On a device that multiplies float8 numbers, the input is rounded to them
    too, row by row; elsewhere the weights are widened to the input's type in each call.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        assert layer.bias is None, "a linear layer with a bias"
        rows = to_rows(layer.weight.detach())
        # As integers, because `to(dtype)` of a network casts all other numbers.
        self.weight = nn.Parameter(rows.values.view(torch.uint8), requires_grad=False)
        self.scale = nn.Parameter(rows.scale.view(torch.int32), requires_grad=False)
        self.dtype = layer.weight.dtype

    @property
    def rows(self) -> Float8Rows:
        """The weights, a row for each output."""
        return Float8Rows(self.weight.view(FLOAT8), self.scale.view(torch.float32))

    @property
    def takes_rows(self) -> bool:
        """Whether products of 8-bit rows are computed, on this device and at these sizes."""
        sizes_fit = all(size % 16 == 0 for size in self.weight.shape)
        return sizes_fit and multiplies_float8(self.weight.device)

    def forward(self, x: Float[Tensor, "*row input"] | Float8Rows) -> Float[Tensor, "*row output"]:
        """Returns `x` times the transposed weights, in the layer's type."""
        if not self.takes_rows:
            wide = x.wide(self.dtype) if isinstance(x, Float8Rows) else x
            return nn.functional.linear(wide, self.rows.wide(wide.dtype))
        rows = x if isinstance(x, Float8Rows) else to_rows(x)
        flat = Float8Rows(rows.values.flatten(0, -2), rows.scale.flatten(0, -2))
        scaled = scales_rows(self.weight.device)
        product = scaled_product(flat, self.rows, self.dtype, scaled=scaled)
        return product.unflatten(0, rows.values.shape[:-1])


def scaled_product(
    rows: Float8Rows, weights: Float8Rows, dtype: torch.dtype, scaled: bool = True
) -> Float[Tensor, "row output"]:
    """Returns rows times transposed weights by the GPU's float8 units, summed in float32.

    Where the units do not scale rows (`scaled` false), the sums are scaled afterwards.
    """
    # Scales of rows need bfloat16 sums.
    kind = torch.bfloat16 if scaled else dtype
    scales = (rows.scale, weights.scale.mT) if scaled else (rows.scale.new_ones(()),) * 2
    product = torch._scaled_mm(
        rows.values, weights.values.mT, *scales, out_dtype=kind, use_fast_accum=True
    ).to(dtype)
    return product if scaled else product * rows.scale.to(dtype) * weights.scale.mT.to(dtype)


@cache
def scales_rows(device: torch.device) -> bool:
    """Whether the GPU's float8 units scale rows, which those of some kinds and versions do not."""
    rows = to_rows(torch.ones(16, 16, device=device))
    try:
        scaled_product(rows, rows, torch.bfloat16)
    except (RuntimeError, ValueError) as error:
        LOGGER.info("float8 products are scaled in a step of their own: %s", error)
        return False
    return True


def store_in_float8(block: nn.Module) -> None:
    """Replaces the large linear layers of a transformer block by `Float8Linear`, in place.

    `block` may be on any device, and is on the CPU while blocks are streamed; 0.51 GiB of bfloat16
    become 0.26 GiB at full size. Layers that are in float8 already stay. Each layer then has the
    parameters `weight` (the bytes of float8_e4m3fn numbers) and `scale` (the bits of float32,
    `[output, 1]`), and computes in float8 where the GPU can, else in the type that it had.
    """
    for name in LAYERS:
        parent, _, own = name.rpartition(".")
        layer = block.get_submodule(name)
        if isinstance(layer, Float8Linear):
            continue
        assert type(layer) is nn.Linear, f"{name} is a {type(layer).__name__}"
        setattr(block.get_submodule(parent), own, Float8Linear(layer))
