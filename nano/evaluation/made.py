"""What still and moving worlds have in common: a scene as it came out, and where its errors go."""

from dataclasses import dataclass
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

from cosmos_predict1.diffusion.scenes.scene import Scene
from src.evaluation.masked import clip_errors
from src.geometry.cameras import Cameras

from .inputs import Group, Mask, Video
from .ledger import Ledger
from .networks import Networks
from .report.sheets import Sheets
from .settings import Settings

# The clips of all worlds of a group.
AllClips: TypeAlias = Float[Tensor, "group_clip 3 frame h w"]
# Exact pictures: frames, or moments.
Truth: TypeAlias = Float[Tensor, "clip 3 moment h w"]


@dataclass(frozen=True)
class MadeScene:
    """The clips of one world that start from one source of depth, and the exact pictures.

    `truth` are the frames of the same clips, or of a moving world the moments from their ends.
    """

    seed: int
    source: str
    scene: Scene
    cameras: Cameras
    latents: Float[Tensor, "clip c latent_frame lh lw"]
    generated: Video
    truth: Truth

    @staticmethod
    def of(
        group: Group, world: int, source: str, made: tuple[Tensor, AllClips], truth: Truth
    ) -> "MadeScene":
        """A world of a group, of all whose clips `made` holds latents and pictures."""
        clips = group.clips(world)
        latents, generated = (part[clips] for part in made)
        parts = (group.scenes[world], group.cameras(world), latents, generated, truth)
        return MadeScene(group.pool.seeds[world], source, *parts)


class Evaluation:
    """Evaluates worlds of one kind, some at a time."""

    def __init__(
        self, settings: Settings, networks: Networks, ledger: Ledger, sheets: Sheets
    ) -> None:
        """Write figures into `ledger` and pictures into `sheets`."""
        self.settings, self.networks = settings, networks
        self.ledger, self.sheets = ledger, sheets

    def record(
        self, made: MadeScene, name: str, pair: tuple[Video, Video], mask: Mask | None = None
    ) -> None:
        """Keep the errors of the clips of a scene."""
        self.ledger.add(f"{name}.{made.source}", (made.seed,), clip_errors(*pair, mask))
