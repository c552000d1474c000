"""The training task of a distillation; its weights are those of a generator of a few steps."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from src.checkpoints import find_checkpoint
from src.config.loading import find_path
from src.runtime import InputError, without_memory
from src.training.task import Progress, Share, Stopwatch

from ...diffusion.model.architecture import read_config
from ...diffusion.model.network import Gen3CTransformer, load_generator, save_generator
from ..clip_task import ClipTask
from ..latents import LatentBatches
from ..lora import (
    adapted_state,
    add_adapters,
    has_adapters,
    merged,
    read_adapters,
    write_adapters,
)
from .config import DistillTrainConfig
from .objective import DistillObjective
from .roles import (
    CRITIC,
    Roles,
    SharedNetwork,
    StudentAndCritic,
    WholeNetworks,
    critic_names,
    split_state,
)


class DistillTask(ClipTask):
    """Trains a student of a few steps; with distribution matching, a critic as well."""

    def __init__(self, config: DistillTrainConfig) -> None:
        """Read the teacher's sizes and check the settings; weights and data are read later.

        Raises:
            InputError: as `ClipTask`; no teacher, or one that is distilled already.
        """
        self.teacher = find_checkpoint("generator", find_path(config.teacher))
        network = read_config(self.teacher)
        if network.sampling.levels:
            expected = "weights that are not distilled themselves"
            raise InputError(f"teacher {self.teacher}", "distilled weights", expected)
        sampling = config.student_sampling(network.sampling)
        super().__init__(config, replace(network, sampling=sampling))
        self.config = config
        self.has_critic = config.method == "distribution"
        self._network: Gen3CTransformer | None = None

    def build(self, device: torch.device, clock: Stopwatch) -> DistillObjective:
        """Reads tokenizer and teacher; returns the objective, whose networks begin as teachers."""
        texts = self._start(device)
        network, roles = self._shared(device) if self.config.lora.rank else self._whole(device)
        self._network = network
        return DistillObjective(network, roles, self.config, texts)

    def _whole(self, device: torch.device) -> tuple[Gen3CTransformer, Roles]:
        """Returns student and critic as copies of the teacher, and the roles of all three."""
        teacher = load_generator(self.teacher, device, self._frozen_dtype(device))
        with device:
            network = StudentAndCritic(self.network_config, self.has_critic)
        plain = self._plain(self.teacher, torch.float32)
        network.load_state_dict(self._with_critic(plain, plain))
        for part in network.networks:
            part.gradient_checkpointing = self.config.gradient_checkpointing
        if self.config.compile and device.type == "cuda":
            for part in (teacher, *network.networks):
                part.compile_blocks()
        return network, WholeNetworks(network, teacher)

    def _shared(self, device: torch.device) -> tuple[Gen3CTransformer, Roles]:
        """Returns the teacher with new adapters of student and critic, and its roles."""
        network = load_generator(self.teacher, device, self._frozen_dtype(device))
        network.config = self.network_config
        add_adapters(network, self.config.lora)
        if self.has_critic:
            add_adapters(network, self.config.lora, CRITIC)
        network.gradient_checkpointing = self.config.gradient_checkpointing
        if self.config.compile and device.type == "cuda":
            network.compile_blocks()
        return network, SharedNetwork(network)

    def batches(self, share: Share, progress: Progress) -> LatentBatches:
        """Encodes this process' clips; returns random batches of them."""
        if self.has_critic and share.world_size > 1:
            expected = "one process: an update trains either the student or the critic"
            raise InputError("method distribution", f"{share.world_size} processes", expected)
        return super().batches(share, progress)

    def write_weights(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write the student for `--checkpoint_dir` of the commands, and a critic below it."""
        student, critic = split_state(weights)
        lora = self.config.lora
        if lora.rank:
            write_adapters(folder, student, lora)
            if critic:
                write_adapters(folder / CRITIC, critic, lora)
            if lora.merge:
                self._save(merged(student, lora), folder)
            return
        self._save(student, folder)
        if critic:
            self._save(critic, folder / CRITIC)

    def read_weights(self, path: Path) -> dict[str, Tensor]:
        """Reads student and critic of a checkpoint, or a student from any generator.

        A critic that is not there begins as the teacher. With adapters, a folder has to hold those
        of a student. Raises `InputError` as `load_generator`.
        """
        lora, path = self.config.lora, find_path(path)
        if not lora.rank:
            student = self._plain(path, torch.float32)
            critic = path / CRITIC if (path / CRITIC).is_dir() else self.teacher
            return self._with_critic(student, critic)
        if not has_adapters(path):
            expected = "adapters of a distillation with lora.rank; null begins as the teacher"
            raise InputError(path, "no adapters", expected)
        plain = self._plain(self.teacher, self._frozen_dtype(self.device))
        student = adapted_state(plain, read_adapters(path, lora))
        if not self.has_critic:
            return student
        if has_adapters(path / CRITIC):
            return student | critic_names(read_adapters(path / CRITIC, lora))
        # A new run: `build` has made its network with new adapters.
        assert self._network is not None, "new adapters before build"
        return student | critic_names(split_state(self._network.state_dict())[1])

    def _with_critic(
        self, student: dict[str, Tensor], critic: dict[str, Tensor] | Path
    ) -> dict[str, Tensor]:
        """Returns the state of the student, with that of a critic if it has one."""
        if not self.has_critic:
            return student
        if isinstance(critic, Path):
            critic = self._plain(critic, torch.float32)
        return student | critic_names(critic)

    def _save(self, weights: dict[str, Tensor], folder: Path) -> None:
        """Write whole weights with the configuration of distilled ones."""
        with without_memory():
            network = Gen3CTransformer(self.network_config)
        network.load_state_dict(weights, assign=True)
        save_generator(network, folder)
