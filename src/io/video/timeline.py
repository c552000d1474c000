"""The frames of a video by number: their times of presentation and the key frames.

Packets come in decoding order and carry their time of presentation (`pts`). Packets that an edit
list cuts off are not counted. Where packets alone do not tell which of them become pictures, the
frames are counted by decoding.

MP4 files in fragments (`moof` boxes), as DASH, browsers and live recorders write them, list at most
the first fragment in the index at their head: neither the number of frames nor a cut file can be
told from it.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from io import BufferedReader
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from ...runtime import InputError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Containers with an index of their packets; seeking in others may miss the frame.
INDEXED_FORMATS = ("mp4", "matroska")
# Codecs in which every shown packet becomes one picture.
PLAIN_CODECS = ("h264", "hevc", "av1", "vp8", "vp9", "prores", "mjpeg", "png", "ffv1", "qtrle")
# A declared rate may be off by this factor: lost frames, a late first frame.
RATE_TOLERANCE = 1.5
AVERAGE_TOLERANCE = 0.1
# The bit of a VP8 packet that says whether its frame is shown.
VP8_SHOWN = 0x10
HEADER, LONG_HEADER = 8, 16
# Boxes with pictures or their positions; recorders append boxes of any name.
CONTENT = (b"moov", b"moof", b"mdat", b"sidx")
# The index of a day in fragments of a second has about a megabyte.
LONGEST_INDEX = 1 << 24


@dataclass(frozen=True)
class OpenVideo:
    """An open video file and its first video stream."""

    path: Path
    container: "InputContainer"
    stream: "VideoStream"


@dataclass(frozen=True)
class Timeline:
    """Times of presentation, ascending; key frames as (time, where to seek).

    `times` and `keys` are empty where frames can only be found by decoding from the start; `known`
    holds all times of packets. `num_packets` counts the packets that should become pictures;
    `exact` says that all of them do.
    """

    num_packets: int
    exact: bool
    known: list[int]
    times: list[int]
    keys: list[tuple[int, int]]


def read_timeline(video: OpenVideo) -> Timeline:
    """The timeline of a video, from all of its packets."""
    codec = video.stream.codec_context.name
    times: list[int | None] = []
    keys: list[tuple[int, int]] = []
    for packet in video.container.demux(video.stream):
        if packet.size == 0:
            continue
        # A key frame before the cut of an edit list may serve frames after it.
        if packet.is_keyframe and packet.pts is not None:
            keys.append((packet.pts, packet.pts if packet.dts is None else packet.dts))
        # The others are only references for frames that are shown.
        shown = codec != "vp8" or memoryview(packet)[0] & VP8_SHOWN
        if not packet.is_discard and shown:
            times.append(packet.pts)
    known = [time for time in times if time is not None]
    # Frames before the first key frame need others that were cut off.
    exact = bool(known and keys) and min(known) >= min(keys)[0]
    exact = exact and codec in PLAIN_CODECS and len(set(known)) == len(times)
    indexed = any(name in video.container.format.name for name in INDEXED_FORMATS)
    if not exact or not indexed or has_alpha_track(video.stream):
        return Timeline(len(times), exact, sorted(known), times=[], keys=[])
    return Timeline(len(times), exact, sorted(known), times=sorted(known), keys=sorted(keys))


def listed_times(video: OpenVideo) -> list[int] | None:
    """The times of decoding of all frames by the file's own index; None without an index."""
    if "mp4" not in video.container.format.name or is_fragmented(video.path):
        return None
    entries = video.stream.index_entries
    return [entry.timestamp for entry in entries if not entry.is_discard] if len(entries) else None


def frame_rate(video: OpenVideo, times: list[int], count: int) -> Fraction | None:
    """Frames per second: as declared if plausible, else by duration; `times` are the known ones."""
    measured = _measured_rate(video, sorted(times), count)
    declared, average = video.stream.guessed_rate, video.stream.average_rate
    if not average or not declared:
        return measured
    if abs(declared / average - 1) > AVERAGE_TOLERANCE:
        declared = average
    # Where frames were lost, the step between the others is still the declared one.
    usual = _usual_step(sorted(times)) * (video.stream.time_base or 0)
    ratios = (declared / measured, declared * usual) if measured else (1,)
    plausible = any(1 / RATE_TOLERANCE <= ratio <= RATE_TOLERANCE for ratio in ratios)
    return Fraction(declared) if plausible else measured


def has_alpha_track(stream: "VideoStream") -> bool:
    """Whether a WebM stream keeps its transparency beside the pictures."""
    return stream.metadata.get("alpha_mode") == "1"


def _measured_rate(video: OpenVideo, times: list[int], count: int) -> Fraction | None:
    step, duration = video.stream.time_base, video.container.duration
    if len(times) > 1 and times[-1] > times[0] and step:
        # The last frame is shown for the usual step.
        return len(times) / ((times[-1] - times[0] + _usual_step(times)) * step)
    return Fraction(count * 1_000_000, duration) if duration and duration > 0 else None


def _usual_step(times: list[int]) -> Fraction:
    """The median step between times; 0 without steps."""
    steps = [after - before for before, after in pairwise(times)]
    return Fraction(median(steps)) if steps else Fraction(0)


def is_fragmented(path: Path) -> bool:
    """Whether an MP4 file holds fragments, or announces some; `InputError` if it is truncated."""
    fragmented, promised = False, 0
    with path.open("rb") as file:
        length = file.seek(0, 2)
        for name, start, size in _boxes(file, length):
            if name == b"sidx":
                promised = max(promised, start + size + _indexed_bytes(file, start, size))
            if name in CONTENT:
                promised = max(promised, start + size)
            fragmented = fragmented or name in (b"moof", b"sidx")
            if name == b"moov":
                fragmented = fragmented or b"mvex" in _body(file, start, size)
    if fragmented and promised > length:
        raise InputError(path, f"{length} bytes (truncated)", f"at least {promised} bytes")
    return fragmented


def _boxes(file: BufferedReader, length: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and size of each box at the top of a file."""
    start = 0
    while start + HEADER <= length:
        file.seek(start)
        head = file.read(LONG_HEADER)
        size, name = struct.unpack(">I4s", head[:HEADER])
        if size == 1 and len(head) == LONG_HEADER:
            size = int.from_bytes(head[HEADER:], "big")
        elif size == 0:
            size = length - start
        if size < HEADER:
            return
        yield name, start, size
        start += size


def _indexed_bytes(file: BufferedReader, start: int, size: int) -> int:
    """The bytes that the segments after a segment index take, by the index."""
    body = _body(file, start, size)
    # Version and flags, two ids, then earliest time and first offset of 4 or 8 bytes each.
    wide = bool(body) and body[0] > 0
    begin = 12 + (8 if wide else 4)
    first = body[begin : begin + (8 if wide else 4)]
    count_at = begin + len(first) + 2
    count = int.from_bytes(body[count_at : count_at + 2], "big")
    entries = body[count_at + 2 : count_at + 2 + 12 * count]
    sizes = (int.from_bytes(entries[at : at + 4], "big") for at in range(0, len(entries), 12))
    # The first bit marks another index.
    return int.from_bytes(first, "big") + sum(size & 0x7FFFFFFF for size in sizes)


def _body(file: BufferedReader, start: int, size: int) -> bytes:
    file.seek(start + HEADER)
    return file.read(min(size - HEADER, LONGEST_INDEX))
