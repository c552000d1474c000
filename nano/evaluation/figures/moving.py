"""The figures of moving worlds: their Gaussians at three moments, and on moving pixels."""

import torch
from jaxtyping import Float
from torch import Tensor

from src.evaluation.metrics import moving_pixels
from src.geometry.cameras import Cameras

from ...clips.networks import Video
from ...data.clips import world_trajectories
from ...worlds.film import PooledClips, film_pool
from ...worlds.rendering.render import render_worlds
from ...worlds.scene import World, build_worlds
from ..inputs import Group
from ..made import Evaluation, MadeScene
from .reconstruction import farthest_frames, prepare_scene, render_frames, unproject_gaussians


class MovingWorlds(Evaluation):
    """Evaluates moving worlds; the input is the video of a still camera."""

    @property
    def times(self) -> list[int]:
        """The frames at whose time Gaussians are made: first, middle, last."""
        last = self.settings.frames - 1
        return [0, last // 2, last]

    def evaluate(self, seeds: range) -> None:
        """Keep all wanted figures of the worlds `seeds`."""
        settings, device, wants = self.settings, self.networks.device, self.settings.wants
        poses = torch.stack([world_trajectories(seed, settings.frames, False) for seed in seeds])
        worlds = [World(seed, dynamic=True) for seed in seeds]
        pool = film_pool(worlds, poses, settings.size, device)
        if wants("tokenizer"):
            truth = pool.color.flatten(0, 1).float() / 255
            self.record_tokenizer("dynamic", seeds, self.networks.coded(truth), truth)
        if not wants("generator", "dynamic"):
            return
        still = torch.eye(4).expand(len(seeds), 1, settings.frames, 4, 4)
        filmed = film_pool(worlds, still, settings.size, device)
        exact = Group.of(pool, filmed, True, self.networks.cache)
        moments = self._moments(pool) if wants("dynamic") else []
        for source in settings.sources:
            for made in self.generate(exact, source, moving=True, truths=moments):
                self._reconstruct(made)

    def _moments(self, pool: PooledClips) -> list[Float[Tensor, "traj 3 time h w"]]:
        """Returns each world's exact pictures from the ends of its trajectories, at each time."""
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
        return [*color.unflatten(1, (paths, len(times))).transpose(2, 3)]

    def _reconstruct(self, made: MadeScene) -> None:
        """Compare the Gaussians of one world at each time with the decoded clips and the world."""
        decoder, order = self.networks.dynamic_decoder, self.settings.trajectories
        prepared = prepare_scene(decoder, made.latents, made.cameras, order)
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
            self.sheets.add("dynamic", len(pictures), [made.truth, pictures])

    def _compare(self, made: MadeScene, pictures: Video, plain: Video) -> None:
        """Keep the errors at each time, and those on moving pixels."""
        truth = made.truth
        self.record(made, "dynamic.ends", (pictures, truth))
        self.record(made, "moving_unprojected.ends", (plain, truth))
        for place, time in enumerate(self.times):
            at = slice(place, place + 1)
            self.record(made, f"dynamic.time_{time}", (pictures[:, :, at], truth[:, :, at]))
        # Pixels that moved since the start; a scene that stood still would look like time 0.
        later, first = truth[:, :, 1:], truth[:, :, :1].expand_as(truth[:, :, 1:])
        moved = moving_pixels(later.transpose(1, 2), first.transpose(1, 2))
        self.record(made, "dynamic.moving", (pictures[:, :, 1:], later), moved)
        frozen = pictures[:, :, :1].expand_as(later)
        self.record(made, "dynamic.moving_if_frozen", (frozen, later), moved)
        self.record(made, "dynamic.moving_truth_frozen", (first, later), moved)
