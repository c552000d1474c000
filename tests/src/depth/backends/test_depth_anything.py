"""Depth Anything through transformers, with a tiny random network of the real class."""

import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from src.depth.backends.choice import in_scene_unit, resolve_depth
from src.depth.backends.depth_anything import (
    MEAN,
    STD,
    DepthAnything,
    load_depth_anything,
    working_size,
)
from src.depth.estimate import assumed_intrinsics
from src.runtime import InputError


def tiny(kind: str) -> nn.Module:
    """The real class with one narrow layer for each of the four features."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    sizes: dict = {"hidden_size": 8, "num_hidden_layers": 4, "num_attention_heads": 2}
    sizes |= {"mlp_ratio": 1, "out_indices": [1, 2, 3, 4], "reshape_hidden_states": False}
    backbone = Dinov2Config(**sizes)
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=8,
        neck_hidden_sizes=[4, 4, 4, 4],
        fusion_hidden_size=4,
        head_hidden_size=4,
        depth_estimation_type=kind,
        max_depth=20 if kind == "metric" else 1,
    )
    return DepthAnythingForDepthEstimation(config).eval()


@pytest.mark.parametrize("kind", ["metric", "relative"])
def test_saved_weights_are_found_and_used(tmp_path: Path, kind: str) -> None:
    """Catches weights of the folder that are passed over for those of the hub."""
    network = tiny(kind)
    getattr(network, "save_pretrained")(tmp_path / "depth_anything")  # noqa: B009
    model = load_depth_anything(tmp_path)
    for name, part in network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], part)
    found = model(torch.rand(3, 40, 70))
    depth, mask = found.depth, found.mask
    assert depth.shape == mask.shape == (40, 70)
    assert (depth[mask] > 0).all() and depth[mask].isfinite().all()


@pytest.mark.parametrize("kind", ["metric", "relative"])
def test_saved_weights_are_a_backend(tmp_path: Path, kind: str) -> None:
    """Catches inverse depth of the real class taken for depth, or depth for its inverse."""
    torch.manual_seed(1)
    network = tiny(kind)
    with torch.no_grad():
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.3)
        # Freshly made, it says next to nothing.
        network.get_parameter("head.conv3.bias").fill_(1)
    getattr(network, "save_pretrained")(tmp_path / "depth_anything")  # noqa: B009
    picture = torch.rand(3, 40, 70)
    backend = resolve_depth("depth_anything", tmp_path)
    found = backend(picture)
    with torch.inference_mode():
        values = F.interpolate(picture[None], (518, 910), mode="bicubic", antialias=True)
        values = (values - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        said = network(pixel_values=values).predicted_depth[:, None]
        said = F.interpolate(said, (40, 70), mode="bilinear")[0, 0]
    truth = said if kind == "metric" else 1 / said
    assert found.mask.float().mean() > 0.5
    torch.testing.assert_close(found.depth[found.mask], truth[found.mask], rtol=1e-4, atol=1e-4)
    assert found.intrinsics.tolist() == assumed_intrinsics(40, 70).tolist()
    _, divisor = in_scene_unit(backend(picture), backend)
    assert divisor == pytest.approx(found.depth[found.mask].median().item())
    assert torch.equal(backend(picture).depth, found.depth)


def test_the_hub_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Catches a network access that nobody hears of."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("src.depth.backends.depth_anything.REPOSITORY", str(tmp_path / "nowhere"))
    with pytest.raises(InputError):
        load_depth_anything(tmp_path)
    assert f"no depth_anything/ in {tmp_path}: fetching" in caplog.text


class Constant(nn.Module):
    """Predicts given values, to see what is made of them."""

    def __init__(self, kind: str, values: torch.Tensor) -> None:
        from types import SimpleNamespace

        super().__init__()
        self.config = SimpleNamespace(patch_size=14, depth_estimation_type=kind)
        self.values = values
        self.seen: torch.Tensor | None = None

    def forward(self, pixel_values: torch.Tensor) -> object:
        from types import SimpleNamespace

        self.seen = pixel_values
        return SimpleNamespace(predicted_depth=self.values[None])


def test_relative_networks_give_inverse_depth() -> None:
    """Catches inverse depth that is taken for depth, and a sky at depth 0."""
    inverse = torch.tensor([[2.0, 1.0], [0.5, 0.0]])
    found = DepthAnything(Constant("relative", inverse))(torch.rand(3, 2, 2))
    depth, mask = found.depth, found.mask
    assert mask.tolist() == [[True, True], [True, False]]
    assert depth[mask].tolist() == [0.5, 1.0, 2.0]
    assert depth[1, 1] == torch.inf
    found = DepthAnything(Constant("metric", inverse))(torch.rand(3, 2, 2))
    assert torch.equal(found.depth, inverse) and not found.mask[1, 1]


def test_pictures_are_normalised_and_enlarged() -> None:
    """Catches a size that is no multiple of the patches, and colours without normalisation."""
    network = Constant("metric", torch.ones(2, 2))
    DepthAnything(network)(torch.full((3, 20, 30), 0.5))
    assert network.seen is not None and network.seen.shape == (1, 3, 518, 784)
    expected = [(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]
    assert network.seen.mean(dim=(0, 2, 3)).tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("size", [(704, 1280), (1280, 704), (20, 32), (100, 8000)])
def test_the_working_size_is_bounded(size: tuple[int, int]) -> None:
    """Catches panoramas whose attention would not fit into memory."""
    height, width = working_size(*size)
    assert height % 14 == width % 14 == 0 and max(height, width) <= 2072
    assert min(height, width) == 518 or max(height, width) == 2072


def test_missing_and_damaged_weights_are_input_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches random layers that stand in for missing tensors, and a bare error of the client."""
    from safetensors.torch import load_file, save_file

    monkeypatch.setattr("src.depth.backends.depth_anything.REPOSITORY", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="download_checkpoints.py --what depth_anything"):
        load_depth_anything(tmp_path)
    getattr(tiny("metric"), "save_pretrained")(tmp_path / "depth_anything")  # noqa: B009
    path = tmp_path / "depth_anything" / "model.safetensors"
    state = load_file(path)
    name = sorted(state)[0]
    save_file(
        {key: part for key, part in state.items() if key != name}, path, metadata={"format": "pt"}
    )
    with pytest.raises(InputError, match=name):
        load_depth_anything(tmp_path)
