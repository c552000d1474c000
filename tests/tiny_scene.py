"""A complete input for the decoder's commands at the smallest size: clips, weights, settings."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from src.config.sample import load_sample_config
from src.geometry.cameras import Cameras
from src.io.clip.clip import Clip, ClipPaths, write_clip
from src.models.recon.decoder import DecoderConfig, LatentRecon
from src.reconstruct.config import ReconstructConfig
from src.tokenizer.cosmos import VideoTokenizer, latent_frames
from src.tokenizer.loading import save_tokenizer

HEIGHT, WIDTH, FRAMES, FOCAL = 32, 48, 9, 40.0
TRAJECTORIES = ("0", "1", "2")
ARCHITECTURE = {
    "encoder_block_out_channels": (8, 8, 16, 16),
    "decode_block_out_channels": (8, 16, 16, 16),
    "num_layers": 1,
}
DECODER = DecoderConfig(depth=3, width=32, heads=1, attention_every=3, prune_ratio=0.5)
SETTINGS = """\
output_dir: {folder}/training
data_mode: [[{kind}, 1]]
img_size: [{height}, {width}]
num_input_views: {frames}
num_views: {views}
num_input_multi_views: 3
enc_depth: 3
enc_embed_dim: 32
enc_num_heads: 1
llrm_7m1t_index: 3
gaussians_prune_ratio: 0.5
use_time_embedding: {dynamic}
vae_path: {folder}/tokenizer
"""


@dataclass(frozen=True)
class TinyInput:
    """Where everything lies, and the arguments that make `sample.py` use it."""

    folder: Path
    dynamic: bool

    @property
    def root(self) -> Path:
        return self.folder / "clips"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "lyra_tiny.pt"

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def arguments(self, *settings: str) -> list[str]:
        """A demo configuration, its sizes and paths overridden."""
        demo = "lyra_dynamic" if self.dynamic else "lyra_static"
        model = f"[configs/training/default.yaml,{self.folder}/tiny.yaml]"
        return [
            *("--config", f"configs/demo/{demo}.yaml", f"config_path={model}"),
            f"dataset_root={self.root}",
            f"ckpt_path={self.checkpoint}",
            f"out_dir_inference={self.output}",
            "static_view_indices_fixed=['2','0']",
            *(["target_index_manual=[0,8]"] if self.dynamic else []),
            *settings,
        ]

    def tree(self, time: int | None = None) -> Path:
        """The folder of the results."""
        name = "lyra_dynamic_demo" if self.dynamic else "lyra_static_demo"
        folder = self.output / "static_view_indices_fixed_2_0" / name
        return folder if time is None else folder / str(time)

    def configure(self, out: Path, *settings: str) -> ReconstructConfig:
        """What `sample.py` makes of these arguments, with results below `out`."""
        _, config, *rest = self.arguments(f"out_dir_inference={out}", *settings)
        return load_sample_config("configs/inference/default.yaml", config, rest)

    def results(self, out: Path, time: int | None = None) -> Path:
        """The folder of the results below `out`."""
        return out / self.tree(time).relative_to(self.output)


def files_of(folder: Path) -> set[str]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def write_tiny_input(folder: Path, dynamic: bool = False, scenes: int = 2) -> TinyInput:
    """Clips of `scenes` scenes, random weights (the published file layout) and settings."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    save_tokenizer(tokenizer, folder / "tokenizer")
    torch.save({"module": tiny_decoder(dynamic).state_dict()}, folder / "lyra_tiny.pt")
    for scene in range(scenes):
        for position, name in enumerate(TRAJECTORIES):
            paths = ClipPaths(folder / "clips", name, f"scene_{scene}")
            write_clip(paths, tiny_clip(tokenizer, scene, position))
    if dynamic:
        # The registry lists all six forward trajectories of dynamic data sets.
        for name in ("3", "4", "5"):
            (folder / "clips" / name).symlink_to("0")
    text = SETTINGS.format(
        folder=folder,
        kind="lyra_dynamic" if dynamic else "lyra_static",
        height=HEIGHT,
        width=WIDTH,
        frames=FRAMES,
        views=FRAMES + 3,
        dynamic=str(dynamic).lower(),
    )
    (folder / "tiny.yaml").write_text(text)
    return TinyInput(folder, dynamic)


def tiny_tokenizer() -> VideoTokenizer:
    """A random tokenizer; its statistics cover the clips."""
    count = latent_frames(FRAMES)
    mean, std = torch.randn(16, count), torch.rand(16, count) + 0.5
    return VideoTokenizer(ARCHITECTURE, mean, std).requires_grad_(False).eval()


def tiny_decoder(dynamic: bool = False) -> LatentRecon:
    """A random decoder with all layers at work, whose Gaussians lie at depths about 2."""
    model = LatentRecon(replace(DECODER, use_time=dynamic))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "patch_" in name and name.endswith("proj.weight"):
                parameter.normal_(std=0.2)
        assert model.deconv.bias is not None
        # Distance, colour, scale, rotation, opacity.
        model.deconv.weight *= 8
        model.deconv.bias.copy_(torch.tensor([-4.0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 4]))
    return model


def tiny_clip(tokenizer: VideoTokenizer, scene: int, position: int) -> Clip:
    """A pattern that moves with the camera, and its latents."""
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    shift = torch.arange(FRAMES)[:, None, None] * (position + 1)
    red = (columns[None] * 5 + shift * 3) % 256
    green = (rows[None] * 7 + 40 * scene).expand_as(red)
    frames = torch.stack([red, green, (red + green) // 2], dim=-1) % 256
    frames = frames.to(torch.uint8)
    video = frames.permute(3, 0, 1, 2)[None] / 127.5 - 1
    c2w = torch.eye(4).repeat(FRAMES, 1, 1)
    c2w[:, position % 3, 3] = torch.linspace(0, 0.2, FRAMES)
    intrinsics = torch.tensor([FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2]).expand(FRAMES, 4)
    latents = tokenizer.statistics.normalise(tokenizer.encode(video))[0]
    depth = 1 + rows[None].expand(FRAMES, -1, -1) / HEIGHT
    cameras = Cameras(c2w, intrinsics.contiguous(), WIDTH, HEIGHT)
    return Clip(cameras, 24, frames, latents, depth)
