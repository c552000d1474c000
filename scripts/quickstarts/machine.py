"""What the machine has: GPU, memory, room on the disk, and who renders on it."""

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


def gpu_name() -> str:
    """The name of the first GPU that the driver knows; empty without one."""
    query = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.partition("\n")[0].strip()


def find_gpu() -> Gpu | None:
    """The GPU that a command would take; None where torch finds none."""
    done = subprocess.run([sys.executable, "-c", PROBE], stdout=subprocess.PIPE, text=True)
    last = done.stdout.strip().rpartition("\n")[2]
    return Gpu(*json.loads(last)) if done.returncode == 0 and last else None


def has_compiler() -> bool:
    """Whether there is the CUDA compiler, without which gsplat may not start."""
    home = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))
    return shutil.which("nvcc") is not None or shutil.which(home / "bin/nvcc") is not None


def available_memory() -> float:
    """GiB of the host's memory that programs can still take."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024 / GIB
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB


def free_disk(folder: Path) -> float:
    """Gigabytes (10^9 bytes) that are free where a folder is or will be."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free / 1e9
