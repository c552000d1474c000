"""The three networks of a distillation: teacher, student and critic.

The critic estimates latents of the student's noisy clips. Either the three are whole networks, or
one network has two sets of adapters, without which it is the teacher.
"""

from collections.abc import Mapping
from typing import Any, Literal, Protocol, cast, runtime_checkable

from torch import Tensor

from ...diffusion.conditioning.latents import Conditions
from ...diffusion.model.architecture import TransformerConfig
from ...diffusion.model.network import Gen3CTransformer
from ..lora import NAME

Role = Literal["student", "critic", "teacher"]
CRITIC = "critic"
State = Mapping[str, Tensor]


@runtime_checkable
class Roles(Protocol):
    """The interface between the objective and the networks."""

    def __call__(self, role: Role, x: Tensor, c_noise: Tensor, conditions: Conditions) -> Tensor:
        """Returns the output F of the network in this role; see `Gen3CTransformer`."""
        ...

    def settle(self, role: Role) -> None:
        """Make the network that of a role, for a backward pass or for sampling."""
        ...


class StudentAndCritic(Gen3CTransformer):
    """A student that holds its critic, if it has one, so that one optimizer has both."""

    critic: Gen3CTransformer | None

    def __init__(self, config: TransformerConfig, with_critic: bool) -> None:
        """Build both with random weights (or none, on the meta device)."""
        super().__init__(config)
        self.critic = Gen3CTransformer(config) if with_critic else None

    @property
    def networks(self) -> list[Gen3CTransformer]:
        """The student, and the critic if there is one."""
        return [self] if self.critic is None else [self, self.critic]


class WholeNetworks:
    """Three networks with all their weights."""

    def __init__(self, student: StudentAndCritic, teacher: Gen3CTransformer) -> None:
        self._networks = {"student": student, "critic": student.critic, "teacher": teacher}

    def __call__(self, role: Role, x: Tensor, c_noise: Tensor, conditions: Conditions) -> Tensor:
        """Returns F of the network in this role."""
        network = self._networks[role]
        assert network is not None, f"no {role}"
        return network(x, c_noise, conditions)

    def settle(self, role: Role) -> None:
        """Does nothing: no two roles share weights."""


class SharedNetwork:
    """One network whose adapters are switched."""

    def __init__(self, network: Gen3CTransformer) -> None:
        from peft.tuners.tuners_utils import BaseTunerLayer

        self._network = network
        layers = [layer for layer in network.modules() if isinstance(layer, BaseTunerLayer)]
        self._layers = cast(list[Any], layers)

    def __call__(self, role: Role, x: Tensor, c_noise: Tensor, conditions: Conditions) -> Tensor:
        """Returns F with the adapters of this role."""
        self.settle(role)
        return self._network(x, c_noise, conditions)

    def settle(self, role: Role) -> None:
        """Use the adapters of a role; only these then have gradients.

        The backward pass computes checkpointed blocks again, with the adapters of the moment.
        """
        for layer in self._layers:
            if role != "teacher":
                layer.set_adapter(CRITIC if role == "critic" else NAME)
            layer.enable_adapters(role != "teacher")


def split_state(state: State) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns the tensors of the student (with all shared ones), and those of the critic.

    Both have the names of a network of their own.
    """
    student, critic = {}, {}
    for name, tensor in state.items():
        plain = name.removeprefix(f"{CRITIC}.").replace(f".{CRITIC}.", f".{NAME}.")
        (student if plain == name else critic)[plain] = tensor
    return student, critic


def critic_names(state: State) -> dict[str, Tensor]:
    """Returns tensors under the names that the critic has in the network of `split_state`."""
    marked = f".{NAME}."
    return {
        name.replace(marked, f".{CRITIC}.") if marked in name else f"{CRITIC}.{name}": tensor
        for name, tensor in state.items()
    }
