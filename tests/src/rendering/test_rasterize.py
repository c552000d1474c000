"""The seam: which backend is taken, how gsplat is called, and how closely the twin follows it."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_gsplat import GsplatFromTheTwin
from torch import Tensor

from src.gaussians import Gaussians
from src.geometry.cameras import Cameras
from src.rendering import rasterize as seam
from src.rendering.options import MODES, Mode, RasterizeOptions, Render
from src.rendering.rasterize import choose_backend, rasterize, rasterize_scenes
from src.runtime import InputError

MakeScene = Callable[..., tuple[Gaussians, Cameras]]
NAMES = ("means", "opacities", "scales", "quats", "colors")


def render_with_gradients(
    scene: tuple[Gaussians, Cameras], options: RasterizeOptions, backend: str, device: str
) -> tuple[Render, dict[str, Tensor]]:
    """Pictures and gradients of a fixed random loss, both on the CPU."""
    gaussians, cameras = scene
    leaves = gaussians.map(lambda tensor: tensor.detach().to(device).requires_grad_())
    rendered = rasterize(leaves, cameras.to(device), options, backend)
    generator = torch.Generator().manual_seed(3)
    loss = torch.zeros((), device=device)
    for picture in (rendered.color, rendered.alpha, rendered.depth):
        weight = torch.randn(picture.shape, generator=generator).to(device)
        # Depth is a quotient: without the mask the faintest pixels would be all of its gradient.
        loss = loss + (picture * weight * (rendered.alpha > 0.01)).sum()
    loss.backward()
    pictures = (rendered.color, rendered.alpha, rendered.depth)
    return (
        Render(*(picture.detach().cpu() for picture in pictures)),
        {name: getattr(leaves, name).grad.cpu() for name in NAMES},
    )


def test_cuda_backend_is_refused_for_cpu_tensors(make_scene: MakeScene) -> None:
    """Would catch a crash deep in a kernel instead of an explanation."""
    with pytest.raises(InputError, match=r"backend 'cuda'.*tensors on cpu.*CUDA tensors"):
        rasterize(*make_scene(3), backend="cuda")


def test_backend_follows_device_and_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would catch a twin that silently replaces gsplat, or gsplat chosen where it is missing."""
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(seam, "find_spec", lambda name: name)
    assert choose_backend(cpu) == "torch" and choose_backend(cuda) == "cuda"
    assert choose_backend(cuda, "torch") == "torch" and choose_backend(cuda, "cuda") == "cuda"
    monkeypatch.setattr(seam, "find_spec", lambda name: None)
    assert choose_backend(cuda) == "torch"
    with pytest.raises(InputError, match="gsplat"):
        choose_backend(cuda, "cuda")


def test_rendering_is_float32_under_autocast(make_scene: MakeScene) -> None:
    """Would catch matrix products that autocast rounds to bfloat16, forward or backward."""
    scene = make_scene(60)
    pictures, gradients = render_with_gradients(scene, RasterizeOptions(), "torch", "cpu")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast_pictures, cast_gradients = render_with_gradients(
            scene, RasterizeOptions(), "torch", "cpu"
        )
    assert torch.equal(pictures.color, cast_pictures.color)
    for name in NAMES:
        torch.testing.assert_close(gradients[name], cast_gradients[name])


# One projection and one sorting for both passes.
ONCE_2, ONCE_1 = (["project 1x2", "sort", "blend 1x2"], ["project 1x1", "sort", "blend 1x1"])


@pytest.mark.parametrize(
    ("mode", "depth", "expected"),
    [
        ("ewa", True, ["RGB+ED 1x2", "RGB+ED 1x1"]),
        ("ewa", False, ["RGB 1x2", "RGB 1x1"]),
        ("3dgut", True, [*ONCE_2, "blend 1x2", *ONCE_1, "blend 1x1"]),
        ("3dgut", False, [*ONCE_2, *ONCE_1]),
    ],
)
def test_gsplat_is_called_in_batches_with_its_conventions(
    mode: Mode,
    depth: bool,
    expected: list[str],
    make_scene: MakeScene,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Would catch wrong arguments, layouts, a depth not divided by alpha, or a call too many."""
    calls: list[str] = []
    scene = make_scene(80, frames=3)
    options = RasterizeOptions(
        mode=mode, background=(0.3, 0.1, 0.8), near=0.6, far=3.0, depth=depth
    )
    twin, twin_gradients = render_with_gradients(scene, options, "torch", "cpu")
    monkeypatch.setitem(sys.modules, "gsplat", GsplatFromTheTwin(calls))
    monkeypatch.setattr(seam, "choose_backend", lambda *_: "cuda")
    monkeypatch.setattr(seam, "SPLATS_PER_CALL", 160)
    ours, gradients = render_with_gradients(scene, options, "auto", "cpu")
    assert calls == expected
    for name in ("color", "alpha", "depth"):
        torch.testing.assert_close(getattr(ours, name), getattr(twin, name), rtol=1e-4, atol=1e-5)
    for name in NAMES:
        error = (gradients[name] - twin_gradients[name]).norm() / twin_gradients[name].norm()
        assert error < 1e-3, f"{name} {error}"


def three_scenes(
    make_scene: MakeScene, device: str = "cpu"
) -> tuple[list[tuple[Gaussians, Cameras]], Gaussians, Cameras]:
    """Different scenes seen by different cameras: one by one, and all together."""
    scenes = []
    for number in range(3):
        gaussians, cameras = make_scene(80, frames=3)
        cameras = cameras[torch.arange(3).roll(number)]
        scenes.append((gaussians.to(device), cameras.to(device)))
    gaussians = Gaussians.from_packed(torch.stack([scene.packed() for scene, _ in scenes]))
    return scenes, gaussians, Cameras.stack([cameras for _, cameras in scenes])


def test_scenes_are_rendered_as_one_after_the_other(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would catch scenes or frames that are mixed up, in a call or between the calls."""
    scenes, gaussians, cameras = three_scenes(make_scene)
    options = RasterizeOptions(mode="ewa")
    expected = Render.concatenate([rasterize(*scene, options) for scene in scenes])
    twin = rasterize_scenes(gaussians, cameras, options)
    calls: list[str] = []
    monkeypatch.setitem(sys.modules, "gsplat", GsplatFromTheTwin(calls))
    monkeypatch.setattr(seam, "choose_backend", lambda *_: "cuda")
    monkeypatch.setattr(seam, "SPLATS_PER_CALL", 330)
    kernel = rasterize_scenes(gaussians, cameras, options)
    assert calls == ["RGB+ED 3x1"] * 3
    monkeypatch.setattr(seam, "SPLATS_PER_CALL", 160)
    halves = rasterize_scenes(gaussians, cameras, options)
    assert calls[3:] == ["RGB+ED 2x1"] * 3 + ["RGB+ED 1x2", "RGB+ED 1x1"]
    for name in ("color", "alpha", "depth"):
        assert torch.equal(getattr(twin, name), getattr(expected, name))
        for ours in (kernel, halves):
            torch.testing.assert_close(getattr(ours, name), getattr(twin, name))


def save_side_by_side(twin: Render, gsplat: Render, path: Path) -> None:
    """One row a frame: the twin's picture, gsplat's, and 1000 times their difference."""
    from PIL import Image

    difference = ((twin.color - gsplat.color).abs() * 1000).clamp(max=1)
    sheet = torch.cat([twin.color.clamp(0, 1), gsplat.color.clamp(0, 1), difference], dim=-1)
    rows = sheet.movedim(1, -1).flatten(0, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((rows.numpy() * 255).round().astype(np.uint8)).save(path)


@pytest.mark.gpu
@pytest.mark.parametrize("mode", MODES)
def test_kernels_render_scenes_together_as_alone(mode: Mode, make_scene: MakeScene) -> None:
    """Would catch kernels that mix up the scenes of a call, or their gradients."""
    scenes, together, cameras = three_scenes(make_scene, "cuda")
    leaves = together.map(lambda part: part.requires_grad_())
    ours = rasterize_scenes(leaves, cameras, RasterizeOptions(mode=mode), "cuda")
    (ours.color.square().sum() + ours.alpha.square().sum()).backward()
    for number, (gaussians, own) in enumerate(scenes):
        alone = gaussians.map(lambda part: part.requires_grad_())
        expected = rasterize(alone, own, RasterizeOptions(mode=mode), "cuda")
        (expected.color.square().sum() + expected.alpha.square().sum()).backward()
        frames = slice(3 * number, 3 * number + 3)
        for name in ("color", "alpha", "depth"):
            torch.testing.assert_close(getattr(ours, name)[frames], getattr(expected, name))
        for name in NAMES:
            gradient = getattr(alone, name).grad
            error = (getattr(leaves, name).grad[number] - gradient).norm() / gradient.norm()
            assert error < 1e-4, f"{name} {error}"


@pytest.mark.gpu
@pytest.mark.parametrize("twin_device", ["cpu", "cuda"])
@pytest.mark.parametrize("mode", MODES)
def test_twin_follows_gsplat(
    mode: Mode,
    twin_device: str,
    make_scene: MakeScene,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Would catch any deviation from the CUDA kernels in a dense scene of 10,000 Gaussians."""
    scene = make_scene(10_000, frames=2, width=320, height=176, sigma=3.0)
    options = RasterizeOptions(mode=mode)
    kernel, kernel_gradients = render_with_gradients(scene, options, "cuda", "cuda")
    twin, twin_gradients = render_with_gradients(scene, options, "torch", twin_device)
    folder = Path(os.environ.get("OUT", tmp_path))
    save_side_by_side(twin, kernel, folder / f"twin_gsplat_{mode}_{twin_device}.png")
    seen = kernel.alpha > 0.01
    errors = {
        "color": (twin.color - kernel.color).abs().amax(dim=1).flatten(),
        "alpha": (twin.alpha - kernel.alpha).abs().flatten(),
        "depth": ((twin.depth - kernel.depth).abs() / kernel.depth.clamp(min=1e-6))[seen],
    }
    shares = {name: (error <= 1e-4).double().mean().item() for name, error in errors.items()}
    relative = {
        name: ((twin_gradients[name] - kernel_gradients[name]).norm() / gradient.norm()).item()
        for name, gradient in kernel_gradients.items()
    }
    with capsys.disabled():
        sys.stdout.write(f"\n{mode}, twin on {twin_device}: share of pixels within 1e-4 {shares}; ")
        sys.stdout.write(f"largest { ({name: e.max().item() for name, e in errors.items()}) }; ")
        sys.stdout.write(f"gradients, relative by norm {relative}\n")
    assert seen.double().mean() > 0.5
    for name, share in shares.items():
        assert share >= 0.999, f"{name}: {share}"
    for name, error in relative.items():
        assert error <= 1e-3, f"{name}: {error}"


@pytest.mark.gpu
@pytest.mark.parametrize("mode", MODES)
def test_gsplat_renders_many_frames_as_it_renders_single_ones(
    mode: Mode, make_scene: MakeScene
) -> None:
    """Would catch frames mixed up in batched calls of the kernels."""
    gaussians, cameras = make_scene(2_000, frames=5, width=100, height=70)
    gaussians, cameras = gaussians.to("cuda"), cameras.to("cuda")
    options = RasterizeOptions(mode=mode)
    together = rasterize(gaussians, cameras, options, "cuda")
    for index in range(5):
        single = rasterize(gaussians, cameras[index : index + 1], options, "cuda")
        torch.testing.assert_close(together.color[index], single.color[0])
        torch.testing.assert_close(together.depth[index], single.depth[0])


@pytest.mark.gpu
@pytest.mark.parametrize("depth", [False, True])
def test_pictures_of_3dgut_are_those_of_gsplats_own_function(
    depth: bool, make_scene: MakeScene
) -> None:
    """Any bit that differs from gsplat's `rasterization`, one pass for colour and one for depth."""
    from gsplat import rasterization

    gaussians, cameras = make_scene(20_000, frames=3, width=320, height=176, sigma=3.0)
    gaussians, cameras = gaussians.to("cuda"), cameras.to("cuda")
    options = RasterizeOptions(background=(0.2, 0.5, 1.0), depth=depth)
    # With another number for each of many Gaussians at one depth, ties show.
    gaussians.means[:2000] = gaussians.means[:1]
    ours = rasterize(gaussians, cameras, options, "cuda")
    exact = cameras.to(torch.float64)
    w2c, K = exact.w2c.float(), exact.K.float()

    def launch(colors: Tensor, background: tuple[float, float, float]) -> tuple[Tensor, Tensor]:
        shown, alpha, _ = rasterization(
            means=gaussians.means,
            quats=gaussians.quats,
            scales=gaussians.scales,
            opacities=gaussians.opacities,
            colors=colors,
            viewmats=w2c,
            Ks=K,
            width=cameras.width,
            height=cameras.height,
            near_plane=options.near,
            far_plane=options.far,
            packed=False,
            backgrounds=w2c.new_tensor(background).expand(3, 3).contiguous(),
            with_ut=True,
            with_eval3d=True,
        )
        return shown.movedim(-1, 1), alpha.movedim(-1, 1)

    color, alpha = launch(gaussians.colors, options.background)
    row = w2c[:, None, 2]
    z = (gaussians.means[None] * row[..., :3]).sum(-1) + row[..., 3]
    weighted, weight = launch(z[..., None].expand(-1, -1, 3), (0.0, 0.0, 0.0))
    assert torch.equal(ours.color, color) and torch.equal(ours.alpha, alpha)
    if depth:
        assert torch.equal(ours.depth, weighted[:, :1] / weight.clamp(min=1e-10))
