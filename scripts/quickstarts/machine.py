"""The machine: GPU, CUDA compiler, memory and disk, read with the standard library alone."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30
# In a process of its own: a context on the GPU takes memory for as long as its process lives.
PROBE = """\
import json, torch
if torch.cuda.is_available():
    free, total = torch.cuda.mem_get_info()
    print(json.dumps([torch.cuda.get_device_name(), free / 2**30, total / 2**30]))
"""


@dataclass(frozen=True)
class Gpu:
    """A GPU that torch can use, and its memory in GiB."""

    name: str
    free: float
    total: float


def query_gpus(fields: str) -> list[str]:
    """Returns a line of nvidia-smi for each GPU of the driver; none if it fails."""
    command = ("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.strip().splitlines()


def find_gpu() -> Gpu | None:
    """Returns the GPU that a command would take, or None if torch finds none."""
    done = subprocess.run([sys.executable, "-c", PROBE], stdout=subprocess.PIPE, text=True)
    last = done.stdout.strip().rpartition("\n")[2]
    if done.returncode != 0 or not last:
        return None
    name, free, total = json.loads(last)
    return Gpu(name, free, total)


def find_compiler() -> str | None:
    """Returns the path of nvcc, without which gsplat may not start."""
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return shutil.which("nvcc") or shutil.which(f"{home}/bin/nvcc")


def total_memory() -> float:
    """Returns the GiB of the host's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB


def available_memory() -> float:
    """Returns the GiB of the host's memory that programs can still take."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024 / GIB
    return total_memory()


def free_disk(folder: Path) -> float:
    """Returns the gigabytes (10^9 bytes) that are free for a folder, which may not exist yet."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free / 1e9
