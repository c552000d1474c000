"""Finds the finished scenes of a run: all files are there, made from the run's own inputs.

Every scene has a record (`made_from.json`) with the digests of its clips and weights, its settings
and its written files.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from ..io.clip.clip import ClipPaths
from ..io.records import check_made_from, content_digest, plain, weights_digest
from ..models.recon.decoder import NOT_STORED
from ..runtime import InputError
from .config import OutputConfig, ReconstructConfig
from .outputs import File, OutputTree
from .record import WAY_OUT, meta_text, read_record
from .scenes import Scenes
from .weights import find_decoder, find_tokenizer

# Files of a clip; its metadata does not change the results.
PARTS = ("rgb", "pose", "intrinsics", "latent", "depth")
# Settings of the output that don't change the files of a scene.
ELSEWHERE = {"folder", "finished", "grid", "grid_scenes"}


@dataclass(frozen=True)
class FinishedScenes:
    """Compares scenes on disk with the ones that this run would make."""

    config: ReconstructConfig
    scenes: Scenes

    def record(self, index: int, time: int | None) -> dict[str, object]:
        """Returns the digests and settings of a scene; `InputError` if a file cannot be read."""
        key, clips = self.scenes.keys[index], {}
        for name in self.scenes.trajectories:
            paths = ClipPaths(self.scenes.root, name, key)
            present = [part for part in PARTS if paths.part(part).is_file()]
            clips[name] = {part: content_digest(paths.part(part)) for part in present}
        return plain({"scene": key, "time": time, "clips": clips} | self._shared)

    def unfinished(self, trees: Mapping[int | None, OutputTree], index: int) -> list[int | None]:
        """Returns the times at which a scene is still to be made.

        Raises:
            InputError: a finished scene was made from something else and must stay.
        """
        return [time for time, tree in trees.items() if not self._is_finished(tree, index, time)]

    def check_leftovers(self, tree: OutputTree) -> None:
        """Raises for a folder with scenes that this run does not have and would leave there."""
        keys = self.scenes.keys
        for path in sorted(tree.root.glob("meta/sample_*.json")):
            number = path.stem.removeprefix("sample_")
            index = int(number) if number.isascii() and number.isdecimal() else len(keys)
            if index < len(keys) and (
                self.config.output.finished != "refuse"
                or path.read_text(encoding="utf-8") == meta_text(keys[index])
            ):
                continue
            value = f"a scene of an earlier run ({path.read_text(encoding='utf-8').strip()})"
            expected = f"the {len(keys)} scenes of this run alone; another out_dir_inference"
            raise InputError(path, value, expected)

    def _is_finished(self, tree: OutputTree, index: int, time: int | None) -> bool:
        output = self.config.output
        if output.finished == "remake":
            return False
        path = made_from_path(output, tree, index, key=self.scenes.keys[index])
        try:
            if not self._is_complete(tree, index, path):
                return False
            stored = read_record(path)
            check_made_from(path, stored["made_from"], self.record(index, time), way_out=WAY_OUT)
        except InputError:
            if output.finished == "replace":
                return False
            raise
        return all((tree.root / name).is_file() for name in stored["files"])

    def _is_complete(self, tree: OutputTree, index: int, path: Path) -> bool:
        """Whether any run wrote the scene to its end; `InputError` if it left no record."""
        if self.config.output.eval_only:
            return path.is_file() and not read_record(path).get("unfinished")
        meta = tree.path(File.META, index)
        if not meta.is_file():
            return False
        # A run that makes the scene again removes the metadata first, then the record.
        if not path.is_file() and meta.is_file():
            raise InputError(meta, "a scene without a record of what it was made from", WAY_OUT)
        return path.is_file()

    @cached_property
    def _shared(self) -> dict[str, object]:
        """The part of the record that all scenes of a run share."""
        config = self.config
        decoder, output = asdict(config.decoder), asdict(config.output)
        if not output["ply_padded"]:
            # Records from before a setting mean its default.
            del output["ply_padded"]
        output["export_formats"] = sorted(output["export_formats"])
        if output["export_formats"] == ["ply"]:
            del output["export_formats"]
        return {
            "decoder": weights_digest(find_decoder(config.weights)),
            "tokenizer": weights_digest(find_tokenizer(config.weights)),
            "settings": {
                "decoder": {name: decoder[name] for name in sorted(decoder.keys() - NOT_STORED)},
                "render": asdict(config.render),
                "scenes": self.scenes.settings(),
                "output": {name: output[name] for name in sorted(output.keys() - ELSEWHERE)},
                "trunk_type": config.weights.trunk_type,
                "tokenizer_type": config.weights.tokenizer_type,
            },
        }


def made_from_path(config: OutputConfig, tree: OutputTree, index: int, key: str) -> Path:
    """Returns the path of a scene's record."""
    if config.eval_only:
        return tree.path(File.EVALUATION_MADE_FROM, key)
    return tree.path(File.MADE_FROM, index)
