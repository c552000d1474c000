"""The command that turns a published checkpoint into a diffusers folder."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from published.generator_names import to_published_names
from warm.python import warm_python

from cosmos_predict1.diffusion.model.architecture import TransformerConfig, write_config
from cosmos_predict1.diffusion.model.network import Gen3CTransformer, load_generator

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "convert.py"


def run(folder: Path, *arguments: str, python: str) -> subprocess.CompletedProcess[str]:
    """The command as a user calls it, from another folder."""
    command = [python, str(SCRIPT), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_a_published_checkpoint_is_converted(tmp_path: Path) -> None:
    """Would catch a command that needs the repository on its path, or writes what nobody reads."""
    config = TransformerConfig(
        num_attention_heads=1, attention_head_dim=16, num_layers=1, text_embed_dim=8
    )
    network = Gen3CTransformer(config)
    source = tmp_path / "Gen3C-Cosmos-7B"
    source.mkdir()
    torch.save({"model": to_published_names(network.state_dict())}, source / "model.pt")
    write_config(config, source)
    arguments = ("Gen3C-Cosmos-7B/model.pt", "out/generator", "--shard_gb", "0.0001")
    done = run(tmp_path, *arguments, python=sys.executable)
    assert done.returncode == 0, done.stderr
    assert "1 layers" in done.stdout
    loaded = load_generator(tmp_path / "out")
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    (source / "config.json").unlink()
    done = run(tmp_path, str(source), "other", python=warm_python())
    assert done.returncode == 1
    assert "of another shape" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "other").exists()
