"""Say what this machine has for the project: `python scripts/check_environment.py`.

One line for each requirement: found, missing, too old or too new; the version; what is lost
without it. The exit code is 1 only where a core requirement is not met. The script needs the
standard library alone, and it neither imports torch nor gsplat.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
GIB = 2**30
OPERATORS = {">=": "too old", "<": "too new"}
# What is lost without each package of pyproject.toml.
LOST = {
    "accelerate": "training and multi-GPU runs",
    "av": "reading and writing of videos",
    "diffusers": "the tokenizer and the generator",
    "einops": "everything",
    "huggingface_hub": "the download of weights",
    "jaxtyping": "everything",
    "numpy": "everything",
    "omegaconf": "every command that reads a config",
    "openexr": "reading and writing of depth archives",
    "pillow": "reading and writing of pictures",
    "plyfile": "reading and writing of PLY files",
    "safetensors": "loading of weights",
    "torch": "everything",
    "tqdm": "progress bars, which every command shows",
    "transformers": "text prompts",
    "gsplat": "fast rendering (the CPU twin renders, slowly)",
    "tensorboard": "training curves",
    "peft": "low-rank fine-tuning",
    "viser": "the browser viewer",
}
LOST_WITHOUT_EXTRA = {"dev": "scripts/test.sh", "heic": "pictures in HEIC"}
TOKENIZER = "Cosmos-Tokenize1-CV8x8x8-720p"
# Folders of weights, any of which will do, and what is lost without them.
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
T5_FILES = tuple(f"checkpoints/{name}/pytorch_model.bin" for name in ("google-t5/t5-11b", "t5"))
# Of T5-11b's pytorch_model.bin, and of its encoder alone in float32.
T5_GIB, ENCODER_GIB = 45.2e9 / GIB, 18.1
# The transformer of 7.24 billion parameters in bfloat16, where it streams to a small GPU.
STREAMED_GIB = 13.5
# A folder with a model card alone has no weights.
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".jit")


class Finding(NamedTuple):
    """One requirement: `state` is found, missing, too old, too new or low."""

    name: str
    state: str
    version: str
    lost: str
    core: bool = False

    def __str__(self) -> str:
        kind = "core" if self.core else "optional"
        what = f"{self.name} {self.version}".strip()
        return f"{self.state:8} {kind:8} {what}; lost without it: {self.lost}"


def release(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with, without trailing zeros: "2.13.0+cpu" is (2, 13)."""
    match = re.match(r"\d+(\.\d+)*", version)
    if match is None:
        raise ValueError(f"version: got {version!r}, expected one that begins with a number")
    return tuple(int(part) for part in re.sub(r"(\.0+)+$", "", match.group()).split("."))


def judge(version: str, bounds: str) -> str:
    """`found` where `version` keeps every bound of e.g. ">=1.5.3,<1.6", else how it breaks one."""
    for bound in filter(None, bounds.split(",")):
        match = re.fullmatch(r"\s*(>=|<)\s*([\d.]+)\s*", bound)
        if match is None:
            raise ValueError(f"version bound: got {bound!r}, expected >= or < and numbers")
        operator, limit = match.groups()
        if (release(version) < release(limit)) == (operator == ">="):
            return OPERATORS[operator]
    return "found"


def check_package(requirement: str, lost: str, core: bool) -> Finding:
    """Judge the installed version of a requirement as pyproject.toml writes it."""
    match = re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])?([^\[\];]*)", requirement)
    if match is None:
        raise ValueError(f"requirement: got {requirement!r}, expected NAME[EXTRA]BOUNDS")
    name, bounds = match.groups()
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "missing", f"({bounds or 'any version'} needed)", lost, core)
    state = judge(version, bounds)
    return Finding(name, state, f"{version} ({bounds or 'any version'} needed)", lost, core)


def check_packages(project: dict) -> list[Finding]:
    """Judge python, the core dependencies and every extra of pyproject's `project` table."""
    version, bounds = sys.version.split()[0], project["requires-python"]
    findings = [Finding("python", judge(version, bounds), f"{version} ({bounds})", "all", True)]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    for extra, requirements in groups.items():
        for requirement in requirements:
            name = re.split(r"[^\w.-]", requirement)[0].lower()
            lost = LOST.get(name) or LOST_WITHOUT_EXTRA[extra]
            findings.append(check_package(requirement, lost, core=not extra))
    return findings


def output_of(*command: str) -> str:
    """What the command prints, or nothing where it is missing, fails or takes over 20 s."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def torch_cuda() -> str:
    """The CUDA version that the installed torch is built for, read without importing torch."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return ""
    return runpy.run_path(str(Path(spec.origin).with_name("version.py")))["cuda"] or ""


def check_cuda() -> list[Finding]:
    """Look for a GPU with its driver, a torch that can use it, and gsplat's compiler."""
    query = "--query-gpu=name,memory.total,driver_version"
    devices = output_of("nvidia-smi", query, "--format=csv,noheader").splitlines()
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    found = {
        "CUDA device and driver": (" | ".join(devices), "the full size; speed at the nano size"),
        "CUDA build of torch": (torch_cuda(), "use of the GPU"),
        "CUDA compiler nvcc": (
            shutil.which("nvcc") or shutil.which(f"{home}/bin/nvcc") or "",
            "gsplat, unless it was installed with its kernels compiled",
        ),
    }
    return [
        Finding(name, "found" if version else "missing", version, lost)
        for name, (version, lost) in found.items()
    ]


def check_triton() -> Finding:
    """Triton, which comes with torch where torch is a CUDA build for Linux."""
    name, lost = "triton", "the fast Mamba-2 scan (the torch twin scans, slowly)"
    try:
        return Finding(name, "found", importlib.metadata.version(name), lost)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "missing", "", lost)


def check_moge() -> Finding:
    """Look for MoGe, which scripts/setup.sh installs by itself, without its requirements."""
    state = "found" if importlib.util.find_spec("moge") else "missing"
    return Finding("moge", state, "", "the published depth of pictures (README, section Depth)")


def check_weights(repository: Path) -> list[Finding]:
    """Look for weights in their folders; one without files of weights counts as missing."""
    findings = []
    for folders, lost in WEIGHTS.items():
        paths = [path for folder in folders for path in (repository / folder).rglob("*")]
        files = [path for path in paths if path.suffix in WEIGHT_SUFFIXES and path.is_file()]
        size = sum(path.stat().st_size for path in files)
        text = f"{len(files)} files, {size / GIB:.2f} GiB" if files else ""
        findings.append(Finding(folders[0], "found" if files else "missing", text, lost))
    return findings


def t5_memory(repository: Path) -> tuple[float, str]:
    """GiB of memory that T5-11b takes while it is loaded, and why so much."""
    files = [repository / name for name in T5_FILES if (repository / name).is_file()]
    if not files:
        return T5_GIB, "pytorch_model.bin is not here; it takes its size, unless it can be mapped"
    if zipfile.is_zipfile(files[0]):
        return ENCODER_GIB, "pytorch_model.bin can be mapped, so the encoder alone counts"
    size = files[0].stat().st_size / GIB
    return max(size, ENCODER_GIB), "pytorch_model.bin is an old pickle, which cannot be mapped"


def download_gib() -> float:
    """GiB of the weights that the full size needs, by the table of the downloads."""
    sys.path.insert(0, str(REPOSITORY / "scripts"))
    from downloads.catalogue import DEFAULT, gigabytes

    return gigabytes(DEFAULT) * 1e9 / GIB


def check_room(repository: Path) -> list[Finding]:
    """Judge free disk space and memory (GiB)."""
    disk = shutil.disk_usage(repository).free / GIB
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    text_memory, why = t5_memory(repository)
    rows = (
        ("free disk space", disk, download_gib(), "room for the full-size weights"),
        ("memory", memory, STREAMED_GIB, "the full size on a GPU that streams its transformer"),
        ("memory for T5-11b", memory, text_memory, f"prompts at the full size: {why}"),
    )
    return [
        Finding(
            name, "found" if have >= need else "low", f"{have:.0f} GiB ({need:.0f} needed)", lost
        )
        for name, have, need, lost in rows
    ]


def exit_code(findings: list[Finding]) -> int:
    """1 where a core requirement is not met, else 0."""
    return int(any(finding.core and finding.state != "found" for finding in findings))


def main() -> int:
    """Print a line for each requirement and return the exit code."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    try:
        import tomllib
    except ModuleNotFoundError:
        print(Finding("python", "too old", f"{sys.version.split()[0]} (>=3.11)", "all", True))
        return 1
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    findings = [
        *check_packages(project),
        *check_cuda(),
        check_triton(),
        check_moge(),
        *check_weights(REPOSITORY),
        *check_room(REPOSITORY),
    ]
    print(*findings, sep="\n")
    return exit_code(findings)


if __name__ == "__main__":
    sys.exit(main())
