"""Which scenes of a run are finished: all their files are there, made from what the run has now.

Every scene has a record (`made_from.json`) of the digests of its clips and of the weights, of the
settings, and of the files that were written of it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from ..io.clip.clip import ClipPaths
from ..io.records.digest import content_digest, weights_digest
from ..io.records.made_from import check_made_from, plain
from ..models.recon.decoder import DecoderConfig
from ..models.recon.weights import NOT_STORED
from ..rendering.options import RasterizeOptions
from ..runtime import InputError
from .outputs import OutputConfig, OutputTree, meta_text
from .record import WAY_OUT, read_record
from .scenes import Scenes
from .weights import WeightsConfig, find_decoder, find_tokenizer

# Of a clip; its metadata does not change what is made from it.
PARTS = ("rgb", "pose", "intrinsics", "latent", "depth")
# Settings of the output that say where and whether, not what is written of a scene.
ELSEWHERE = {"folder", "finished", "grid", "grid_scenes"}


@dataclass(frozen=True)
class FinishedScenes:
    """Compares scenes on disk with what the present run would make."""

    scenes: Scenes
    weights: WeightsConfig
    decoder: DecoderConfig
    render: RasterizeOptions
    output: OutputConfig

    def record(self, index: int, time: int | None) -> dict[str, object]:
        """What scene number `index` is made from at `time`, as JSON holds it.

        Raises:
            InputError: a clip or the weights cannot be read.
        """
        clips = {
            name: self._clip_digests(name, self.scenes.keys[index])
            for name in self.scenes.trajectories
        }
        scene = {"scene": self.scenes.keys[index], "time": time, "clips": clips}
        return plain(scene | self._shared)

    def unfinished(self, trees: Mapping[int | None, OutputTree], index: int) -> list[int | None]:
        """The times at which a scene is still to be made; see `is_finished` for errors."""
        return [time for time, tree in trees.items() if not self.is_finished(tree, index, time)]

    def is_finished(self, tree: OutputTree, index: int, time: int | None) -> bool:
        """Whether nothing of the scene is left to make.

        Raises:
            InputError: a finished scene was made from something else and must stay.
        """
        if self.output.finished == "remake":
            return False
        try:
            return self._is_same(tree, index, time)
        except InputError:
            if self.output.finished == "replace":
                return False
            raise

    def _is_same(self, tree: OutputTree, index: int, time: int | None) -> bool:
        key = self.scenes.keys[index]
        path = made_from_path(self.output, tree, index, key)
        if not self._is_complete(tree, index, path):
            return False
        stored = read_record(path)
        check_made_from(path, stored["made_from"], self.record(index, time), WAY_OUT)
        return all((tree.root / name).is_file() for name in stored["files"])

    def check_leftovers(self, tree: OutputTree) -> None:
        """Refuse a folder with scenes of another data set, which would stay beside the new ones.

        Raises:
            InputError: a scene with a number or a name that this run does not have.
        """
        keys = self.scenes.keys
        for path in sorted(tree.root.glob("meta/sample_*.json")):
            number = path.stem.removeprefix("sample_")
            index = int(number) if number.isascii() and number.isdecimal() else len(keys)
            mine = index < len(keys) and (
                self.output.finished != "refuse"
                or path.read_text(encoding="utf-8") == meta_text(keys[index])
            )
            if not mine:
                value = f"a scene of an earlier run ({path.read_text(encoding='utf-8').strip()})"
                expected = f"the {len(keys)} scenes of this run alone; another out_dir_inference"
                raise InputError(path, value, expected)

    def _is_complete(self, tree: OutputTree, index: int, path: Path) -> bool:
        """Whether the scene was written to its end, by whatever run.

        Raises:
            InputError: it was, but nobody recorded what it was made from.
        """
        if self.output.eval_only:
            return path.is_file() and not read_record(path).get("unfinished")
        meta = tree.meta(index)
        if not meta.is_file():
            return False
        # Another run that makes the scene again removes the record after the metadata.
        if not path.is_file() and meta.is_file():
            raise InputError(meta, "a scene without a record of what it was made from", WAY_OUT)
        return path.is_file()

    def _clip_digests(self, trajectory: str, key: str) -> dict[str, str]:
        paths = ClipPaths(self.scenes.root, trajectory, key)
        present = [part for part in PARTS if paths.part(part).is_file()]
        return {part: content_digest(paths.part(part)) for part in present}

    @cached_property
    def _shared(self) -> dict[str, object]:
        """What all scenes of a run are made from alike."""
        decoder, output = asdict(self.decoder), asdict(self.output)
        if not output["ply_padded"]:
            # Scenes of before this setting are those of its default.
            del output["ply_padded"]
        return {
            "decoder": weights_digest(find_decoder(self.weights)),
            "tokenizer": weights_digest(find_tokenizer(self.weights)),
            "settings": {
                "decoder": {name: decoder[name] for name in sorted(decoder.keys() - NOT_STORED)},
                "render": asdict(self.render),
                "scenes": self.scenes.settings(),
                "output": {name: output[name] for name in sorted(output.keys() - ELSEWHERE)},
                "trunk_type": self.weights.trunk_type,
                "tokenizer_type": self.weights.tokenizer_type,
            },
        }


def made_from_path(config: OutputConfig, tree: OutputTree, index: int, key: str) -> Path:
    """The record of a scene."""
    return tree.evaluation_made_from(key) if config.eval_only else tree.made_from(index)
