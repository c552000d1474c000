"""The figures of still worlds: tokenizer, depth, generated clips, Gaussians, and the baselines."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from src.depth.backends.choice import nano_prediction
from src.geometry.cameras import Cameras

from ...data.clips import world_trajectories
from ...depth.data import is_sky
from ...depth.losses import DepthSamples, depth_figures
from ...depth.task import draw_sample
from ...worlds.film import film_pool
from ...worlds.scene import World
from ..inputs import Group, Mask
from ..made import Evaluation, MadeScene
from .reconstruction import (
    farthest_frames,
    mean_color,
    prepare_scene,
    render_frames,
    unproject_gaussians,
)


class StillWorlds(Evaluation):
    """Evaluates still worlds; the input is the first frame."""

    def evaluate(self, seeds: range) -> None:
        """Keep all wanted figures of the worlds `seeds`."""
        settings, wants = self.settings, self.settings.wants
        poses = torch.stack([world_trajectories(seed, settings.frames, False) for seed in seeds])
        worlds = [World(seed) for seed in seeds]
        pool = film_pool(worlds, poses, settings.size, self.networks.device)
        exact = Group.of(pool, pool, False, self.networks.cache)
        if wants("tokenizer", "generator"):
            coded, truth = self.networks.coded(exact.truth), exact.truth
            if wants("tokenizer"):
                self.record_tokenizer("static", seeds, coded, truth)
                self.sheets.add("tokenizer", exact.paths, [truth[:, :, -1:], coded[:, :, -1:]])
            if wants("generator"):
                self.record_clips("ceiling", seeds, (coded, truth), exact.visible)
        if wants("depth"):
            drawn = self._measure_depth(exact).permute(0, 4, 1, 2, 3).float() / 255
            self.sheets.add("depth", 1, [drawn])
        clips = [exact.clips(world) for world in range(len(seeds) if wants("static") else 0)]
        truths = [exact.truth[own] for own in clips]
        for source in settings.sources if wants("generator", "static") else ():
            made = self.generate(exact, source, moving=False, truths=truths)
            for scene, own in zip(made, clips, strict=True):
                self._reconstruct(scene, exact.visible[own])

    def _measure_depth(self, group: Group) -> UInt8[Tensor, "world 3 h w 3"]:
        """Keep the errors of depth and lens of first frames; draws picture, estimate and truth.

        The figures are those of `depth_figures`; the sky has no depth.
        """
        drawn = []
        for world, seed in enumerate(group.pool.seeds):
            sources = group.scenes[world].sources
            height, width = sources.depth.shape[1:]
            lens, pose = sources.intrinsics[:1], sources.w2c[:1]
            sky = is_sky(Cameras(pose, lens, width, height), sources.depth[:1])
            depth = sources.depth[:1].masked_fill(sky, 0)
            log_focal = (lens[:, 0] / (height**2 + width**2) ** 0.5).log()
            image = (sources.image[:1] + 1) / 2
            samples = DepthSamples(image, depth, log_focal, [str(seed)])
            prediction = nano_prediction(self.networks.depth, image)
            for name, value in depth_figures(prediction, samples).items():
                self.ledger.add_values(f"depth.{name}", (seed,), torch.tensor([value]))
            drawn.append(draw_sample(prediction, samples, 0))
        return torch.stack(drawn)

    def _reconstruct(self, made: MadeScene, visible: Mask) -> None:
        """Compare the Gaussians of one world with the decoded clips and with the world."""
        decoder, order = self.networks.static_decoder, self.settings.trajectories
        gaussians = decoder.gaussians(prepare_scene(decoder, made.latents, made.cameras, order))
        opacity = gaussians.opacities.float().median()[None]
        self.ledger.add_values(f"static.opacity.{made.source}", (made.seed,), opacity)
        ends, count = farthest_frames(made.cameras.c2w), made.truth.shape[2]
        stride = self.settings.stride
        frames = sorted({*range(stride, count, stride), *ends})
        shown = render_frames(gaussians, made.cameras, [frames] * len(ends))
        truth, visible = made.truth[:, :, frames], visible[:, frames]
        self.record(made, "static.decoded", (shown, made.generated[:, :, frames]))
        self.record(made, "static.truth", (shown, truth))
        self.record(made, "static.visible", (shown, truth), visible)
        self.record(made, "static.hidden", (shown, truth), ~visible)
        at_end = torch.stack([shown[i, :, [frames.index(end)]] for i, end in enumerate(ends)])
        target = torch.stack([made.truth[i, :, [end]] for i, end in enumerate(ends)])
        self.record(made, "static.ends", (at_end, target))
        lifted, far = unproject_gaussians(made.scene), [[end] for end in ends]
        plain = render_frames(lifted, made.cameras, far)
        self.record(made, "unprojected.ends", (plain, target))
        tinted = render_frames(lifted, made.cameras, far, mean_color(made.scene))
        self.record(made, "unprojected.tinted", (tinted, target))
        if made.source == "true":
            image = (made.scene.sources.image[0] + 1) / 2
            seen = image[None, :, None].expand(target.shape)
            self.sheets.add("static", len(target), [seen, target, at_end, plain])
