"""A plan, deserialized and checked against its bundle and this machine, that several execution contexts share."""

from __future__ import annotations

import struct
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wrn_deploy.backends.plan.buffers import PinnedMemory, tensor_bytes
from wrn_deploy.backends.plan.context import PlanContext
from wrn_deploy.backends.plan.runtime_cache import RuntimeCache
from wrn_deploy.backends.plan.validity import batches_of, plan_warnings, profiles_of
from wrn_deploy.errors import DamagedFile, DeployError, MachineError, StaleArtifact
from wrn_deploy.formatting import printable
from wrn_deploy.machine import find_gpu
from wrn_deploy.runtime.plan_profile import choose_profile
from wrn_deploy.spec import TensorSpec

__all__ = ["Expected", "SharedEngine", "check_rtx_plan", "deserialize_plan"]

# TensorRT's names of data types -> numpy's.
DTYPES = {
    "FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "INT8": "int8", "INT32": "int32", "INT64": "int64",
    "UINT8": "uint8", "BOOL": "bool",
}  # fmt: skip

# The header of a TensorRT-RTX plan, found by experiment with 1.7.1: magic, then the plan's length at byte 16.
RTX_MAGIC = b"vtrt"
RTX_LENGTH = struct.Struct("<16xQ")

# TensorRT-RTX's diagnostic -> the reason and what to do.
MACHINE_REASONS = {
    "VERSION_MISMATCH": "it was built by another version of TensorRT-RTX",
    "UNSUPPORTED_CC": "this GPU is not one of those it was built for; build it with --compute-capability",
    "OLD_CUDA_DRIVER": "the CUDA driver is too old; update it",
    "OLD_CUDA_RUNTIME": "the CUDA runtime is too old; update it",
    "INSUFFICIENT_GPU_MEMORY": "the GPU has too little memory; free some",
    "CUDA_ERROR": "CUDA cannot be used; look at the GPU and its driver with nvidia-smi",
}
MALFORMED = "MALFORMED_ENGINE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the bundle says about a plan: its tensors and the artifact's facts.

    Attributes:
        source: the input.
        results: the outputs.
        facts: the artifact's.
        host_code: whether the caller lets TensorRT run code of this machine's processor that the plan holds.
        cache: the file for kernels that TensorRT-RTX compiles for the plan; None: they are not kept.
    """

    source: TensorSpec
    results: tuple[TensorSpec, ...]
    facts: Mapping[str, Any]
    host_code: bool = False
    cache: Path | None = None


class SharedEngine:
    """An engine with its runtime and logger, freed with its last holder: see `release`.

    Attributes:
        batches: from the smallest batch of any profile to the largest; there may be gaps between profiles.
        activation_bytes: device memory that an execution context needs for activations, on any profile.
        image_bytes: of one image, for each tensor.
        captures_itself: whether TensorRT captures CUDA graphs itself, as TensorRT-RTX does.
        pinned: host memory that callers write images into.

    Raises:
        DeployError: the plan is damaged, or not the bundle's.
        MachineError: this machine cannot run it.
    """

    def __init__(self, module: Any, plan: bytes, expected: Expected) -> None:
        self.inputs: tuple[TensorSpec, ...] = (expected.source,)
        self.outputs = expected.results
        self.profiles, self.batches = profiles_of(expected.facts), batches_of(expected.facts)
        self.graphs_obstacle: str | None = None
        self._holders = 0
        self._lock = threading.Lock()
        self._module = module
        self._logger = module.Logger(module.Logger.ERROR)
        self._runtime = module.Runtime(self._logger)
        self._engine = deserialize_plan(module, self._runtime, plan, expected.facts, host_code=expected.host_code)
        self._check_tensors()
        self.activation_bytes = int(self._engine.device_memory_size_v2)
        self.image_bytes = tuple(tensor_bytes(tensor) for tensor in self.tensors)
        self.captures_itself = hasattr(module, "CudaGraphStrategy")
        self.pinned = PinnedMemory(expected.source)
        self._compiled = RuntimeCache(expected.cache)

    @property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """The input, then the outputs."""
        return (*self.inputs, *self.outputs)

    def profile_for(self, batch: int) -> int:
        """The index of the profile for a batch; raises DeployError if there is none: see `choose_profile`."""
        return choose_profile(self.profiles, batch)

    def new_context(self, batch: int, stream: int, activations: Any, *, kept: bool) -> PlanContext:
        """A new execution context on a batch's profile.

        Args:
            batch: the number of images.
            stream: the stream that prepares the profile; inferences must come after it.
            activations: device memory of `activation_bytes`, which contexts may share that never run at once; None if
                that is 0.
            kept: whether it is for this batch size alone, and TensorRT-RTX may capture a graph.

        Raises:
            MachineError: TensorRT cannot create it.
        """
        module, profile = self._module, self.profile_for(batch)
        strategy = module.ExecutionContextAllocationStrategy.USER_MANAGED
        if hasattr(module, "CudaGraphStrategy"):
            config = self._engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            # Each shape's kernels are compiled before its first run: otherwise generic ones run until then.
            config.dynamic_shapes_kernel_specialization_strategy = (
                module.DynamicShapesKernelSpecializationStrategy.EAGER
            )
            graphs = module.CudaGraphStrategy
            self._compiled.attach(config)
            config.cuda_graph_strategy = graphs.WHOLE_GRAPH_CAPTURE if kept else graphs.DISABLED
            context = self._engine.create_execution_context(config)
        else:
            context = self._engine.create_execution_context(strategy)
        if context is None or not context.set_optimization_profile_async(profile, stream):
            raise MachineError("TensorRT cannot make an execution context: free GPU memory, see its message above")
        if activations is not None:
            context.set_device_memory(int(activations), self.activation_bytes)
        return PlanContext(context, [tensor.name for tensor in self.tensors])

    def give_up_graphs(self, reason: str) -> None:
        """Turns CUDA graphs off for this engine, with a warning the first time."""
        with self._lock:
            first, self.graphs_obstacle = self.graphs_obstacle is None, self.graphs_obstacle or reason
        if first:
            text = f"CUDA graphs are off; kernels are launched one by one: {reason}"
            warnings.warn(printable(text), RuntimeWarning, stacklevel=2)

    def hold(self) -> SharedEngine:
        """Adds a holder.

        Raises:
            DeployError: the last one has released it.
        """
        with self._lock:
            if self._engine is None:
                raise DeployError("this backend is closed: open it again")
            self._holders += 1
        return self

    def release(self) -> None:
        """Removes a holder, whose contexts must be freed already; the last one frees the engine, then its runtime.

        The GPU's context must be current.
        """
        with self._lock:
            self._holders -= 1
            if self._holders <= 0:
                self._compiled.save()
                self.pinned.close()
                self._engine = None
                self._runtime = None
                self._logger = None

    def _check_tensors(self) -> None:
        modes = self._module.TensorIOMode
        wanted = {(tensor.name, modes.INPUT) for tensor in self.inputs}
        wanted |= {(tensor.name, modes.OUTPUT) for tensor in self.outputs}
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        if {(name, self._engine.get_tensor_mode(name)) for name in names} != wanted:
            has, needs = ", ".join(names), ", ".join(tensor.name for tensor in self.tensors)
            raise StaleArtifact(f"the plan's tensors are {has}: the bundle's are {needs}; rebuild it from this bundle")
        for tensor in self.tensors:
            dtype = self._engine.get_tensor_dtype(tensor.name).name
            dtype = DTYPES.get(dtype, dtype)
            shape = tuple(self._engine.get_tensor_shape(tensor.name))
            if (dtype, shape[1:]) != (tensor.dtype, tensor.shape):
                raise StaleArtifact(
                    f"the plan's {tensor.name} is {dtype} {('N', *shape[1:])}: the bundle says {tensor.dtype} "
                    f"{('N', *tensor.shape)}; rebuild it from this bundle"
                )


def deserialize_plan(
    module: Any, runtime: Any, plan: bytes, facts: Mapping[str, Any], *, host_code: bool = False
) -> Any:
    """The engine of a plan.

    Args:
        module: TensorRT's Python module, of either flavour.
        runtime: one of its runtimes; the engine must not outlive it.
        plan: the whole file.
        facts: the plan artifact's.
        host_code: whether a version-compatible plan may run the code in it; no fact of the plan can allow that.

    Raises:
        DamagedFile: the plan is damaged, or of the other flavour.
        StaleArtifact: its profiles are not those of the manifest.
        MachineError: this machine cannot run it.
    """
    if hasattr(runtime, "get_engine_validity"):
        check_rtx_plan(plan)
        validity, reasons = runtime.get_engine_validity(plan)
        if validity == module.EngineValidity.INVALID:
            members = module.EngineInvalidityDiagnostics.__members__.items()
            raise _invalid([name for name, member in members if int(member) & int(reasons)])
    elif not plan or plan.startswith(RTX_MAGIC):
        found = "is empty" if not plan else "is for TensorRT-RTX"
        raise DamagedFile(f"the plan {found}: expected one for TensorRT; rebuild it")
    gpu = find_gpu()
    causes = plan_warnings(facts, gpu) if gpu else ()
    because = f" ({'; '.join(causes)})" if causes else ""
    if facts.get("version_compatible") and not facts.get("exclude_lean_runtime"):
        if not host_code:
            raise DeployError(
                "the plan is version-compatible, so it contains code for this machine's processor, which is not run "
                "unless you allow it: if you trust who built it, give --allow-host-code, or set the option "
                "allow_host_code"
            )
        runtime.engine_host_code_allowed = True
    try:
        engine = runtime.deserialize_cuda_engine(plan)
    except (RuntimeError, TypeError, ValueError, MemoryError) as error:  # pybind11's, for what the library throws
        raise DamagedFile(f"the plan cannot be deserialized{because} ({error}): rebuild it here") from error
    if engine is None:
        raise MachineError(f"the plan cannot be deserialized on this GPU{because}: rebuild it here")
    if facts.get("inputs") and facts.get("profiles"):
        _check_profiles(engine, facts)
    return engine


def check_rtx_plan(plan: bytes) -> None:
    """Raises DamagedFile unless the bytes are a whole plan of TensorRT-RTX."""
    if plan[:4] != RTX_MAGIC:
        raise DamagedFile(f"the plan starts with {plan[:4]!r}, not with {RTX_MAGIC!r}: rebuild it")
    length = RTX_LENGTH.unpack_from(plan)[0] if len(plan) >= RTX_LENGTH.size else None
    if length != len(plan):
        raise DamagedFile(f"the plan has {len(plan)} bytes and declares {length}: rebuild it")


def _check_profiles(engine: Any, facts: Mapping[str, Any]) -> None:
    """Checks the engine's profiles against the manifest, which alone limits batches later."""
    name = facts["inputs"][0]["name"]
    expected = [(each.minimum, each.optimum, each.maximum) for each in profiles_of(facts)]
    try:
        shapes = [engine.get_tensor_profile_shape(name, index) for index in range(engine.num_optimization_profiles)]
        found = [tuple(int(shape[0]) for shape in profile) for profile in shapes]
    except (IndexError, RuntimeError, ValueError) as error:
        raise StaleArtifact(f"the plan has no input {name} ({error}): rebuild it from this bundle") from error
    if found != expected:
        raise StaleArtifact(f"the plan's batches are {found}, and the manifest says {expected}: rebuild it")


def _invalid(reasons: list[str]) -> DeployError:
    if MALFORMED in reasons:
        return DamagedFile("TensorRT-RTX reports a damaged plan: rebuild it")
    causes = "; ".join(MACHINE_REASONS.get(name, name) for name in reasons) or "no usable GPU and driver"
    return MachineError(f"TensorRT-RTX cannot run the plan here: {causes}; or rebuild it here")
