"""What can be downloaded: repositories, the files that are needed of them, where they belong.

Nothing heavy is imported here: the command's `--help` reads this table.
"""

from dataclasses import dataclass, field

TOKENIZER = "Cosmos-Tokenize1-CV8x8x8-720p"


@dataclass(frozen=True)
class Source:
    """A repository of the hub (or a base URL) and the files that are needed of it.

    `files` and `optional` are names or patterns; every one of `files` must match something.
    `folder` is relative to the checkpoint folder, or to the repository for `kind="dataset"`.
    `checksums` are `algorithm:beginning of the hexadecimal digest`.
    """

    repository: str
    folder: str
    files: tuple[str, ...]
    about: str
    optional: tuple[str, ...] = ()
    kind: str = "model"  # or "dataset" or "url"
    checksums: dict[str, str] = field(default_factory=dict)


SOURCES: dict[str, tuple[Source, ...]] = {
    "gen3c": (
        Source(
            "nvidia/GEN3C-Cosmos-7B",
            "Gen3C-Cosmos-7B",
            ("model.pt",),
            "the clip generator, 15 GB",
            optional=("config.json",),
            checksums={"model.pt": "md5:38644bf823aa5272acef60cfad8bc0f7"},
        ),
    ),
    "tokenizer": (
        Source(
            f"nvidia/{TOKENIZER}",
            TOKENIZER,
            ("encoder.jit", "decoder.jit", "mean_std.pt"),
            "the video tokenizer, 0.3 GB",
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
        ),
    ),
    "t5": (
        Source(
            "google-t5/t5-11b",
            "google-t5/t5-11b",
            ("config.json", "pytorch_model.bin", "spiece.model"),
            "the text encoder, 45 GB; needed for a prompt only",
            optional=("tokenizer.json", "tokenizer_config.json"),
            checksums={"pytorch_model.bin": "md5:f890878d8a162e0045a25196e27089a3"},
        ),
    ),
    "moge": (Source("Ruicheng/moge-vitl", "moge", ("model.pt",), "depth of one picture, 1.3 GB"),),
    "depth_anything": (
        Source(
            "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf",
            "depth_anything",
            ("config.json", "model.safetensors"),
            "another depth of one picture, 0.1 GB",
        ),
    ),
    "video_depth_anything": (
        Source(
            "depth-anything/Metric-Video-Depth-Anything-Small",
            "video_depth_anything",
            ("metric_video_depth_anything_vits.pth",),
            "depth of a video, 0.1 GB",
        ),
    ),
    "lpips": (
        Source(
            "https://download.pytorch.org/models",
            "lpips",
            ("vgg16-397923af.pth",),
            "the perceptual metric, 0.6 GB",
            kind="url",
            checksums={"vgg16-397923af.pth": "sha256:397923af"},
        ),
        Source(
            "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/"
            "lpips/weights/v0.1",
            "lpips",
            ("vgg.pth",),
            "its linear layers",
            kind="url",
        ),
    ),
    "demo": (
        Source(
            "nvidia/Lyra-Testing-Example",
            "assets/demo",
            ("*",),
            "demo inputs and clips, into assets/demo",
            kind="dataset",
        ),
    ),
}
