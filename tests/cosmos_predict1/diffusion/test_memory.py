"""Plans of memory: what they need, which is chosen, and what is refused before loading."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cosmos_predict1.diffusion import fitting
from cosmos_predict1.diffusion.config import SdgConfig, clip_settings, sdg_config
from cosmos_predict1.diffusion.fitting import fit_memory
from cosmos_predict1.diffusion.flags import static_parser
from cosmos_predict1.diffusion.hardware_flags import MEMORY
from cosmos_predict1.diffusion.memory import (
    PLAIN,
    PLANS,
    RunSize,
    block_parameters,
    choose_plan,
    needed_gib,
)
from cosmos_predict1.diffusion.model.architecture import SamplingDefaults, TransformerConfig
from cosmos_predict1.diffusion.model.network import Gen3CTransformer
from cosmos_predict1.diffusion.preparation import VisitingDepth
from src.depth.backends.choice import DepthBackend
from src.depth.estimate import DepthEstimate
from src.geometry.fit import WHOLE
from src.runtime import InputError

FULL = RunSize(
    network=TransformerConfig(),
    frames=121,
    height=704,
    width=1280,
    moving=False,
    text=False,
    depth=True,
)
WITHOUT_TEXT = TransformerConfig(sampling=SamplingDefaults(text_encoder="none"))


def test_the_flag_offers_the_plans() -> None:
    """Would catch a budget of the table that no flag chooses, or one without a plan."""
    assert set(MEMORY) == set(PLANS) and PLANS["max"] == PLAIN


def test_the_size_of_a_block_is_that_of_the_network() -> None:
    """Would catch an estimate of another network than the one that is loaded."""
    for config in (TransformerConfig(num_layers=1), TransformerConfig(num_layers=1, mlp_ratio=2)):
        with torch.device("meta"):
            (block,) = Gen3CTransformer(config).transformer_blocks
        count = sum(part.numel() for part in block.parameters())
        assert block_parameters(config) == pytest.approx(count, rel=1e-4)


def test_every_plan_fits_its_card() -> None:
    """Would catch a published run that its own budget refuses, a video or a prompt too."""
    for size in (FULL, replace(FULL, moving=True, text=True)):
        needs = [needed_gib(PLANS[name], size) for name in ("24", "16", "12", "8")]
        assert needs == sorted(needs, reverse=True)
        for name in ("24", "16", "12", "8"):
            assert choose_plan(name, float(name) - 0.6, size) == name


@pytest.mark.parametrize(
    ("free", "name"),
    [(139.0, "max"), (31.0, "max"), (23.1, "24"), (15.3, "16"), (11.3, "16"), (9.0, "8")],
)
def test_the_free_memory_chooses_the_fastest_plan(free: float, name: str) -> None:
    """Would catch a run without memory, or one that is slower than it has to be."""
    assert choose_plan(None, free, FULL) == name
    assert choose_plan("max", free, FULL) == "max"


def test_a_video_needs_more_on_the_gpu_unless_it_stays_on_the_cpu() -> None:
    """Would catch a run of a video that is given a plan for pictures."""
    moving = replace(FULL, moving=True)
    assert choose_plan(None, 11.3, moving) == "12" and choose_plan(None, 15.3, moving) == "16"


def test_small_clips_and_networks_need_less() -> None:
    """Would catch nano streaming on a card that holds it many times over."""
    nano = TransformerConfig(num_attention_heads=3, attention_head_dim=64, num_layers=8)
    size = replace(FULL, network=nano, frames=17, height=176, width=320, depth=False)
    assert needed_gib(PLAIN, size) < 1.5 and choose_plan(None, 2.0, size) == "max"
    assert needed_gib(PLANS["8"], replace(FULL, frames=57)) < needed_gib(PLANS["8"], FULL) - 2


@pytest.mark.parametrize(
    ("memory", "free", "size", "words"),
    [
        (None, 5.0, FULL, r"5\.0 GiB free.*--memory 8"),
        ("12", 6.0, FULL, r"--memory.*12.*6\.0 are free"),
        ("8", 80.0, replace(FULL, frames=161), r"--memory.*8.*num_video_frames"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    memory: str | None, free: float, size: RunSize, words: str
) -> None:
    """Would catch minutes of loading before the memory ends."""
    with pytest.raises(InputError, match=words):
        choose_plan(memory, free, size)


def config(tmp_path: Path, *flags: str) -> SdgConfig:
    line = ["--checkpoint_dir", str(tmp_path), "--input_image_path", "a.png", *flags]
    return sdg_config(static_parser("").parse_args(line))


def on_a_gpu(before: SdgConfig) -> SdgConfig:
    hardware = replace(before.hardware, device=torch.device("cuda"))
    return replace(before, hardware=hardware)


def fitted(before: SdgConfig) -> SdgConfig:
    settings = clip_settings(before.sampling, WITHOUT_TEXT, max_latent_frames=16, moving=False)
    return fit_memory(before, WITHOUT_TEXT, settings, [])


def test_a_cpu_has_no_budget(tmp_path: Path) -> None:
    """Would catch a budget of a GPU that is ignored in silence."""
    with pytest.raises(InputError, match=r"--memory.*12.*CUDA"):
        config(tmp_path, "--memory", "12", "--device", "cpu")
    plain = config(tmp_path, "--device", "cpu")
    assert fitted(plain) is plain


def test_the_chosen_plan_reaches_the_run_and_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Would catch a plan that is chosen and not carried out, or a cap without a budget."""
    limits: list[float] = []
    monkeypatch.setattr(fitting, "free_gib", lambda _device: 11.3)
    monkeypatch.setattr(
        fitting, "limit_memory", lambda gigabytes, _device: limits.append(gigabytes)
    )
    before = on_a_gpu(config(tmp_path, "--device", "cpu"))
    with caplog.at_level(logging.INFO):
        hardware = fitted(before).hardware
    assert hardware.plan == PLANS["16"] and hardware.offload_transformer and not limits
    assert "11.3 GiB free, --memory 16: the transformer streams" in caplog.text
    asked = replace(before, hardware=replace(before.hardware, memory="8"))
    assert fitted(asked).hardware.plan == PLANS["8"] and limits == [8.0]


def test_the_old_flags_choose_alone(tmp_path: Path) -> None:
    """Would catch a plan on top of flags that say what is to be done."""
    flags = ("--offload_tokenizer", "--device", "cpu")
    before = on_a_gpu(config(tmp_path, *flags))
    assert fitted(before) is before


def test_compiled_blocks_do_not_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would catch compiled blocks that run without the hooks that bring their weights."""
    monkeypatch.setattr(fitting, "free_gib", lambda _device: 11.3)
    with pytest.raises(InputError, match=r"--compile.*--memory"):
        fitted(on_a_gpu(config(tmp_path, "--compile", "--device", "cpu")))


class GreyDepth:
    """A backend with a network, for `VisitingDepth`."""

    name, scene_scale = "grey", True

    def __init__(self) -> None:
        self.network, self.inputs = torch.nn.Linear(1, 1), []

    def __call__(self, *inputs: object) -> DepthEstimate:
        self.inputs.append(inputs)
        return DepthEstimate(torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bool), torch.ones(4))


def test_a_visiting_depth_network_is_still_its_backend() -> None:
    """Would catch a region that is dropped, or another name in the clips' records."""
    backend = GreyDepth()
    visiting = VisitingDepth(backend, torch.device("cpu"))
    assert isinstance(visiting, DepthBackend) and (visiting.name, visiting.scene_scale) == (
        "grey",
        True,
    )
    image = torch.zeros(3, 2, 2)
    assert visiting(image, WHOLE).depth.sum() == 4
    assert backend.inputs == [(image, WHOLE)]
