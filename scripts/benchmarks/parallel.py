"""A sampling step, clips and the decoder of stage 2, on one GPU and on two.

    python scripts/benchmark.py parallel

starts two processes, and does nothing where there are fewer than two GPUs. The full-size network
with random weights; on a CPU a tiny one through gloo, whose ratios say nothing. Medians of three
calls, after a warm-up of each kind. No other program may use the GPUs: the first row says
what is in use before anything is loaded.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from src.models.recon.decoder import DecoderConfig, LatentRecon
from src.models.recon.parallel import DecoderTeam
from src.models.recon.scene_decoder import cast_trunk
from src.tokenizer.cosmos import latent_frames

from .inputs import TRAJECTORIES, Size
from .row import GIB, Row, seconds

PROCESSES, REPEATS, LONGEST_RUN = 2, 3, 400
CLIP_BUDGET, CLIPS_BUDGET = 1.8, 0.95
# Unpruned, so that both results have the same Gaussians in the same order.
FULL_SCENE = Size(decoder=DecoderConfig())
TINY_DECODER = DecoderConfig(depth=3, width=64, heads=2, attention_every=3)
TINY_SCENE = Size(height=32, width=48, frames=9, decoder=TINY_DECODER)
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (
    "import sys; sys.path[:0] = ['.', 'scripts']; import benchmarks.parallel as b; b.measure()"
)


def run(device: torch.device) -> Iterator[Row]:
    """Yields seconds, ratios to one process, and differences of the outputs."""
    if device.type == "cuda" and torch.cuda.device_count() < PROCESSES:
        return
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(PROCESSES)]
    done = subprocess.run(
        [sys.executable, *launcher, "--no-python", sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, "PARALLEL_DEVICE": device.type},
        capture_output=True,
        text=True,
        timeout=LONGEST_RUN,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    yield from (Row(**json.loads(line)) for line in done.stdout.splitlines() if line[:1] == "{")


def measure() -> None:
    """Measure in each of the processes; the first one prints a JSON object for each row."""
    on_gpu = os.environ["PARALLEL_DEVICE"] == "cuda"
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    free, total = torch.cuda.mem_get_info() if on_gpu else (0, 0)
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    used = [0.0] * PROCESSES
    dist.all_gather_object(used, (total - free) / GIB)
    group = dist.group.WORLD
    assert group is not None, "no process group"
    rows = [
        Row("memory of a GPU in use before", max(used), "GiB"),
        *_sampling_rows(device, group),
        *_decoder_rows(FULL_SCENE if on_gpu else TINY_SCENE, device, group),
    ]
    if dist.get_rank() == 0:
        for row in rows:
            print(json.dumps(vars(row)), flush=True)
    dist.destroy_process_group()


@torch.inference_mode()
def _sampling_rows(device: torch.device, group: dist.ProcessGroup) -> list[Row]:
    """Returns rows of a sampling step of one clip, and of a clip on each GPU."""
    from cosmos_predict1.diffusion.conditioning.latents import Conditions
    from cosmos_predict1.diffusion.model.denoiser import guided
    from cosmos_predict1.diffusion.model.parallel import BranchShare, share_tokens

    from .generator import FULL, FULL_LATENT, random_network
    from .sdg import SMALL

    on_gpu = device.type == "cuda"
    config, latent = (FULL, FULL_LATENT) if on_gpu else (SMALL, (2, 8, 12))
    torch.manual_seed(0)
    network = random_network(config, device, torch.bfloat16 if on_gpu else torch.float32)
    x, level = torch.randn(1, 16, *latent, device=device), torch.zeros(1, device=device)
    warps = torch.randn(1, config.warp_channels, *latent, device=device)
    text = torch.randn(1, 512, config.text_embed_dim, device=device)
    conditions = Conditions(text, torch.zeros_like(x[:, :1]), warps)

    def step(shared: bool) -> Callable[[], Tensor]:
        named = BranchShare(network, group) if shared else network
        predict = guided(named, conditions, torch.zeros_like(text), 1.0)
        # A sample of its own, as in a run, whose branches are computed once each.
        return lambda: predict(x.clone(), level)

    together, wanted = _timed(step(shared=False), warm_up=1)
    # One process alone, while the other waits; it has done the like before.
    alone, _ = _timed(step(shared=False), only=0)
    branches, of_branches = _timed(step(shared=True), warm_up=1)
    network.token_share = share_tokens(network.transformer_blocks, group)
    context, of_context = _timed(step(shared=False), warm_up=1)
    network.use_float8()
    in_8_bits, _ = _timed(step(shared=False), warm_up=1)
    return [
        Row("a step, one GPU", alone),
        Row("a step, guidance branches on two GPUs", branches),
        Row("ratio", alone / branches, "", budget=CLIP_BUDGET),
        Row("difference, relative by norm", _distance(of_branches, wanted), ""),
        Row("a step, tokens on two GPUs", context),
        Row("ratio", alone / context, "", budget=CLIP_BUDGET),
        Row("difference, relative by norm", _distance(of_context, wanted), ""),
        Row("a step, --precision fp8, tokens on two GPUs", in_8_bits),
        Row("a step, a clip on each of two GPUs", together),
        Row("efficiency", alone / together, "", budget=CLIPS_BUDGET),
    ]


@torch.inference_mode()
def _decoder_rows(scene: Size, device: torch.device, group: dist.ProcessGroup) -> list[Row]:
    """Returns rows of the decoder, alone and with its attention on two GPUs; first process only."""
    torch.manual_seed(1)
    model = LatentRecon(scene.decoder).to(device).eval()
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    cast_trunk(model, dtype)
    grid = (scene.height // 8, scene.width // 8)
    clips = (1, len(TRAJECTORIES), latent_frames(scene.frames))
    latents = torch.randn(*clips, 16, *grid, device=device, dtype=dtype)
    maps = torch.randn(*clips, 32, *grid, device=device, dtype=dtype)
    rays = torch.randn(1, clips[1], scene.frames, 3, *grid, device=device)
    given = (latents, maps, torch.zeros_like(rays), torch.nn.functional.normalize(rays, dim=3))
    team = DecoderTeam(group, group)
    if not team.leads:
        team.follow(lambda: model)
        return []

    def decode() -> Tensor:
        return model(*given).gaussians.packed()

    taken, wanted = seconds(decode, REPEATS), decode()
    team.share(model)
    shared, found = seconds(decode, REPEATS), decode()
    team.end()
    return [
        Row("decoder, one GPU", taken),
        Row("decoder, attention on two GPUs", shared),
        Row("ratio", taken / shared, ""),
        Row("difference, relative by norm", _distance(found, wanted), ""),
    ]


def _timed(
    call: Callable[[], Tensor], only: int | None = None, warm_up: int = 0
) -> tuple[float, Tensor]:
    """Returns the median seconds of some calls, and the output of one.

    The seconds of a call are those of the slowest process. With `only`, a single process calls
    while the others wait, and the others' output is the number 0.
    """
    output, times = torch.zeros(()), []
    for _ in range(warm_up + REPEATS):
        _meet()
        start = time.perf_counter()
        if only is None or only == dist.get_rank():
            output = call()
            _finish()
        times.append(time.perf_counter() - start)
    found: list[list[float]] = [[] for _ in range(PROCESSES)]
    dist.all_gather_object(found, times)
    slowest = [max(call) for call in zip(*found, strict=True)]
    return sorted(slowest[warm_up:])[REPEATS // 2], output


def _meet() -> None:
    """Wait until all processes have finished their work."""
    _finish()
    dist.barrier()


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _distance(found: Tensor, wanted: Tensor) -> float:
    return ((found - wanted).norm() / wanted.norm()).item()
