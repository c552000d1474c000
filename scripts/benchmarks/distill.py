"""Updates of the generator's distillation at full size, by configs/training/distill.yaml.

Adapters beside 7.2 billion random weights, one clip of random latents, recomputed activations; a
tiny network on a CPU. An update sums the gradients of `accumulation_steps` clips. For distribution
matching the student makes its clip in one to four calls, drawn at random: the clip that is measured
takes the same number in each run.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch

from cosmos_predict1.training.distillation.config import DistillTrainConfig
from cosmos_predict1.training.distillation.objective import DistillObjective, trained_role
from cosmos_predict1.training.distillation.roles import CRITIC, SharedNetwork
from cosmos_predict1.training.latents import LatentBatch
from cosmos_predict1.training.lora import add_adapters
from src.config.loading import command_line_layer, file_layer, load_train_config
from src.training.optim import build_optimizer

from .generator import FULL, FULL_LATENT, NANO, NANO_LATENT, random_network
from .row import Row, peak_memory, reset_peak, seconds

MEMORY_BUDGET = 80e9 / 2**30
SETTINGS = "configs/training/distill.yaml"


def run(device: torch.device) -> Iterator[Row]:
    """Yields seconds of a clip and of an update of each kind, and the peak memory."""
    for method in ("consistency", "distribution"):
        given = [file_layer(SETTINGS), command_line_layer([f"method={method}"])]
        config = load_train_config(DistillTrainConfig, given)
        yield from _updates(config, device)


def _updates(config: DistillTrainConfig, device: torch.device) -> Iterator[Row]:
    on_gpu = device.type == "cuda"
    sizes, latent, tokens = (FULL, FULL_LATENT, 512) if on_gpu else (NANO, NANO_LATENT, 1)
    sampling = config.student_sampling(sizes.sampling)
    torch.manual_seed(0)
    reset_peak(device)
    dtype = torch.bfloat16 if on_gpu else torch.float32
    network = random_network(replace(sizes, sampling=sampling), device, dtype)
    add_adapters(network, config.lora)
    if config.method == "distribution":
        add_adapters(network, config.lora, CRITIC)
    network.gradient_checkpointing = config.gradient_checkpointing
    text = torch.randn(1, tokens, sizes.text_embed_dim, device=device, dtype=dtype)
    texts = (text, torch.zeros_like(text))
    objective = DistillObjective(network, SharedNetwork(network), config, texts)
    optimizer = build_optimizer(network, config.optim)
    clip = LatentBatch(
        latents=torch.randn(1, 16, *latent, device=device),
        warps=torch.randn(1, sizes.warp_channels, *latent, device=device),
        keys=["random"],
    )
    clips, period = config.optim.accumulation_steps, config.distribution.period
    # The first batches of a cycle train the critic, those of its last update the student.
    numbers = [0] if config.method == "consistency" else [0, (period - 1) * clips]
    for number in numbers:
        batch = replace(clip, number=number)
        role = "student" if config.method == "consistency" else trained_role(config, number)

        def gradients(batch: LatentBatch = batch) -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu):
                loss = objective(batch)["loss"]
            loss.backward()

        name = f"{config.method}, {role}"
        taken = seconds(gradients, repeats=1)
        moved = seconds(optimizer.step, repeats=1)
        optimizer.zero_grad()
        yield Row(f"{name}, a clip", taken)
        yield Row(f"{name}, an update of {clips} clips", clips * taken + moved)
    yield peak_memory(f"{config.method}, peak", device, MEMORY_BUDGET if on_gpu else None)
