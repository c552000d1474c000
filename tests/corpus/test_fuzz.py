"""Damaged and hostile files of every kind: a reader gives a result or names the fault.

`FUZZ_EXAMPLES=20000` runs as many examples in the slow test, as `scripts/test.sh --all` does;
`FUZZ_SEED=7` makes all examples others.
"""

import json
import os
import re
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from corpus.generated import arrays, cameras
from corpus.seeds import Seed, _read_cameras, _read_depth, make_seeds
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from src.io.cameras.frame_table import read_intrinsics, read_poses
from src.runtime import InputError

SLOW_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "2000"))
SEED = os.environ.get("FUZZ_SEED")
LONGEST_SECONDS, MOST_BYTES = 10.0, 1 << 30
EXTREMES = [0, 1, -1, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, 10**12, 255, 65535]
NUMBERS = ["0", "-1", "1e400", "1e38", "-1e-30", "NaN", "Infinity", "true", "null", '"1"', "[]"]
NUMBERS += ["{}", "[[1]]", "9" * 5000, "9" * 400, "1e30", "0.5", '"\\ud800"']
NUMBERS += ["[" * 3000 + "]" * 3000]

Edit = tuple[str, float, int]


def damaged(content: bytes, edits: list[Edit]) -> bytes:
    """The bytes after some edits, each at a share of the length."""
    for kind, share, value in edits:
        place = int(share * len(content))
        if kind == "cut":
            content = content[:place]
        elif kind == "flip" and content:
            place = min(place, len(content) - 1)
            content = (
                content[:place] + bytes([content[place] ^ 1 << value % 8]) + content[place + 1 :]
            )
        elif kind == "number":
            form = ("<q", ">q", "<i", ">i", "<h", ">h")[value % 6]
            size = struct.calcsize(form)
            number = EXTREMES[value // 6 % len(EXTREMES)] & (256**size - 1)
            content = content[:place] + struct.pack(form.upper(), number) + content[place + size :]
        elif kind == "text":
            content = _other_number(content, share, NUMBERS[value % len(NUMBERS)])
        elif kind == "drop":
            content = content[:place] + content[place + value % 64 :]
        elif kind == "repeat":
            content = content[:place] + content[place : place + value % 64] * 2 + content[place:]
    return content


def _other_number(content: bytes, share: float, text: str) -> bytes:
    """The text with one of its numbers replaced; only of files that are text."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", content)) if content[:1] in b"{[p" else []
    if not found:
        return content
    match = found[min(int(share * len(found)), len(found) - 1)]
    return content[: match.start()] + text.encode() + content[match.end() :]


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["cut", "flip", "flip", "number", "number", "text", "drop", "repeat"]),
        st.floats(0, 1),
        st.integers(0, 10_000),
    ),
    min_size=1,
    max_size=3,
)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Seed]:
    return make_seeds(tmp_path_factory.mktemp("seeds"))


def check(seed: Seed, content: bytes, folder: Path) -> None:
    """Read a file of this content; whatever comes out but a result or an `InputError` fails."""
    path = folder / f"damaged{seed.suffix}"
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    try:
        seed.read(path)
    except InputError as error:
        text = str(error)
        assert "damaged" in text or "input" in text, f"no file named: {text}"
        assert text.count("\n") < 3, text
    finally:
        for index in folder.glob("*.index"):
            index.unlink()
    assert time.monotonic() - start < LONGEST_SECONDS, "no end"
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < MOST_BYTES, f"{grown} bytes of memory"


def fuzz(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The settings of a test: equal examples in every run, or those of `FUZZ_SEED`."""
    health = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    chosen = settings(
        max_examples=examples,
        deadline=None,
        derandomize=SEED is None,
        suppress_health_check=health,
        phases=[Phase.explicit, Phase.generate],
    )
    return chosen if SEED is None else lambda test: seeded(int(SEED))(chosen(test))


def test_whole_seeds_are_read(seeds: list[Seed], tmp_path: Path) -> None:
    """A fuzz test whose files are refused for another reason than their damage."""
    for seed in seeds:
        path = tmp_path / f"whole{seed.suffix}"
        path.write_bytes(seed.content)
        seed.read(path)
        path.unlink()


@given(data=st.data())
@fuzz(300)
def test_damage_is_named_in_small(seeds: list[Seed], tmp_path: Path, data: st.DataObject) -> None:
    """A traceback out of a damaged file; the kinds that are read in a moment."""
    quick = [seed for seed in seeds if seed.suffix not in (".mp4", ".mkv", ".webm", ".mov")]
    seed = quick[data.draw(st.integers(0, len(quick) - 1))]
    check(seed, damaged(seed.content, data.draw(EDITS)), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@given(data=st.data())
@fuzz(SLOW_EXAMPLES)
def test_damage_is_named(seeds: list[Seed], tmp_path: Path, data: st.DataObject) -> None:
    """A traceback, a hang or a full memory out of a damaged file of any kind."""
    seed = seeds[data.draw(st.integers(0, len(seeds) - 1))]
    check(seed, damaged(seed.content, data.draw(EDITS)), tmp_path)


VALUES = st.one_of(
    st.floats(width=32), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.none(), st.text()
)
TREES = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=4), max_leaves=16)


@given(data=st.data())
@fuzz(150)
def test_other_types_are_named(tmp_path: Path, data: st.DataObject) -> None:
    """Values of another type or depth in a camera file: a traceback of numpy's."""
    key = data.draw(st.sampled_from(["c2w", "intrinsics", "width", "fps", "times", "frames"]))
    path = tmp_path / "damaged.json"
    cameras(**{key: data.draw(TREES)})(path)
    check(Seed("types", ".json", b"", _read_cameras), path.read_bytes(), tmp_path)


SHAPES = st.lists(st.integers(0, 7), max_size=5)
KINDS = st.sampled_from(["f2", "f4", "f8", "i1", "i8", "u8", "?", "c8", "U3", "S2", "M8[s]", ">f4"])


@given(data=st.data())
@fuzz(200)
def test_other_shapes_are_named(tmp_path: Path, data: st.DataObject) -> None:
    """Arrays of another shape or type where depth, poses or lenses are expected."""
    names, read = data.draw(
        st.sampled_from(
            [
                (("depth", "intrinsics", "K"), _read_depth),
                (("data", "inds"), read_poses),
                (("data", "inds"), read_intrinsics),
                (("c2w", "intrinsics", "width", "height"), _read_cameras),
            ]
        )
    )
    values = {}
    for name in names:
        shape, kind = tuple(data.draw(SHAPES)), data.draw(KINDS)
        generator = np.random.default_rng(data.draw(st.integers(0, 5)))
        with np.errstate(all="ignore"):
            values[name] = (generator.normal(size=shape) * 100).astype(kind)
    path = tmp_path / "damaged.npz"
    arrays(**values)(path)
    check(Seed("shapes", ".npz", b"", read), path.read_bytes(), tmp_path)


def test_hostile_numbers_in_json(tmp_path: Path) -> None:
    """Every number of a camera file replaced by every extreme one."""
    path = tmp_path / "damaged.json"
    cameras(times=[0, 1], fps=30.0)(path)
    content = path.read_bytes()
    assert json.loads(content)["fps"] == 30
    places = len(re.findall(rb"-?\d+(\.\d+)?", content))
    seed = Seed("numbers", ".json", content, _read_cameras)
    for index in range(0, places, 5):
        for text in NUMBERS:
            check(seed, _other_number(content, index / places, text), tmp_path)
