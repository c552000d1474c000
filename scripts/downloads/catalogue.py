"""The downloads: repositories, the needed files of each, and their folders.

Nothing heavy is imported here: the command's `--help` reads this table.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

TOKENIZER = "Cosmos-Tokenize1-CV8x8x8-720p"
# Files of a repository itself; here they would replace the project's own.
NEVER = (".gitattributes", ".gitignore", "README.md")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A repository of the hub (or a base URL) and its needed files.

    `files` and `optional` are names or patterns; each of `files` must match. `folder` is relative
    to the checkpoint folder, or to the project for `kind="dataset"`. `checksums` are
    `algorithm:beginning of the hexadecimal digest` of the files that this program was checked with.
    `endpoint` is the environment variable for another base URL.
    """

    repository: str
    folder: str
    files: tuple[str, ...]
    about: str
    gigabytes: float = 0.0
    optional: tuple[str, ...] = ()
    kind: str = "model"  # or "dataset" or "url"
    checksums: dict[str, str] = field(default_factory=dict)
    endpoint: str = ""

    def takes(self, name: str) -> bool:
        """Whether a file of the repository is needed or optional."""
        if name.rpartition("/")[2] in NEVER:
            return False
        return any(fnmatchcase(name, pattern) for pattern in (*self.files, *self.optional))


SOURCES: dict[str, tuple[Source, ...]] = {
    "gen3c": (
        Source(
            repository="nvidia/GEN3C-Cosmos-7B",
            folder="Gen3C-Cosmos-7B",
            files=("model.pt",),
            about="the clip generator",
            gigabytes=14.5,
            optional=("config.json",),
            checksums={"model.pt": "md5:38644bf823aa5272acef60cfad8bc0f7"},
        ),
    ),
    "tokenizer": (
        Source(
            repository=f"nvidia/{TOKENIZER}",
            folder=TOKENIZER,
            files=("encoder.jit", "decoder.jit", "mean_std.pt"),
            about="the video tokenizer",
            gigabytes=0.3,
            checksums={
                "encoder.jit": "md5:f5834d03645c379bc0f8ad14b9bc0299",
                "decoder.jit": "md5:ff21a63ed817ffdbe4b6841111ec79a8",
                "mean_std.pt": "md5:f07680ad7eefae57d698778e2a0c7c96",
            },
        ),
    ),
    "lyra": (
        Source(
            repository="nvidia/Lyra",
            folder="Lyra",
            files=("lyra_static.pt", "lyra_dynamic.pt"),
            about="the two Gaussian decoders",
            gigabytes=0.3,
            checksums={
                "lyra_static.pt": "md5:28ddd05011b33350c70edab02c23c602",
                "lyra_dynamic.pt": "md5:91c1b3920332287ed161bc47a1fd7077",
            },
        ),
    ),
    "t5": (
        Source(
            repository="google-t5/t5-11b",
            folder="google-t5/t5-11b",
            files=("config.json", "pytorch_model.bin", "spiece.model", "tokenizer.json"),
            about="the text encoder; the first run encodes two constant prompts with it (or "
            "scripts/make_text_embeddings.py does), after that only a prompt needs it; "
            "--disable_prompt_encoder of the generator is the way without",
            gigabytes=45.2,
            optional=("tokenizer_config.json",),
            checksums={"pytorch_model.bin": "md5:f890878d8a162e0045a25196e27089a3"},
        ),
    ),
    "moge": (
        Source(
            repository="Ruicheng/moge-vitl",
            folder="moge",
            files=("model.pt",),
            about="depth of one picture",
            gigabytes=1.3,
        ),
    ),
    "depth_anything": (
        Source(
            repository="depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf",
            folder="depth_anything",
            files=("config.json", "model.safetensors"),
            about="another depth of one picture",
            gigabytes=0.1,
        ),
    ),
    "video_depth_anything": (
        Source(
            repository="depth-anything/Metric-Video-Depth-Anything-Small",
            folder="video_depth_anything",
            files=("metric_video_depth_anything_vits.pth",),
            about="depth of a video",
            gigabytes=0.1,
        ),
    ),
    "lpips": (
        Source(
            repository="https://download.pytorch.org/models",
            folder="lpips",
            files=("vgg16-397923af.pth",),
            about="the perceptual metric and loss",
            gigabytes=0.6,
            kind="url",
            checksums={"vgg16-397923af.pth": "sha256:397923af"},
            endpoint="LPIPS_ENDPOINT",
        ),
        Source(
            repository="https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/"
            "lpips/weights/v0.1",
            folder="lpips",
            files=("vgg.pth",),
            about="its linear layers",
            kind="url",
            endpoint="LPIPS_ENDPOINT",
        ),
    ),
    "demo": (
        # The published commands and the table of data sets read both folders there.
        Source(
            repository="nvidia/Lyra-Testing-Example",
            folder="assets/demo",
            files=("static/*", "dynamic/*"),
            about="the published demo inputs and clips, into assets/demo/static and .../dynamic",
            kind="dataset",
        ),
    ),
}

# The needs of the published commands; t5 is left out once its embeddings are made.
DEFAULT = ("gen3c", "tokenizer", "lyra", "t5", "moge")
GROUPS: dict[str, tuple[str, ...]] = {"training": ("tokenizer", "lpips"), "all": tuple(SOURCES)}


def expand(names: Iterable[str]) -> list[str]:
    """Returns the keys of `SOURCES` for names and groups, each once."""
    return list(dict.fromkeys(key for name in names for key in GROUPS.get(name, (name,))))


def gigabytes(names: Iterable[str]) -> float:
    """Returns the size of the named sources on the disk."""
    return sum(source.gigabytes for name in names for source in SOURCES[name])
