"""What can be downloaded: repositories, the files that are needed of them, where they belong.

Nothing heavy is imported here: the command's `--help` reads this table.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

TOKENIZER = "Cosmos-Tokenize1-CV8x8x8-720p"
# They belong to a repository and not to what it holds; here they would change the project's own.
NEVER = (".gitattributes", ".gitignore", "README.md")


@dataclass(frozen=True)
class Source:
    """A repository of the hub (or a base URL) and the files that are needed of it.

    `files` and `optional` are names or patterns; every one of `files` must match something.
    `folder` is relative to the checkpoint folder, or to the repository for `kind="dataset"`.
    `checksums` are `algorithm:beginning of the hexadecimal digest`, as this program was checked
    with. `endpoint` is the environment variable that names another base URL.
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
        """Whether a file of the repository is needed, or wanted where it exists."""
        if name.rpartition("/")[2] in NEVER:
            return False
        return any(fnmatchcase(name, pattern) for pattern in (*self.files, *self.optional))


SOURCES: dict[str, tuple[Source, ...]] = {
    "gen3c": (
        Source(
            "nvidia/GEN3C-Cosmos-7B",
            "Gen3C-Cosmos-7B",
            ("model.pt",),
            "the clip generator",
            14.5,
            optional=("config.json",),
            checksums={"model.pt": "md5:38644bf823aa5272acef60cfad8bc0f7"},
        ),
    ),
    "tokenizer": (
        Source(
            f"nvidia/{TOKENIZER}",
            TOKENIZER,
            ("encoder.jit", "decoder.jit", "mean_std.pt"),
            "the video tokenizer",
            0.3,
            checksums={
                "encoder.jit": "md5:f5834d03645c379bc0f8ad14b9bc0299",
                "decoder.jit": "md5:ff21a63ed817ffdbe4b6841111ec79a8",
                "mean_std.pt": "md5:f07680ad7eefae57d698778e2a0c7c96",
            },
        ),
    ),
    "lyra": (
        Source(
            "nvidia/Lyra",
            "Lyra",
            ("lyra_static.pt", "lyra_dynamic.pt"),
            "the two Gaussian decoders",
            0.3,
            checksums={
                "lyra_static.pt": "md5:28ddd05011b33350c70edab02c23c602",
                "lyra_dynamic.pt": "md5:91c1b3920332287ed161bc47a1fd7077",
            },
        ),
    ),
    "t5": (
        Source(
            "google-t5/t5-11b",
            "google-t5/t5-11b",
            ("config.json", "pytorch_model.bin", "spiece.model"),
            "the text encoder; the first run encodes two constant prompts with it (or "
            "scripts/make_text_embeddings.py does), after that only a prompt needs it; "
            "--disable_prompt_encoder of the generator is the way without",
            45.2,
            optional=("tokenizer.json", "tokenizer_config.json"),
            checksums={"pytorch_model.bin": "md5:f890878d8a162e0045a25196e27089a3"},
        ),
    ),
    "moge": (Source("Ruicheng/moge-vitl", "moge", ("model.pt",), "depth of one picture", 1.3),),
    "depth_anything": (
        Source(
            "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf",
            "depth_anything",
            ("config.json", "model.safetensors"),
            "another depth of one picture",
            0.1,
        ),
    ),
    "video_depth_anything": (
        Source(
            "depth-anything/Metric-Video-Depth-Anything-Small",
            "video_depth_anything",
            ("metric_video_depth_anything_vits.pth",),
            "depth of a video",
            0.1,
        ),
    ),
    "lpips": (
        Source(
            "https://download.pytorch.org/models",
            "lpips",
            ("vgg16-397923af.pth",),
            "the perceptual metric and loss",
            0.6,
            kind="url",
            checksums={"vgg16-397923af.pth": "sha256:397923af"},
            endpoint="LPIPS_ENDPOINT",
        ),
        Source(
            "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/"
            "lpips/weights/v0.1",
            "lpips",
            ("vgg.pth",),
            "its linear layers",
            kind="url",
            endpoint="LPIPS_ENDPOINT",
        ),
    ),
    "demo": (
        # The published commands and the data sets' registry look for both folders there.
        Source(
            "nvidia/Lyra-Testing-Example",
            "assets/demo",
            ("static/*", "dynamic/*"),
            "the published demo inputs and clips, into assets/demo/static and assets/demo/dynamic",
            kind="dataset",
        ),
    ),
}

# What the published commands need as they are typed; without t5 where its embeddings are kept.
DEFAULT = ("gen3c", "tokenizer", "lyra", "t5", "moge")
GROUPS: dict[str, tuple[str, ...]] = {"training": ("tokenizer", "lpips"), "all": tuple(SOURCES)}


def expand(names: Iterable[str]) -> list[str]:
    """The keys of `SOURCES` that names and groups stand for, each once."""
    return list(dict.fromkeys(key for name in names for key in GROUPS.get(name, (name,))))


def gigabytes(names: Iterable[str]) -> float:
    """What the named sources take on the disk."""
    return sum(source.gigabytes for name in names for source in SOURCES[name])
