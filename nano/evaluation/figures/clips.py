"""The figures of clips: coded ones, generated ones, and warps with filled holes.

Clips are compared with the exact ones of the worlds. The first frame of a generated clip is given
to the generator and therefore left out.
"""

from collections.abc import Sequence

from src.evaluation.hole_filling import fill_nearest
from src.evaluation.masked import channel_errors, clip_errors

from ...clips.sampling import ClipStarts
from ..inputs import Mask, Video
from ..ledger import Ledger


def record_tokenizer(
    ledger: Ledger, kind: str, seeds: Sequence[int], coded: Video, truth: Video
) -> None:
    """Keep the errors of coded clips, in RGB, luma and chroma."""
    ledger.add(f"tokenizer.{kind}.rgb", seeds, clip_errors(coded, truth))
    for name, errors in channel_errors(coded, truth).items():
        ledger.add(f"tokenizer.{kind}.{name}", seeds, errors)


def record_clips(
    ledger: Ledger, name: str, seeds: Sequence[int], pair: tuple[Video, Video], visible: Mask
) -> None:
    """Keep the errors of clips: of all pixels, the visible, the hidden, and of the last frame.

    `pair` is the clips and the truth; `visible` are the pixels that the input shows.
    """
    ours, theirs, seen = pair[0][:, :, 1:], pair[1][:, :, 1:], visible[:, 1:]
    ledger.add(f"{name}.all", seeds, clip_errors(ours, theirs))
    ledger.add(f"{name}.visible", seeds, clip_errors(ours, theirs, seen))
    ledger.add(f"{name}.hidden", seeds, clip_errors(ours, theirs, ~seen))
    ledger.add(f"{name}.last", seeds, clip_errors(ours[:, :, -1:], theirs[:, :, -1:]))


def filled_warps(starts: ClipStarts) -> Video:
    """Warps whose holes have taken the colour of the nearest pixel."""
    return fill_nearest((starts.image + 1) / 2, starts.mask).transpose(1, 2)
