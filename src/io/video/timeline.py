"""The frames of a video by number: their times of presentation and the key frames.

Packets come in decoding order and carry their time of presentation (`pts`). Packets that an edit
list cuts off are not counted. Where packets alone do not tell which of them become pictures, the
frames are counted by decoding.
"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from .fragments import is_fragmented

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
