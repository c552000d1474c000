"""Pieces of a clip follow on each other, and leave what the trajectories share as it was."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_generator import NETWORK, write_depth, write_picture, write_tiny_weights
from tiny_scene import FRAMES, HEIGHT, WIDTH

from cosmos_predict1.diffusion.conditioning.cache import CacheSettings, PointCache
from cosmos_predict1.diffusion.config import ClipSettings, sdg_config
from cosmos_predict1.diffusion.flags import static_parser
from cosmos_predict1.diffusion.sampling.pipeline import Gen3C, load_gen3c
from cosmos_predict1.diffusion.sampling.recipe import SamplingPlan
from cosmos_predict1.diffusion.sampling.rollout import PreparedScene, roll_out
from cosmos_predict1.diffusion.scenes.scene import SceneSize, still_scene
from cosmos_predict1.diffusion.scenes.shots import shot_rig
from src.depth.backends.choice import resolve_depth
from src.geometry.trajectories import TrajectorySpec
from src.io.image import read_image

PIECES = 3
COUNT = PIECES * (FRAMES - 1) + 1
SETTINGS = ClipSettings(
    height=HEIGHT,
    width=WIDTH,
    num_frames=COUNT,
    piece_frames=FRAMES,
    fps=24.0,
    num_steps=1,
    guidance=1.0,
)
PLAN = SamplingPlan(num_steps=1, guidance=1.0, fps=24.0, seeds=(2**32 - 1,))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def generator(weights: Path) -> Gen3C:
    arguments = ["--checkpoint_dir", str(weights), "--device", "cpu"]
    return load_gen3c(sdg_config(static_parser("").parse_args(arguments)))


@pytest.fixture
def prepared(generator: Gen3C, weights: Path, tmp_path: Path) -> PreparedScene:
    image = read_image(write_picture(tmp_path / "a.png"))
    depth = resolve_depth(str(write_depth(tmp_path / "a.npz")))
    scene = still_scene(image, depth, SceneSize(HEIGHT, WIDTH, COUNT), 24.0)
    cache = PointCache(scene.sources, CacheSettings(drop_invalid=True))
    text = torch.zeros(1, 1, NETWORK.text_embed_dim)
    first = generator.first_latent(scene.first_frame)
    network = resolve_depth("nano", weights)
    return PreparedScene(scene, cache, first, (text, text), network)


@torch.inference_mode()
def test_pieces_follow_on_each_other(generator: Gen3C, prepared: PreparedScene) -> None:
    """A piece that begins with another frame, with the first piece's noise, or without points."""
    rig = shot_rig(TrajectorySpec("left", 0.1), prepared.scene.rig, HEIGHT, WIDTH)
    steps: list[int] = []
    pieces = list(
        roll_out(generator, prepared, rig, SETTINGS, PLAN, 0.0, lambda step, _: steps.append(step))
    )
    assert len(pieces) == len(steps) == PIECES
    assert [piece.buffer.shape[2] // WIDTH for piece in pieces] == [1, 2, 2]
    for index, piece in enumerate(pieces):
        start = index * (FRAMES - 1)
        assert (piece.rig.w2c == rig.w2c[start : start + FRAMES]).all()
    # With noise of 0.0002 and one step, the first latent stays close to the given one.
    for before, after in zip(pieces[:-1], pieces[1:], strict=True):
        given = generator.first_latent(before.piece.last_frame)[0]
        torch.testing.assert_close(after.piece.latents[:, :1], given, atol=1e-4, rtol=0)
    assert prepared.cache.buffers == 1, "another trajectory begins with the picture alone"


@torch.inference_mode()
def test_a_clip_of_one_piece_needs_no_depth(generator: Gen3C, prepared: PreparedScene) -> None:
    """Depth asked for after the last piece, or other results with another trajectory before."""
    settings = replace(SETTINGS, num_frames=FRAMES)
    alone = replace(prepared, backend=None)
    rig = shot_rig(TrajectorySpec("up", 0.1), prepared.scene.rig[:FRAMES], HEIGHT, WIDTH)
    first, second = (list(roll_out(generator, alone, rig, settings, PLAN))[0] for _ in range(2))
    assert (first.piece.latents == second.piece.latents).all()
    assert (first.buffer == second.buffer).all() and first.buffer.float().mean() > 20
