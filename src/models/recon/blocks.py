"""The modules of the decoder's trunk: patch embedding, Mamba-2 blocks and attention blocks.

Blocks are pre-norm. They compute in the type of their parameters, tokens keep theirs. Attribute
names follow the published checkpoints. No numbers are drawn on the meta device, where all but the
simplest arithmetic imports torch's compiler, which takes more than a second.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .scan.seam import NORM_EPS, Backend, causal_conv, gated_norm, selective_scan

STATE = 256
HEAD = 64
EXPAND = 2
TAPS = 4
DT_RANGE = (1e-3, 1e-1)
DT_FLOOR = 1e-4
A_RANGE = (1.0, 16.0)
Tokens = Float[Tensor, "batch token width"]


class PatchEmbed(nn.Module):
    """Embeds the 1 x patch x patch patches of a latent clip: a linear map, a LayerNorm."""

    def __init__(self, channels: int, width: int, patch: int, zero: bool = False) -> None:
        super().__init__()
        kernel = (1, patch, patch)
        # Only holds the published names and shapes: patches don't overlap, so `forward` multiplies.
        self.proj = nn.Conv3d(channels, width, kernel, stride=kernel)
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.patch = patch
        # A zero map and a LayerNorm of bias 0 add nothing: training starts without this input.
        std = 0.0 if zero else math.sqrt(2 / (patch * patch * width))
        if not self.proj.weight.is_meta:
            nn.init.normal_(self.proj.weight, std=std)
        assert self.proj.bias is not None
        nn.init.zeros_(self.proj.bias)

    def forward(
        self, clip: Float[Tensor, "clip latent_frame channel h w"]
    ) -> Float[Tensor, "clip token width"]:
        """Returns the tokens in the order (latent frame, row, column) of patches."""
        height, width = clip.shape[-2:]
        assert height % self.patch == 0 and width % self.patch == 0, f"{height}x{width} latents"
        p = self.patch
        patches = rearrange(clip, "n t c (i p) (j q) -> n (t i j) (c p q)", p=p, q=p)
        weight = self.proj.weight.flatten(1)
        return self.norm(F.linear(patches.to(weight.dtype), weight, self.proj.bias))


class DirectionalScan(nn.Module):
    """Convolution, scan and gated norm of one direction of a bidirectional block."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        heads = inner // HEAD
        channels = inner + 2 * STATE
        # Step sizes start log-uniform; the bias is their inverse softplus.
        dt_bias = torch.empty(heads).uniform_(math.log(DT_RANGE[0]), math.log(DT_RANGE[1]))
        A_log = torch.empty(heads).uniform_(A_RANGE[0], A_RANGE[1])
        if not dt_bias.is_meta:
            dt = dt_bias.exp().clamp(min=DT_FLOOR)
            dt_bias, A_log = dt + torch.log(-torch.expm1(-dt)), A_log.log()
        self.dt_bias, self.A_log = nn.Parameter(dt_bias), nn.Parameter(A_log)
        self.D = nn.Parameter(torch.ones(heads))
        # Only holds the parameters under their published names, for `causal_conv`.
        self.conv1d = nn.Conv1d(channels, channels, TAPS, groups=channels)
        self.norm = nn.RMSNorm(inner, eps=NORM_EPS)

    def forward(
        self,
        projected: Float[Tensor, "batch token channel"],
        total: Float[Tensor, "batch token inner"] | None,
        reverse: bool,
        backend: Backend,
    ) -> Float[Tensor, "batch token inner"]:
        """Returns `total` plus this direction's output; channels are `gate | x | B | C | dt`."""
        inner, heads = self.norm.weight.shape[0], len(self.D)
        gate, mixed, dt = projected.split([inner, inner + 2 * STATE, heads], dim=-1)
        assert self.conv1d.bias is not None
        mixed = causal_conv(
            mixed, self.conv1d.weight, self.conv1d.bias, reverse=reverse, backend=backend
        )
        x, B, C = mixed.split([inner, STATE, STATE], dim=-1)
        # Always float32: decays multiply over the whole sequence.
        dt = F.softplus(dt.float() + self.dt_bias.float())
        A = -self.A_log.float().exp()
        x = x.unflatten(-1, (heads, HEAD))
        y = selective_scan(x, dt, A, B, C, self.D.float(), reverse=reverse, backend=backend)
        return gated_norm(y.flatten(-2), gate, self.norm.weight, total=total, backend=backend)


class BidirectionalMamba(nn.Module):
    """Mamba-2 in both directions over one projection; returns the sum of the directions."""

    def __init__(self, width: int, backend: Backend) -> None:
        super().__init__()
        inner = EXPAND * width
        assert inner % HEAD == 0, f"a width whose double is a multiple of {HEAD}, got {width}"
        self.in_proj = nn.Linear(width, 2 * inner + 2 * STATE + inner // HEAD, bias=False)
        self.mamba_scans = nn.ModuleList(DirectionalScan(inner) for _ in range(2))
        self.out_proj = nn.Linear(inner, width, bias=False)
        self.backend: Backend = backend

    def forward(self, tokens: Tokens) -> Tokens:
        """Mixes all tokens."""
        projected = self.in_proj(tokens)
        total = None
        for reverse, scan in zip((False, True), self.mamba_scans, strict=True):
            total = scan(projected, total, reverse, backend=self.backend)
        assert total is not None
        return self.out_proj(total)


class MambaBlock(nn.Module):
    """`x + M(RMSNorm(x))`."""

    def __init__(self, width: int, backend: Backend) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width, eps=NORM_EPS)
        self.mamba = BidirectionalMamba(width, backend)

    def forward(self, tokens: Tokens) -> Tokens:
        """The tokens after the block."""
        weight = self.norm.weight
        normed = F.rms_norm(tokens, weight.shape, weight.to(tokens.dtype), NORM_EPS)
        return tokens + self.mamba(normed.to(weight.dtype))


class Attention(nn.Module):
    """Full attention over all tokens of all trajectories, without position encoding."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        assert width % heads == 0, f"width {width} does not divide into {heads} heads"
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        # Returns what `mix` does; set where several processes compute it together.
        self.together: Callable[[Tokens], Tokens] | None = None

    def forward(self, tokens: Tokens) -> Tokens:
        """Mixes all tokens."""
        return self.proj(self.mix(tokens) if self.together is None else self.together(tokens))

    def mix(self, tokens: Tokens, heads: slice | None = None) -> Float[Tensor, "batch token part"]:
        """Returns the values of all heads, or of some, as each token sees them, side by side."""
        if heads is None:
            projected = self.qkv(tokens).unflatten(-1, (3, self.heads, -1))
        else:
            shape = (3, self.heads, -1)
            weight, bias = (part.unflatten(0, shape)[:, heads] for part in self.qkv.parameters())
            own = F.linear(tokens, weight.flatten(0, 2), bias.flatten())
            projected = own.unflatten(-1, weight.shape[:3])
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        with sdpa_kernel(_preferred_kernels(tokens.device), set_priority=True):
            mixed = F.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).flatten(2)


def _preferred_kernels(device: torch.device) -> list[SDPBackend]:
    """Returns attention kernels, the fastest first; torch skips those that don't fit the inputs."""
    kernels = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    # From Hopper on, cuDNN is faster than flash by a third at long sequences.
    hopper = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)
    return [SDPBackend.CUDNN_ATTENTION, *kernels] if hopper else kernels


class Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tokens) -> Tokens:
        """Maps each token by itself."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class AttentionBlock(nn.Module):
    """`x += Attention(LN(x))`, then `x += MLP(LN(x))`."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, tokens: Tokens) -> Tokens:
        """The tokens after the block."""
        dtype = self.norm1.weight.dtype
        tokens = tokens + self.attn(layer_norm(self.norm1, tokens).to(dtype))
        return tokens + self.mlp(layer_norm(self.norm2, tokens).to(dtype))


def layer_norm(
    norm: nn.LayerNorm, tokens: Float[Tensor, "*batch width"]
) -> Float[Tensor, "*batch width"]:
    """Applies the norm in the type of the tokens."""
    weight, bias = norm.weight.to(tokens.dtype), norm.bias.to(tokens.dtype)
    return F.layer_norm(tokens, norm.normalized_shape, weight, bias, norm.eps)


def initialise(module: nn.Module) -> None:
    """Starts all linear maps truncated-normal with deviation 0.02, and bias 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            if not part.weight.is_meta:
                nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
