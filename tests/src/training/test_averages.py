"""What becomes of the moving average after a training."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from tiny_scene import write_tiny_input
from tiny_training import training_config

from src.checkpoints import AVERAGE
from src.models.recon.decoder import WEIGHTS_NAME, load_decoder
from src.reconstruct.inputs import WeightsConfig, find_decoder
from src.training.checkpoints.files import export_checkpoint
from src.training.decoder.task import DecoderTask
from src.training.loop.run import train


def test_the_moving_average_is_what_others_use(tmp_path: Path) -> None:
    """Renderings and exports of the last weights, where the training kept better ones."""
    tiny = write_tiny_input(tmp_path / "tiny")
    config = training_config(tiny, tmp_path / "run", "max_train_steps=2", "use_ema=true")
    train(DecoderTask(config), config.loop, config.optim)
    folder, read = tmp_path / "run" / "checkpoint-2", DecoderTask(config).read_weights
    own, average = (load_file(folder / name) for name in (WEIGHTS_NAME, AVERAGE))
    assert own.keys() == average.keys()
    assert any(not torch.equal(own[name], average[name]) for name in own)
    for wanted, chosen in ((None, average), (True, average), (False, own)):
        path = export_checkpoint(folder, tmp_path / f"published-{wanted}", read, wanted)
        module = torch.load(path, weights_only=True)["module"]
        assert all(torch.equal(module[name], chosen[name].bfloat16()) for name in own)
    for wanted, chosen in ((True, average), (False, own)):
        for weights in (
            WeightsConfig(output_dir=str(tmp_path / "run"), average=wanted),
            WeightsConfig(path=str(folder), average=wanted),
        ):
            loaded = load_decoder(find_decoder(weights), config.decoder).state_dict()
            assert all(torch.equal(loaded[name], chosen[name]) for name in own)
    # A file that is named is that file.
    named = WeightsConfig(path=str(folder / WEIGHTS_NAME))
    assert find_decoder(named) == folder / WEIGHTS_NAME
