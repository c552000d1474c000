"""The common part of still and moving worlds: coded and generated clips, and their errors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

from cosmos_predict1.diffusion.scenes.scene import Scene
from src.evaluation.hole_filling import fill_nearest
from src.evaluation.metrics import channel_errors, clip_errors
from src.geometry.cameras import Cameras

from ..clips.networks import Networks, Video
from .inputs import Group, Mask
from .ledger import Ledger
from .report.sheets import Sheets
from .settings import Settings

# Exact pictures: frames, or moments.
Truth: TypeAlias = Float[Tensor, "clip 3 moment h w"]


@dataclass(frozen=True, kw_only=True)
class MadeScene:
    """The clips of one world that start from one source of depth, and the exact pictures.

    `truth` are the frames of the same clips, or for a moving world the moments from their ends.
    """

    seed: int
    source: str
    scene: Scene
    cameras: Cameras
    latents: Float[Tensor, "clip c latent_frame lh lw"]
    generated: Video
    truth: Truth


class GeneratedGroup:
    """The generated clips of a group of worlds, which start from one source of depth."""

    def __init__(self, group: Group, source: str, networks: Networks) -> None:
        self.group, self.source = group, source
        self.latents = networks.generate(group.starts)
        self.video = networks.decode(self.latents)

    def scene(self, world: int, truth: Truth) -> MadeScene:
        """Returns one world with its exact pictures."""
        group, clips = self.group, self.group.clips(world)
        return MadeScene(
            seed=group.pool.seeds[world],
            source=self.source,
            scene=group.scenes[world],
            cameras=group.cameras(world),
            latents=self.latents[clips],
            generated=self.video[clips],
            truth=truth,
        )


class Evaluation:
    """Evaluates worlds of one kind, group by group: figures to `ledger`, pictures to `sheets`."""

    def __init__(
        self, settings: Settings, networks: Networks, ledger: Ledger, sheets: Sheets
    ) -> None:
        self.settings, self.networks = settings, networks
        self.ledger, self.sheets = ledger, sheets

    def generate(self, exact: Group, source: str, moving: bool) -> GeneratedGroup:
        """Generate the clips that start from one source of depth, and keep their errors."""
        group = exact.estimated(self.networks.depth) if source == "nano" else exact
        made = GeneratedGroup(group, source, self.networks)
        if self.settings.wants("generator"):
            warps, truth = group.starts.image, group.truth
            filled = fill_nearest((warps + 1) / 2, group.starts.mask).transpose(1, 2)
            for name, clips in (("generator", made.video), ("nearest", filled)):
                full = f"{'moving_' * moving}{name}.{source}"
                self.record_clips(full, group.pool.seeds, (clips, truth), exact.visible)
            if source == "true" and not moving:
                shown = {"warps": warps.transpose(1, 2), "filled": filled, "generated": made.video}
                self.sheets.add_generated(truth=truth, paths=group.paths, **shown)
        return made

    def record_tokenizer(self, kind: str, seeds: Sequence[int], coded: Video, truth: Video) -> None:
        """Keep the errors of coded clips, in RGB, luma and chroma."""
        self.ledger.add(f"tokenizer.{kind}.rgb", seeds, clip_errors(coded, truth))
        for name, errors in channel_errors(coded, truth).items():
            self.ledger.add(f"tokenizer.{kind}.{name}", seeds, errors)

    def record_clips(
        self, name: str, seeds: Sequence[int], pair: tuple[Video, Video], visible: Mask
    ) -> None:
        """Keep the errors of clips: of all, visible and hidden pixels, and of the last frame.

        `pair` is the clips and the truth, `visible` the pixels that the input shows. The first
        frame is left out: it is given to the generator.
        """
        ours, theirs, seen = pair[0][:, :, 1:], pair[1][:, :, 1:], visible[:, 1:]
        self.ledger.add(f"{name}.all", seeds, clip_errors(ours, theirs))
        self.ledger.add(f"{name}.visible", seeds, clip_errors(ours, theirs, seen))
        self.ledger.add(f"{name}.hidden", seeds, clip_errors(ours, theirs, ~seen))
        self.ledger.add(f"{name}.last", seeds, clip_errors(ours[:, :, -1:], theirs[:, :, -1:]))

    def record(
        self, made: MadeScene, name: str, pair: tuple[Video, Video], mask: Mask | None = None
    ) -> None:
        """Keep the errors of the clips of a scene."""
        self.ledger.add(f"{name}.{made.source}", (made.seed,), clip_errors(pair[0], pair[1], mask))
