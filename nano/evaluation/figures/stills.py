"""The figures of still worlds: tokenizer, depth, generated clips, Gaussians, and the baselines."""

import torch

from ...data.clips import world_trajectories
from ...worlds.film import render_pool
from ..inputs import Group, Mask
from ..made import Evaluation, MadeScene
from .clips import filled_warps, record_clips, record_tokenizer
from .depth import record_depth
from .reconstruction import (
    decode_scene,
    farthest_frames,
    mean_color,
    render_frames,
    unproject_gaussians,
)


class StillWorlds(Evaluation):
    """Evaluates still worlds; the input is the first frame."""

    def evaluate(self, seeds: range) -> None:
        """All figures of the worlds `seeds` that are asked for."""
        settings, wants = self.settings, self.settings.wants
        poses = torch.stack([world_trajectories(seed, settings.frames, False) for seed in seeds])
        pool = render_pool(seeds, poses, settings.size, False, self.networks.device)
        exact = Group.of(pool, pool, False, self.networks.cache)
        if wants("tokenizer", "generator"):
            coded, truth = self.networks.coded(exact.truth), exact.truth
            if wants("tokenizer"):
                record_tokenizer(self.ledger, "static", seeds, coded, truth)
                self.sheets.add_coded(truth, coded, exact.paths)
            if wants("generator"):
                record_clips(self.ledger, "ceiling", seeds, (coded, truth), exact.visible)
        if wants("depth"):
            self.sheets.add_depth(record_depth(self.networks, self.ledger, exact))
        if wants("generator", "static"):
            for source in settings.sources:
                self._generate(exact, source)

    def _generate(self, exact: Group, source: str) -> None:
        """The clips that start from one source of depth, and their Gaussians."""
        group = exact.estimated(self.networks.depth) if source == "nano" else exact
        latents = self.networks.generate(group.starts)
        generated, seeds = self.networks.decode(latents), group.pool.seeds
        if self.settings.wants("generator"):
            record_clips(
                self.ledger,
                f"generator.{source}",
                seeds,
                (generated, group.truth),
                exact.visible,
            )
            filled = filled_warps(group.starts)
            pair = (filled, group.truth)
            record_clips(self.ledger, f"nearest.{source}", seeds, pair, exact.visible)
            if source == "true":
                shown = (group.truth, group.starts.image.transpose(1, 2), filled, generated)
                self.sheets.add_generated(*shown, group.paths)
        for world in range(len(seeds) if self.settings.wants("static") else 0):
            clips = group.clips(world)
            made = MadeScene.of(group, world, source, (latents, generated), group.truth[clips])
            self._reconstruct(made, exact.visible[clips])

    def _reconstruct(self, made: MadeScene, visible: Mask) -> None:
        """Gaussians of one world, against the decoded clips and against the world itself."""
        gaussians = decode_scene(
            self.networks.static_decoder, made.latents, made.cameras, self.settings.trajectories
        )
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
            self.sheets.add_scene(image, target, at_end, plain)
