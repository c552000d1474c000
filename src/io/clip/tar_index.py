"""The index of a tar part: where its members lie, so that they are read without extracting.

One example needs files of several trajectories, which may lie in different parts, so parts are not
read from front to back.
"""

import hashlib
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Shaped

from ...runtime import InputError, get_logger
from ..atomic import atomic_path
from ..damage import DAMAGES, check_file

LOGGER = get_logger(__name__)
EXPECTED = "a whole, uncompressed tar file"
INDEX_SUFFIX = ".index"
CACHE = Path("lyra") / "tar_index"


@dataclass(frozen=True)
class TarIndex:
    """The regular files of one part in the order of their names (UTF-8)."""

    names: Shaped[np.ndarray, " member"]
    offsets: Int64[np.ndarray, " member"]
    sizes: Int64[np.ndarray, " member"]


def read_index(part: Path) -> TarIndex:
    """The index of a part: stored in `<part>.index` or the cache folder, or scanned and stored.

    The cache folder (`XDG_CACHE_HOME`) takes the index where nothing can be written beside the
    part. An index of another state of the part is not used. Raises as `scan_part`.
    """
    check_file(part, EXPECTED)
    status = part.stat()
    stamp = np.array([status.st_size, status.st_mtime_ns])
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256(str(part.resolve()).encode()).hexdigest()[:32]
    cached = Path(folder) / CACHE / f"{digest}{INDEX_SUFFIX}"
    places = [part.with_name(part.name + INDEX_SUFFIX), cached]
    for place in places:
        index = _load(place, stamp)
        if index is not None:
            return index
    LOGGER.info("%s is indexed once, so that later runs read it by offset", part)
    index = scan_part(part)
    for place in places:
        try:
            with atomic_path(place) as temporary, temporary.open("wb") as file:
                np.savez(file, stamp=stamp, **vars(index))
        except OSError as error:
            LOGGER.info("no index at %s: %s", place, error)
            continue
        break
    return index


def scan_part(part: Path) -> TarIndex:
    """The index of a part from its headers; `InputError` for damage, links and unsafe names."""
    size = part.stat().st_size
    found: dict[str, tuple[int, int]] = {}
    end = 0
    try:
        with tarfile.open(part, "r:") as archive:
            for member in archive:
                end = member.offset_data
                if not member.isdir():
                    name = _checked(part, member)
                    if name in found:
                        raise InputError(part, f"{name!r} twice", "every file once")
                    found[name] = (member.offset_data, member.size)
                    # Contents are padded to whole blocks.
                    end += -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if end > size:
                    break
    except (tarfile.TarError, EOFError, OSError) as error:
        # The last complete header gives a lower limit of the part's length.
        least = f"; at least {end} bytes, it has {size}" if end >= size else ""
        raise InputError(part, f"unreadable ({error})", EXPECTED + least) from error
    # A part ends with empty blocks; one that was cut between two files lacks them.
    if size < end + tarfile.BLOCKSIZE:
        expected = f"at least {end + tarfile.BLOCKSIZE} bytes, {EXPECTED}"
        raise InputError(part, f"{size} bytes (truncated)", expected)
    names = sorted(found, key=str.encode)
    table = np.array([found[name] for name in names], dtype=np.int64).reshape(-1, 2)
    encoded = np.array([name.encode() for name in names], dtype=bytes)
    return TarIndex(names=encoded, offsets=table[:, 0].copy(), sizes=table[:, 1].copy())


def _checked(part: Path, member: tarfile.TarInfo) -> str:
    """The name of a member without a leading `./`."""
    name = member.name.removeprefix("./")
    if not member.isreg() or member.issparse():
        raise InputError(part, f"{name!r}, a link or special file", "regular files and folders")
    steps = name.split("/")
    if not name or "" in steps or "." in steps or ".." in steps or "\0" in name:
        raise InputError(part, f"the name {member.name!r}", "names below the folder of the clips")
    return name


def _load(place: Path, stamp: Int64[np.ndarray, "2"]) -> TarIndex | None:
    """A stored index; None if there is none, or one of another state of the part."""
    if not place.is_file():
        return None
    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            if not np.array_equal(stored["stamp"], stamp):
                return None
            return TarIndex(stored["names"], stored["offsets"], stored["sizes"])
    except DAMAGES as error:
        LOGGER.warning("%s: unreadable, made anew (%s)", place, error)
        return None
