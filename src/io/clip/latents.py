"""Latents on disk: the published `.pkl`, a torch zip archive around one pickled numpy array.

The array is float32 [1, channel, latent_frame, h, w].
"""

import pickle
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...runtime import InputError
from ..damage import open_archive, read_member, write_archive
from .pickled_array import unpickle_array

EXPECTED = "a torch zip archive of one pickled float32 array [1, channel, latent_frame, h, w]"


def read_latents(path: Path) -> Float[Tensor, "channel latent_frame h w"]:
    """The latents of one clip as stored: normalised latents times 0.5.

    Raises `InputError` for a missing, truncated or foreign file, a pickle with other globals than a
    numpy array needs (nothing is executed), another type or rank, non-finite values.
    """
    with open_archive(path, EXPECTED) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise InputError(path, f"{len(names)} members data.pkl", EXPECTED)
        program = read_member(path, archive, names[0], expected=EXPECTED)
    array = unpickle_array(path, program, EXPECTED)
    if array.ndim != 5 or array.shape[0] != 1 or array.size == 0:
        raise InputError(path, f"an array of shape {list(array.shape)}", EXPECTED)
    if not np.isfinite(array).all():
        raise InputError(path, "non-finite latents", "finite float32 latents")
    return torch.from_numpy(array[0])


def write_latents(path: Path, latents: Float[Tensor, "channel latent_frame h w"]) -> None:
    """Write finite latents of one clip atomically; `torch.load` returns them as a numpy array."""
    if not torch.isfinite(latents).all():
        raise InputError(path, "non-finite latents", "finite latents, are the weights sound?")
    array = np.ascontiguousarray(latents.detach().cpu().float().numpy())[None]
    # numpy 1 knows only `numpy.core`, newer versions both names. Protocol 3 is the last with the
    # name as a line of text and the first that stores bytes unchanged.
    program = pickle.dumps(array, protocol=3)
    new, old = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"
    assert program.count(old) + program[:64].count(new) == 1, f"unknown pickle {program[:64]!r}"
    members = [("data.pkl", program.replace(new, old, 1))]
    members += [("byteorder", b"little"), ("version", b"3\n")]
    write_archive(path, ((f"archive/{name}", content) for name, content in members))
