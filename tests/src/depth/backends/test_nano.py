"""The small depth network: its size, its shapes, its files."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from src.depth.backends.nano import NanoDepth, NanoDepthConfig, load_nano_depth, save_nano_depth
from src.runtime import InputError

TINY = NanoDepthConfig(widths=(4, 8, 8, 8), blocks=(1, 1, 1, 1), heads=2, height=32, width=48)


def test_the_network_keeps_to_its_budget() -> None:
    """Catches a network that outgrows the shipped weights' 0.8 million parameters."""
    count = sum(part.numel() for part in NanoDepth().parameters())
    assert 400_000 < count <= 800_000


@pytest.mark.parametrize("size", [(176, 320), (320, 176), (20, 32), (97, 641), (1, 1)])
def test_any_size_and_shape(size: tuple[int, int]) -> None:
    """Catches sides that don't divide by the stride, and maps of another size than the picture."""
    prediction = NanoDepth(TINY)(torch.rand(2, 3, *size))
    assert prediction.log_depth.shape == prediction.mask_logit.shape == (2, *size)
    assert prediction.log_focal.shape == (2,)


def test_the_working_size_keeps_area_and_shape() -> None:
    """Catches a picture that is squeezed, or whose cost grows with its size."""
    network = NanoDepth()
    assert network.working_size(176, 320) == network.working_size(704, 1280) == (176, 320)
    height, width = network.working_size(2000, 1000)
    assert height % 16 == width % 16 == 0
    assert height / width == pytest.approx(2, rel=0.1)
    assert height * width == pytest.approx(176 * 320, rel=0.15)
    assert network.working_size(88, 160, zoom=2) == (352, 640)


def test_every_weight_takes_part_and_far_pixels_matter() -> None:
    """Catches a branch that is left out, and a depth that sees its surroundings only."""
    network = NanoDepth(TINY)
    for part in network.parameters():
        torch.nn.init.normal_(part, std=0.3)
    image = torch.rand(1, 3, 32, 48, requires_grad=True)
    prediction = network(image)
    total = prediction.mask_logit.sum() + prediction.log_focal.sum()
    (total + prediction.log_depth[0, 0, 0]).backward()
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in network.parameters())
    image.grad = None
    network(image).log_depth[0, 0, 0].backward()
    assert image.grad is not None and image.grad[0, :, -4:, -4:].abs().sum() > 0


def test_a_mirrored_batch_is_not_mixed() -> None:
    """Catches attention or norms that leak from one picture of a batch into another."""
    network = NanoDepth(TINY).eval()
    for part in network.parameters():
        torch.nn.init.normal_(part, std=0.2)
    images = torch.rand(3, 3, 32, 48)
    both, alone = network(images), network(images[1:2])
    torch.testing.assert_close(both.log_depth[1:2], alone.log_depth)
    torch.testing.assert_close(both.log_focal[1:2], alone.log_focal)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Catches a configuration or weights that get lost on the way."""
    network = NanoDepth(TINY)
    save_nano_depth(network, tmp_path)
    loaded = load_nano_depth(tmp_path)
    assert loaded.config == TINY and not loaded.training
    for name, part in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], part)
    assert not any(part.requires_grad for part in loaded.parameters())


def test_broken_files_are_input_errors(tmp_path: Path) -> None:
    """Catches weights that fit in part, and errors that don't name the file."""
    with pytest.raises(InputError, match="config.json"):
        load_nano_depth(tmp_path)
    save_nano_depth(NanoDepth(TINY), tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    state, text = load_file(weights), config.read_text()
    for name in ("head.bias", "down.0.weight"):
        save_file({key: part for key, part in state.items() if key != name}, weights)
        with pytest.raises(InputError, match=name):
            load_nano_depth(tmp_path)
    save_file({**state, "extra": torch.zeros(1)}, weights)
    with pytest.raises(InputError, match="extra"):
        load_nano_depth(tmp_path)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="complete safetensors"):
        load_nano_depth(tmp_path)
    weights.unlink()
    with pytest.raises(InputError, match="no such file"):
        load_nano_depth(tmp_path)
    stored = json.loads(text)
    for wrong in ({**stored, "colour": 1}, {**stored, "widths": [1, 2]}, {**stored, "heads": "x"}):
        config.write_text(json.dumps(wrong))
        with pytest.raises(InputError):
            load_nano_depth(tmp_path)
    for name, value in {
        "widths": [8, 8, 8, 10**9],
        "blocks": [1, 1, 1, float("inf")],
        "heads": 0,
        "height": float("nan"),
        "width": True,
    }.items():
        config.write_text(json.dumps({**stored, name: value}))
        with pytest.raises(InputError, match=rf"config\.json.*{name}"):
            load_nano_depth(tmp_path)
    config.write_text("{")
    with pytest.raises(InputError, match="JSON"):
        load_nano_depth(tmp_path)
