"""Encoded Pluecker maps that are kept, against those that are encoded anew."""

import torch
from torch import Tensor

from src.geometry.cameras import Cameras
from src.tokenizer.latents import PlueckerEncoder, encode_pluecker

CPU = torch.device("cpu")


class CountedEncoder:
    """Every eighth frame, row and column; `leak` adds what a place in the batch would do."""

    def __init__(self, leak: float = 0.0) -> None:
        self.leak, self.calls = leak, []

    def __call__(self, video: Tensor) -> Tensor:
        self.calls.append(len(video))
        places = torch.arange(len(video)).view(-1, 1, 1, 1, 1)
        return video[:, :, ::8, ::8, ::8] + self.leak * places


def cameras(seed: int, count: int = 3, width: int = 24) -> Cameras:
    c2w = torch.eye(4).repeat(count, 9, 1, 1)
    c2w[..., :3, 3] = torch.rand(count, 9, 3, generator=torch.Generator().manual_seed(seed))
    return Cameras(c2w, torch.tensor([20.0, 20.0, width / 2, 8.0]).repeat(count, 9, 1), width, 16)


def alone(seen: Cameras) -> Tensor:
    encoder = CountedEncoder()
    return torch.stack([encode_pluecker(encoder, seen[index]) for index in range(len(seen))])


def test_kept_latents_are_fresh_ones_in_their_order() -> None:
    """Latents of another trajectory, or of the same one encoded twice."""
    encode, seen = CountedEncoder(), cameras(1)
    encoder = PlueckerEncoder(encode, keep_bytes=1 << 20)
    expected = alone(seen)
    assert torch.equal(encoder(seen, CPU), expected)
    assert encode.calls == [2, 2, 2]
    order = torch.tensor([2, 0, 2, 1])
    assert torch.equal(encoder(seen[order], CPU), expected[order])
    both = Cameras.concatenate([cameras(2, 1), seen[:1], cameras(2, 1)])
    assert torch.equal(encoder(both, CPU), alone(both))
    assert encode.calls == [2, 2, 2, 2]
    # What is kept holds no more memory than it counts.
    stored = [tensor.untyped_storage().nbytes() for tensor in encoder.kept._tensors.values()]
    assert encoder.kept.bytes == sum(stored) == 4 * expected[0].nbytes


def test_every_part_of_a_camera_decides() -> None:
    """Trajectories of another lens, pose or size that are taken for a known one."""
    encoder = PlueckerEncoder(CountedEncoder(), keep_bytes=1 << 20)
    seen = cameras(1, 1)
    lens = Cameras(seen.c2w, seen.intrinsics * 1.001, 24, 16)
    moved = Cameras(seen.c2w.clone(), seen.intrinsics, 24, 16)
    moved.c2w[0, 8, 0, 3] += 1e-6
    wide = Cameras(seen.c2w, seen.intrinsics, 32, 16)
    for each in (seen, lens, moved, wide, seen):
        assert torch.equal(encoder(each, CPU), alone(each))
    assert len(encoder.kept) == 4


def test_little_room_changes_no_latent() -> None:
    """A batch larger than the store, which loses its own first latents."""
    seen = cameras(1)
    expected = alone(seen)
    for room in (0, expected[0].nbytes, 2 * expected[0].nbytes):
        encoder = PlueckerEncoder(CountedEncoder(), keep_bytes=room)
        for _ in range(2):
            assert torch.equal(encoder(seen, CPU), expected)
            assert encoder.kept.bytes <= room


def test_groups_are_full_or_of_one() -> None:
    """Latents that depend on what was encoded beside them: a resumed run would differ."""
    device = torch.device("cpu")
    for leak, together in ((0.0, True), (1e-3, False)):
        encode = CountedEncoder(leak)
        encoder = PlueckerEncoder(encode, keep_bytes=1 << 20)
        assert encoder._is_alone_in(8, (9, 16, 24), device) == together
    encoder._groups[9, 16, 24] = 4
    encode.leak, encode.calls = 0.0, []
    seen = cameras(3, 6)
    assert torch.equal(encoder(seen, CPU), alone(seen))
    assert encode.calls == [8, 8]


def test_without_room_all_go_together() -> None:
    """Sampling that encodes one trajectory after the other."""
    encode = CountedEncoder()
    seen = cameras(1)
    assert torch.equal(PlueckerEncoder(encode)(seen, CPU), alone(seen))
    assert encode.calls == [6]
