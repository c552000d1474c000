"""The figures of moving worlds: their Gaussians at three moments, and whether things move there."""

import torch
from jaxtyping import Float
from torch import Tensor

from src.evaluation.masked import moving_pixels
from src.geometry.cameras import Cameras

from ...data.clips import world_trajectories
from ...worlds.film import PooledClips, render_pool
from ...worlds.rendering.render import render_worlds
from ...worlds.scene import build_worlds
from ..inputs import Group, Mask, Video
from ..made import Evaluation, MadeScene
from .clips import filled_warps, record_clips, record_tokenizer
from .reconstruction import as_example, farthest_frames, render_frames, unproject_gaussians


class MovingWorlds(Evaluation):
    """Evaluates moving worlds; the input is the video of a still camera."""

    @property
    def times(self) -> list[int]:
        """The frames at whose time Gaussians are made: first, middle, last."""
        last = self.settings.frames - 1
        return [0, last // 2, last]

    def evaluate(self, seeds: range) -> None:
        """All figures of the worlds `seeds` that are asked for."""
        settings, device, wants = self.settings, self.networks.device, self.settings.wants
        poses = torch.stack([world_trajectories(seed, settings.frames, False) for seed in seeds])
        pool = render_pool(seeds, poses, settings.size, True, device)
        if wants("tokenizer"):
            truth = pool.color.flatten(0, 1).float() / 255
            record_tokenizer(self.ledger, "dynamic", seeds, self.networks.coded(truth), truth)
        if not wants("generator", "dynamic"):
            return
        still = torch.eye(4).expand(len(seeds), 1, settings.frames, 4, 4)
        filmed = render_pool(seeds, still, settings.size, True, device)
        exact = Group.of(pool, filmed, True, self.networks.cache)
        moments = self._moments(pool) if wants("dynamic") else None
        for source in settings.sources:
            group = exact.estimated(self.networks.depth) if source == "nano" else exact
            latents = self.networks.generate(group.starts)
            generated = self.networks.decode(latents)
            if wants("generator"):
                self._record_clips(source, group, generated, exact.visible)
            for world in range(len(pool) if moments is not None else 0):
                assert moments is not None
                made = (latents, generated)
                self._reconstruct(MadeScene.of(group, world, source, made, moments[world]))

    def _record_clips(self, source: str, group: Group, generated: Video, visible: Mask) -> None:
        """Keep the errors of generated clips, and of warps with filled holes."""
        filled = filled_warps(group.starts)
        for name, clips in (("generator", generated), ("nearest", filled)):
            pair = (clips, group.truth)
            record_clips(self.ledger, f"moving_{name}.{source}", group.pool.seeds, pair, visible)

    def _moments(self, pool: PooledClips) -> Float[Tensor, "world traj 3 time h w"]:
        """The worlds as they are, from the end of each trajectory at each of the times."""
        height, width = self.settings.size
        ends = [farthest_frames(c2w) for c2w in pool.c2w]
        poses = torch.stack(
            [c2w[torch.arange(len(c2w)), at] for c2w, at in zip(pool.c2w, ends, strict=True)]
        )
        count, paths = poses.shape[:2]
        times = torch.tensor(self.times, device=poses.device) / (self.settings.frames - 1)
        c2w = poses[:, :, None].expand(-1, -1, len(times), 4, 4).flatten(1, 2)
        lens = pool.intrinsics[:, None].expand(-1, c2w.shape[1], 4)
        worlds = build_worlds(pool.seeds, True).to(poses.device)
        moments = times.repeat(paths).expand(count, -1)
        shown = render_worlds(worlds, Cameras(c2w, lens, width, height), moments)
        # In 8 bits, as the clips are.
        color = (shown.rgb * 255).round() / 255
        return color.unflatten(1, (paths, len(times))).transpose(2, 3)

    def _reconstruct(self, made: MadeScene) -> None:
        """Gaussians of one world at each time, against the decoded clips and the world itself."""
        decoder, order = self.networks.dynamic_decoder, list(self.settings.trajectories)
        raw = decoder.tokenizer.denormalise(made.latents[order])
        prepared = decoder.prepare(as_example(raw, made.cameras[torch.tensor(order)]))
        ends = [[end] for end in farthest_frames(made.cameras.c2w)]
        shown, lifted = [], []
        for time in self.times:
            gaussians = decoder.gaussians(prepared, time / (self.settings.frames - 1))
            shown.append(render_frames(gaussians, made.cameras, ends))
            plain = unproject_gaussians(made.scene, time)
            lifted.append(render_frames(plain, made.cameras, ends))
            # The only frame of each clip that shows this moment.
            decoded = made.generated[:, :, [time]]
            same = render_frames(gaussians, made.cameras, [[time]] * len(ends))
            self.record(made, "dynamic.decoded", (same, decoded))
        pictures, plain = torch.cat(shown, dim=2), torch.cat(lifted, dim=2)
        self._compare(made, pictures, plain)
        if made.source == "true":
            self.sheets.add_moments(made.truth, pictures)

    def _compare(self, made: MadeScene, pictures: Video, plain: Video) -> None:
        """Keep the errors at each time, and those on what moves."""
        truth = made.truth
        self.record(made, "dynamic.ends", (pictures, truth))
        self.record(made, "moving_unprojected.ends", (plain, truth))
        for place, time in enumerate(self.times):
            at = slice(place, place + 1)
            self.record(made, f"dynamic.time_{time}", (pictures[:, :, at], truth[:, :, at]))
        # What has moved since the start: had the scene stood still, it would look like time 0.
        later, first = truth[:, :, 1:], truth[:, :, :1].expand_as(truth[:, :, 1:])
        moved = moving_pixels(later.transpose(1, 2), first.transpose(1, 2))
        self.record(made, "dynamic.moving", (pictures[:, :, 1:], later), moved)
        frozen = pictures[:, :, :1].expand_as(later)
        self.record(made, "dynamic.moving_if_frozen", (frozen, later), moved)
        self.record(made, "dynamic.moving_truth_frozen", (first, later), moved)
