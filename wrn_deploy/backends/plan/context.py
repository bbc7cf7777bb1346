"""One execution context of an engine, on one optimization profile, with its CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from wrn_deploy.backends.plan.graphs import Graphs
from wrn_deploy.errors import DeployError, MachineError, StaleArtifact

__all__ = ["ProfileContext"]


class ProfileContext:
    """An execution context that sets a shape or an address only if it changed, and never changes its profile.

    Changing the profile would take time and invalidate the graphs.

    Args:
        module: TensorRT's Python module, of either flavour.
        deserialized: the engine.
        profile: the profile's index.
        stream: the stream that prepares the profile; inferences must come after it.
        names: the tensors' names, the input first.
        eager: whether each shape's kernels are compiled before its first run, as capturing a graph needs. TensorRT-RTX
            otherwise runs generic kernels until they are compiled.

    Raises:
        MachineError: TensorRT cannot create it.
    """

    def __init__(
        self, module: Any, deserialized: Any, profile: int, stream: int, *, names: Sequence[str], eager: bool
    ) -> None:
        self.graphs = Graphs()
        self._names = names
        self._shape: tuple[int, ...] | None = None
        self._addresses: tuple[int | None, ...] = (None,) * len(names)
        if hasattr(module, "DynamicShapesKernelSpecializationStrategy") and eager:
            config = deserialized.create_runtime_config()
            config.dynamic_shapes_kernel_specialization_strategy = (
                module.DynamicShapesKernelSpecializationStrategy.EAGER
            )
            self._context = deserialized.create_execution_context(config)
        else:
            self._context = deserialized.create_execution_context()
        if self._context is None or not self._context.set_optimization_profile_async(profile, stream):
            raise MachineError("TensorRT cannot make an execution context: free GPU memory, see its message above")

    def enqueue(self, shape: tuple[int, ...], addresses: Sequence[int], stream: int) -> None:
        """Starts an inference.

        Args:
            shape: the input's.
            addresses: of the input and the outputs, in the order of the names.
            stream: CUDA handle; it must order this inference after earlier ones of this context.

        Raises:
            DeployError: the plan does not take the shape or an address.
            MachineError: TensorRT could not start it.
        """
        if shape != self._shape:
            self._shape = None
            if not self._context.set_input_shape(self._names[0], shape):
                raise StaleArtifact(f"the plan does not take {shape}: build it again from this bundle")
            self._shape = shape
        if tuple(addresses) != self._addresses:
            self._addresses = (None,) * len(self._names)
            for name, address in zip(self._names, addresses, strict=True):
                if not self._context.set_tensor_address(name, address):
                    raise DeployError(f"the plan takes no memory at {address:#x} for {name}: see its message above")
            self._addresses = tuple(addresses)
        if not self.again(stream)():
            raise MachineError("TensorRT could not start the inference: see its message above")

    def again(self, stream: int) -> Callable[[], bool]:
        """A function that starts the last inference once more, and returns whether that worked."""
        return lambda: bool(self._context.execute_async_v3(stream))

    def capturable(self, stream: int) -> bool:
        """Whether the inference can be captured, as far as is known: only TensorRT-RTX says so in advance."""
        if hasattr(self._context, "is_stream_capturable"):
            return bool(self._context.is_stream_capturable(stream))
        return True
