"""Steps of the decoder's training, stages 7 and 9, by their parts.

On a GPU at full size (six trajectories of 121 frames, 704 x 1280, worlds as clips) with random
weights of the published architectures, elsewhere at a tiny one. LPIPS takes part where its weights
lie in `checkpoints`.
"""

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from src.config.decoder import load_decoder_train_config
from src.config.loading import command_line_layer, file_layer
from src.models.recon.decoder import LatentRecon
from src.models.recon.weights import save_decoder
from src.tokenizer.cosmos import VideoTokenizer, latent_frames
from src.tokenizer.loading import save_tokenizer
from src.training.decoder import DecoderTask
from src.training.decoder_config import DecoderTrainConfig
from src.training.journal import read_journal
from src.training.loop import train

from .reconstruct import FULL, HEAD_BIAS, TINY, Size
from .row import Row

STEPS, WARM_UP = 5, 2
MEMORY_BUDGET = 130
STAGES = {7: "multi_6_prune", 9: "multi_6_dynamic_prune"}
PARTS = ("data", "encode", "decode", "render", "loss", "backward", "optimizer")
TINY_SETTINGS = ("enc_depth=3", "enc_embed_dim=32", "enc_num_heads=1", "mixed_precision='no'")


def run(device: torch.device) -> list[Row]:
    """Seconds of a step and of its parts, and the peak of memory."""
    size = FULL if device.type == "cuda" else TINY
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = latent_frames(size.frames)
        tokenizer = VideoTokenizer(size.tokenizer, torch.zeros(16, count), torch.ones(16, count))
        save_tokenizer(tokenizer, folder / "tokenizer")
        del tokenizer
        return [row for stage in STAGES for row in _stage(folder, stage, size, device)]


def _stage(folder: Path, stage: int, size: Size, device: torch.device) -> Iterator[Row]:
    """Train a stage for a few steps with all six trajectories."""
    config = _configure(folder, stage, size)
    model = LatentRecon(config.decoder)
    assert model.deconv.bias is not None
    with torch.no_grad():
        model.deconv.bias.copy_(torch.tensor(HEAD_BIAS))
    save_decoder(model, folder / "decoder")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    train(DecoderTask(config), config.loop, config.optim)
    steps = read_journal(Path(config.loop.output_dir))[WARM_UP:]
    for part in ("step", *PARTS):
        seconds = statistics.median(record[f"seconds_{part}"] for record in steps)
        yield Row(f"stage {stage}, {part}", seconds)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
        yield Row(f"stage {stage}, peak memory", peak, "GiB", budget=MEMORY_BUDGET)


def _configure(folder: Path, stage: int, size: Size) -> DecoderTrainConfig:
    """The published stage on worlds."""
    targets = 12 if stage == 9 else 9
    settings = [
        f"output_dir={folder}/stage_{stage}",
        f"vae_path={folder}/tokenizer",
        f"resume_pretrained_model_ckpt={folder}/decoder",
        f"img_size=[{size.height},{size.width}]",
        f"num_input_views={size.frames}",
        f"num_views={size.frames + min(targets, size.frames)}",
        "sample_num_input_multi_views=false",
        "num_test_scenes=0",
        "num_workers=2",
        f"max_train_steps={STEPS}",
        "loop.timing=true",
        "loop.validate_every=0",
        f"data.worlds.folder={folder}/data",
        "data.worlds.scenes=1",
        f"data.worlds.frames={size.frames}",
        "data.worlds.supersample=1",
        *(TINY_SETTINGS if size is TINY else ()),
    ]
    name = f"configs/training/3dgs_res_704_1280_views_121_{STAGES[stage]}.yaml"
    layers = [file_layer("configs/training/default.yaml"), file_layer(name)]
    return load_decoder_train_config([*layers, command_line_layer(settings)])
