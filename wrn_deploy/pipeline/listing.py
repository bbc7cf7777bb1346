"""The list of networks with their costs; torch's meta device, no weights."""

from __future__ import annotations

from dataclasses import dataclass

from wrn_deploy.models import describe_model, listed_models

__all__ = ["Listed", "list_models"]


@dataclass(frozen=True, slots=True)
class Listed:
    """One network: input (channels, height, width), trainable parameters, multiply-accumulates for one image."""

    name: str
    input: tuple[int, ...]
    parameters: int
    macs: int


def list_models() -> list[Listed]:
    """Every listed network; raises MachineError without torch."""
    names = listed_models()  # says what is missing before torch is imported for counting
    from wrn_deploy.models.cost import count_cost

    listed = []
    for name in names:
        spec = describe_model(name)
        cost = count_cost(spec)
        listed.append(Listed(name, spec.input.shape, cost.parameters, cost.macs))
    return sorted(listed, key=lambda model: (model.input, model.macs))
