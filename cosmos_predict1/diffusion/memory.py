"""The plans that fit a run into the memory of a GPU, and the choice among them.

A plan is a row of `PLANS`: what leaves the GPU while it does not work, and what is computed piece
by piece. `needed_gib` estimates the memory of a run from its sizes; its factors come from counted
allocations and from the peaks of docs/performance.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from src.runtime import InputError

from .model.architecture import TransformerConfig

GIB = 2**30
# GiB that torch's context and libraries take beside its allocator.
CONTEXT_GIB = 0.6
# GiB that the allocator reserves beyond the peak.
SPARE_GIB = 0.5
TOKENIZER_GIB, T5_GIB, DEPTH_GIB = 0.2, 18.1, 1.4
# The bytes of a weight and of an activation on a GPU.
BFLOAT16 = 2
# Peaks of a forward pass in tensors of all tokens, the position embedding among them: of whole
# tensors, and in chunks, to which the chunk's own part comes.
WHOLE_FORWARD, CHUNKED_FORWARD, CHUNK = 15.2, 8.5, 10.0
# Peaks in float32 videos of a clip: encoding its warps (as diffusers does, and by pieces), decoding
# it (left out: less), and the points of a moving scene.
WHOLE_TOKENIZER, TOKENIZER_BY_PIECES, POINTS = 9.8, 4.6, 3.5


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """What is done to save memory of the GPU; the results are the same within rounding.

    Attributes:
        stream_blocks: the transformer's blocks stream through the GPU (exactly the same results).
        chunk_tokens: attention and MLP work on that many tokens at a time; 0: on all.
        tokenizer_frames: the tokenizer works on that many latent frames at a time; 0: on all.
        stream_text: T5 streams through the GPU layer by layer, from its file.
        host_scene: the points of a moving scene are made for a few frames at a time.
        release_depth: the depth network leaves the GPU while it does not work.
    """

    stream_blocks: bool = False
    chunk_tokens: int = 0
    tokenizer_frames: int = 0
    stream_text: bool = False
    host_scene: bool = False
    release_depth: bool = False

    def describe(self) -> str:
        """Returns the measures in words."""
        measures = {
            "the transformer streams through the GPU": self.stream_blocks,
            f"{self.chunk_tokens} tokens at a time": self.chunk_tokens,
            f"the tokenizer takes {self.tokenizer_frames} latent frames at a time": (
                self.tokenizer_frames
            ),
            "T5 streams from its file": self.stream_text,
            "moving scenes stay on the CPU": self.host_scene,
            "the depth network leaves the GPU": self.release_depth,
        }
        return ", ".join(words for words, done in measures.items() if done) or (
            "everything stays on the GPU"
        )


PLAIN = MemoryPlan()
# By the values of --memory, GB of a GPU; the fastest first.
PLANS: Mapping[str, MemoryPlan] = {
    "max": PLAIN,
    "24": MemoryPlan(tokenizer_frames=2, stream_text=True, host_scene=True),
    "16": MemoryPlan(stream_blocks=True, tokenizer_frames=2, stream_text=True),
    "12": MemoryPlan(stream_blocks=True, tokenizer_frames=2, stream_text=True, host_scene=True),
    "8": MemoryPlan(
        stream_blocks=True,
        chunk_tokens=8192,
        tokenizer_frames=1,
        stream_text=True,
        host_scene=True,
        release_depth=True,
    ),
}


@dataclass(frozen=True, kw_only=True)
class RunSize:
    """The sizes of a run that decide on its memory: of the network and of a piece of a clip."""

    network: TransformerConfig
    frames: int
    height: int
    width: int
    moving: bool
    # Whether T5 and a depth network are needed beside it.
    text: bool
    depth: bool

    @property
    def tokens(self) -> int:
        """Tokens of the transformer."""
        return ((self.frames - 1) // 8 + 1) * (self.height // 16) * (self.width // 16)

    @property
    def video_bytes(self) -> int:
        """Bytes of a piece of a clip in float32."""
        return self.frames * self.height * self.width * 3 * 4


def block_parameters(network: TransformerConfig) -> int:
    """Returns the number of parameters of a transformer block, norms of heads left out."""
    width, text = network.width, network.text_embed_dim
    attention = (4 + 2) * width**2 + 2 * text * width
    mlp = 2 * round(network.mlp_ratio * width) * width
    return attention + mlp + 3 * 4 * network.adaln_lora_dim * width


def needed_gib(plan: MemoryPlan, size: RunSize) -> float:
    """Returns an estimate of the GiB that torch's allocator takes at most in a run."""
    network = size.network
    block = block_parameters(network) * BFLOAT16
    blocks = (2 if plan.stream_blocks else network.num_layers) * block
    # Embedding of the noise level, tables of positions.
    others = 4 * network.width**2 * BFLOAT16 + sum(network.max_size) * network.width * 4
    resident = (blocks + others) / GIB + TOKENIZER_GIB
    if size.text and not plan.stream_text:
        resident += T5_GIB
    if size.depth and not plan.release_depth:
        resident += DEPTH_GIB
    video = size.video_bytes / GIB
    if size.moving and not plan.host_scene:
        resident += POINTS * video
    tensor = size.tokens * network.width * BFLOAT16 / GIB
    share = min(plan.chunk_tokens / size.tokens, 1)
    forward = CHUNKED_FORWARD + CHUNK * share if plan.chunk_tokens else WHOLE_FORWARD
    tokenizer = TOKENIZER_BY_PIECES if plan.tokenizer_frames else WHOLE_TOKENIZER
    return resident + max(forward * tensor, tokenizer * video)


def choose_plan(memory: str | None, free_gib: float, size: RunSize) -> str:
    """Returns the key of the plan: `memory` itself, else of the first that fits into `free_gib`.

    `free_gib` does not count the context, which is on the GPU already. "max" is never refused: the
    estimate may be too careful.

    Raises:
        InputError: a budget above the free memory, or below the needs of its plan; a GPU that is
            too small for every plan.
    """
    needs = {name: needed_gib(plan, size) + SPARE_GIB for name, plan in PLANS.items()}
    if memory is None:
        fitting = [name for name, gib in needs.items() if gib <= free_gib]
        if fitting:
            return fitting[0]
        name, least = min(needs.items(), key=lambda item: item[1])
        expected = f"about {least:.1f} GiB, the least there is (--memory {name})"
        raise InputError("memory of the GPU", f"{free_gib:.1f} GiB free", expected)
    if memory == "max":
        return memory
    room = float(memory) - CONTEXT_GIB
    if needs[memory] > room:
        smaller = "a larger one, or smaller clips (--num_video_frames, --height, --width)"
        expected = f"{smaller}: these need about {needs[memory] + CONTEXT_GIB:.1f}"
        raise InputError("--memory", memory, expected)
    if needs[memory] > free_gib:
        expected = f"{needs[memory]:.1f} GiB of the GPU, of which {free_gib:.1f} are free"
        raise InputError("--memory", memory, expected)
    return memory
