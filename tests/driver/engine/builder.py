"""The builder and the ONNX parser: a plan has the graph's input and outputs; nothing else of the graph is looked at."""

from __future__ import annotations

from typing import Any

from tests.driver.engine.names import ILogger, IProgressMonitor, Severity
from tests.driver.engine.plan import Plan, Tensor

__all__ = [
    "Builder",
    "IBuilderConfig",
    "INetworkDefinition",
    "IOptimizationProfile",
    "ITensor",
    "OnnxParser",
    "RtxBuilder",
]

# ONNX's numbers of data types (TensorProto.DataType) -> TensorRT's names.
ONNX_TYPES = {1: "FLOAT", 2: "UINT8", 6: "INT32", 7: "INT64"}


class ITensor:
    """A tensor of a network."""

    def __init__(self, tensor: Tensor) -> None:
        self.name, self.shape = tensor.name, (-1, *tensor.shape)


class INetworkDefinition:
    """What the parser fills."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    def get_input(self, index: int) -> ITensor:
        return ITensor(self.inputs[index])

    def get_output(self, index: int) -> ITensor:
        return ITensor(self.outputs[index])


class OnnxParser:
    """Reads a graph's inputs and outputs."""

    num_errors = 0

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger = network, logger

    def parse(self, model: bytes) -> bool:
        import onnx

        graph = onnx.load_model_from_string(model).graph
        for values, kept in ((graph.input, self._network.inputs), (graph.output, self._network.outputs)):
            for value in values:
                kind = value.type.tensor_type
                shape = tuple(dim.dim_value for dim in kind.shape.dim)[1:]
                kept.append(Tensor(value.name, ONNX_TYPES[kind.elem_type], shape))
        return True

    def get_error(self, index: int) -> Any:
        raise IndexError(index)


class IOptimizationProfile:
    """Shapes of the input."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, input: str, min: tuple[int, ...], opt: tuple[int, ...], max: tuple[int, ...]) -> None:  # noqa: A002
        self.shapes[input] = (min, opt, max)


class ITimingCache:
    """Times of tactics."""

    def __init__(self, serialized: bytes) -> None:
        self._bytes = serialized or b"timing cache"

    def serialize(self) -> bytes:
        return self._bytes


class IBuilderConfig:
    """Takes any setting; `tests/engines` checks that the names are TensorRT's."""

    def __init__(self) -> None:
        self.profiles: list[IOptimizationProfile] = []
        self.flags: set[str] = set()
        self.progress_monitor: IProgressMonitor | None = None
        self._cache: ITimingCache | None = None

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self.flags.discard(flag.name)

    def get_flag(self, flag: Any) -> bool:
        return flag.name in self.flags

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        pass

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        return compute_capability.name != "NONE" and index >= 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        self._cache = cache
        return not ignore_mismatch

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache


class Builder:
    """Writes plans of `plan.py`."""

    rtx = False

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        assert flags & 1, "the network is not strongly typed"
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
        source = network.inputs[0]
        if not config.profiles:
            self._logger.log(
                Severity.ERROR, "Network has dynamic inputs, but no optimization profile has been defined."
            )
            return None
        monitor = config.progress_monitor
        if monitor is not None:
            monitor.phase_start("Building Engine", None, 1)
            go_on = monitor.step_complete("Building Engine", 0)
            monitor.phase_finish("Building Engine")
            if not go_on:
                return None
        shapes = [profile.shapes[source.name] for profile in config.profiles]
        return Plan(
            source=source,
            outputs=tuple(network.outputs),
            profiles=tuple((low[0], best[0], high[0]) for low, best, high in shapes),
            user_allocation="REQUIRE_USER_ALLOCATION" in config.flags,
        ).pack(rtx=self.rtx)


class RtxBuilder(Builder):
    """One of TensorRT-RTX."""

    rtx = True
