"""Say what this machine has for the project: `python scripts/check_environment.py`.

One line for each requirement: found, missing, too old, too new or low; the version; the loss
without it. The exit code is 1 only if a core requirement is not met. The script needs the standard
library alone and imports neither torch nor gsplat.
"""

import importlib.metadata
import importlib.util
import re
import runpy
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "scripts")]
GIB = 2**30
OPERATORS = {">=": "too old", "<": "too new"}
# The loss without a package of pyproject.toml.
LOST = {
    "accelerate": "training and multi-GPU runs",
    "av": "reading and writing of videos",
    "diffusers": "the generator",
    "huggingface_hub": "the download of weights",
    "omegaconf": "every command that reads a config",
    "openexr": "reading and writing of depth archives",
    "pillow": "reading and writing of pictures",
    "plyfile": "reading and writing of PLY files",
    "safetensors": "loading of weights",
    "tqdm": "progress bars, which every command shows",
    "transformers": "text prompts",
    "gsplat": "fast rendering (the CPU twin renders, slowly)",
    "tensorboard": "training curves",
    "peft": "low-rank fine-tuning",
    "gaussforge": "the page that shows scenes, and compressed exports",
    "fourdgs": "exports to .glb and .4dgs",
    "usd-core": "exports to OpenUSD",
}
# The loss for the other packages of an extra; "" are the core requirements.
LOST_WITHOUT_EXTRA = {"": "everything", "dev": "scripts/test.sh", "heic": "pictures in HEIC"}
TOKENIZER = "Cosmos-Tokenize1-CV8x8x8-720p"
# Folders of weights, any of which suffices, and the loss without them.
WEIGHTS = {
    ("assets/nano",): "the quickstart and all nano commands, which run on a CPU",
    ("checkpoints/Gen3C-Cosmos-7B", "checkpoints/GEN3C-Cosmos-7B"): "the full-size generator",
    (f"checkpoints/{TOKENIZER}", f"checkpoints/cosmos_predict1/{TOKENIZER}"): (
        "the full-size tokenizer"
    ),
    ("checkpoints/text_embeddings",): "full-size runs without T5 (T5 makes them)",
    ("checkpoints/google-t5/t5-11b", "checkpoints/t5"): "full-size text prompts",
    ("checkpoints/moge",): "the published depth (the first run fetches it, 1.3 GB)",
    ("checkpoints/Lyra",): "the full-size decoder",
    ("checkpoints/lpips",): "the perceptual loss and metric",
}
# GiB of three layers of T5-11b, two at work and one that is read.
T5_GIB = 2.7
# GiB of the transformer of 7.24 billion parameters in bfloat16, which streams to a small GPU.
STREAMED_GIB = 13.5
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".jit")


class EnvironmentFinding(NamedTuple):
    """One requirement: `state` is found, missing, too old, too new or low."""

    name: str
    state: str
    version: str
    lost: str
    core: bool = False

    def __str__(self) -> str:
        kind = "core" if self.core else "optional"
        requirement = f"{self.name} {self.version}".strip()
        return f"{self.state:8} {kind:8} {requirement}; lost without it: {self.lost}"


def release(version: str) -> tuple[int, ...]:
    """Returns the leading numbers without trailing zeros: (2, 13) of "2.13.0+cpu"."""
    match = re.match(r"\d+(\.\d+)*", version)
    if match is None:
        raise ValueError(f"version: got {version!r}, expected one that begins with a number")
    return tuple(int(part) for part in re.sub(r"(\.0+)+$", "", match.group()).split("."))


def judge(version: str, bounds: str) -> str:
    """Returns `found`, or how `version` breaks one of the bounds of e.g. ">=1.5.3,<1.6"."""
    for bound in filter(None, bounds.split(",")):
        match = re.fullmatch(r"\s*(>=|<)\s*([\d.]+)\s*", bound)
        if match is None:
            raise ValueError(f"version bound: got {bound!r}, expected >= or < and numbers")
        operator, limit = match.groups()
        if (release(version) < release(limit)) == (operator == ">="):
            return OPERATORS[operator]
    return "found"


def check_package(requirement: str, lost: str, core: bool = False) -> EnvironmentFinding:
    """Judges the installed version of a requirement as pyproject.toml writes it."""
    match = re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])?([^\[\];]*)", requirement)
    if match is None:
        raise ValueError(f"requirement: got {requirement!r}, expected NAME[EXTRA]BOUNDS")
    name, bounds = match.groups()
    needed = f"({bounds or 'any version'} needed)"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return EnvironmentFinding(name, "missing", needed, lost, core)
    return EnvironmentFinding(name, judge(version, bounds), f"{version} {needed}", lost, core)


def check_packages(project: dict) -> list[EnvironmentFinding]:
    """Judges python, the core dependencies and every extra of pyproject's `project` table."""
    version, bounds = sys.version.split()[0], project["requires-python"]
    findings = [
        EnvironmentFinding("python", judge(version, bounds), f"{version} ({bounds})", "all", True)
    ]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    for extra, requirements in groups.items():
        for requirement in requirements:
            name = re.split(r"[^\w.-]", requirement)[0].lower()
            lost = LOST.get(name) or LOST_WITHOUT_EXTRA[extra]
            findings.append(check_package(requirement, lost, core=not extra))
    return findings


def check_cuda() -> list[EnvironmentFinding]:
    """Looks for a GPU with its driver, a torch that can use it, and compilers of kernels."""
    from quickstarts.machine import find_compiler, query_gpus

    spec = importlib.util.find_spec("torch")
    cuda = ""
    if spec is not None and spec.origin is not None:
        # Without importing torch.
        cuda = runpy.run_path(str(Path(spec.origin).with_name("version.py")))["cuda"]
    found = {
        "CUDA device and driver": (
            " | ".join(query_gpus("name,memory.total,driver_version")),
            "the full size; speed at the nano size",
        ),
        "CUDA build of torch": (cuda, "use of the GPU"),
        "CUDA compiler nvcc": (
            find_compiler(),
            "gsplat, unless it was installed with its kernels compiled",
        ),
    }
    return [
        EnvironmentFinding(name, "found" if version else "missing", version or "", lost)
        for name, (version, lost) in found.items()
    ] + [check_package("triton", "the fast Mamba-2 scan (the torch twin scans, slowly)")]


def check_weights(repository: Path) -> list[EnvironmentFinding]:
    """Looks for weights in their folders; a model card alone counts as missing."""
    findings = []
    for folders, lost in WEIGHTS.items():
        paths = [path for folder in folders for path in (repository / folder).rglob("*")]
        files = [path for path in paths if path.suffix in WEIGHT_SUFFIXES and path.is_file()]
        size = sum(path.stat().st_size for path in files)
        text = f"{len(files)} files, {size / GIB:.2f} GiB" if files else ""
        findings.append(EnvironmentFinding(folders[0], "found" if files else "missing", text, lost))
    return findings


def check_room(repository: Path) -> list[EnvironmentFinding]:
    """Judges free disk space and memory (GiB)."""
    from downloads.catalogue import DEFAULT, gigabytes
    from quickstarts.machine import total_memory

    disk, download = shutil.disk_usage(repository).free / GIB, gigabytes(DEFAULT) * 1e9 / GIB
    memory = total_memory()
    rows = (
        ("free disk space", disk, download, "room for the full-size weights"),
        ("memory", memory, STREAMED_GIB, "the full size on a GPU that streams its transformer"),
        ("memory for T5-11b", memory, T5_GIB, "prompts at the full size"),
    )
    findings = []
    for name, have, need, lost in rows:
        text = f"{have:.0f} GiB ({need:.0f} needed)"
        findings.append(EnvironmentFinding(name, "found" if have >= need else "low", text, lost))
    return findings


def exit_code(findings: list[EnvironmentFinding]) -> int:
    """Returns 1 if a core requirement is not met, else 0."""
    return int(any(finding.core and finding.state != "found" for finding in findings))


def main() -> int:
    """Prints a line for each requirement; returns the exit code."""
    from src.entry import manual_parser

    manual_parser(__doc__).parse_args()
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    moge = "found" if importlib.util.find_spec("moge") else "missing"
    findings = [
        *check_packages(project),
        *check_cuda(),
        # No requirement of the project: scripts/setup.sh installs it.
        EnvironmentFinding(
            "moge", moge, "", "the published depth of pictures (README, section Depth)"
        ),
        *check_weights(REPOSITORY),
        *check_room(REPOSITORY),
    ]
    print(*findings, sep="\n")
    return exit_code(findings)


if __name__ == "__main__":
    if importlib.util.find_spec("tomllib") is None:
        # The modules below need it too.
        print(
            EnvironmentFinding(
                "python", "too old", f"{sys.version.split()[0]} (>=3.11)", "all", True
            )
        )
        sys.exit(1)
    from src.entry import run_entry

    run_entry(main, "check_environment.py")
