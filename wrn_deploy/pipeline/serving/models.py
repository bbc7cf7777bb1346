"""What of a bundle Triton is to serve: the artifact, its tensors and batches; opens no artifact."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from wrn_deploy.backends.plan.validity import input_of, plan_mismatch, profiles_of
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, MissingArtifact, UsageError
from wrn_deploy.manifest import Artifact, Kind
from wrn_deploy.runtime.backend import PREFERRED, choose, find_runtime
from wrn_deploy.runtime.plan_profile import PlanProfile
from wrn_deploy.serving.config import MODEL_FILE, ServedModel, TritonBackend
from wrn_deploy.serving.versions import Triton
from wrn_deploy.spec import Precision, TensorSpec

__all__ = ["ServeModelOptions", "describe_model", "plan_problems", "tensors_of"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
MAX_BATCH = 32
RTX = "tensorrt_rtx"
INSTEAD_OF_RTX = (
    "Triton's TensorRT backend does not take TensorRT-RTX plans: use --backend python --runner tensorrt_rtx, or build "
    "with --flavor tensorrt"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeModelOptions:
    """How a bundle is served.

    Args:
        backend: which of Triton's backends runs it.
        precision: that of the artifact; None: the backend's preferred one.
        runner: python only: the backend of `Runner`, as in "onnxruntime"; None: the first that can run here.
        normalised: python only: take normalised float32 images, as the graph does, and not pixels.
        name: the model's name; None: the network's.
        triton: the release that is to serve it; None: not checked.
        instances: on each GPU, or on the CPU.
        gpus: the GPUs to run on; empty: all for `tensorrt`, none for the others.
        max_batch: the largest batch; None: the plan's, or 32.
        threads: CPU threads of each instance; None: the library's default.
        ensemble: also write a step that decodes images, and an ensemble of it and the model.
    """

    backend: TritonBackend = TritonBackend.PYTHON
    precision: Precision | None = None
    runner: str | None = None
    normalised: bool = False
    name: str | None = None
    triton: Triton | None = None
    instances: int = 1
    gpus: tuple[int, ...] = ()
    max_batch: int | None = None
    threads: int | None = None
    ensemble: bool = False

    def __post_init__(self) -> None:
        if self.name is not None and not NAME.fullmatch(self.name):
            raise UsageError(f"--name {self.name!r}: expected letters, digits, dots, dashes and underscores")
        if self.instances < 1 or (self.max_batch is not None and self.max_batch < 1):
            raise UsageError(f"{self.instances} instances, batches up to {self.max_batch}: expected at least 1 of each")
        if len(set(self.gpus)) < len(self.gpus) or min(self.gpus, default=0) < 0:
            raise UsageError(f"--gpus {','.join(map(str, self.gpus))}: expected distinct numbers of at least 0")
        given = {"--runner": self.runner is not None, "--normalised": self.normalised}
        for option, present in given.items():
            if present and self.backend is not TritonBackend.PYTHON:
                raise UsageError(f"{option} with --backend {self.backend}: expected --backend python")
        fixed = {"--max-batch": self.max_batch is not None, "--threads": self.threads is not None}
        for option, present in fixed.items():
            if present and self.backend is TritonBackend.TENSORRT:
                raise UsageError(f"{option} with --backend tensorrt: expected neither; the plan's profiles decide")


def describe_model(bundle: Bundle, options: ServeModelOptions) -> tuple[ServedModel, Artifact]:
    """What Triton must know about the bundle, and the artifact that it runs, whose file has been checked.

    Raises:
        MissingArtifact, StaleArtifact, DamagedFile: the bundle lacks the artifact, or it cannot be used.
        DeployError: Triton cannot run it: a TensorRT-RTX plan, another TensorRT's, or one without its weights.
        UsageError: the backend does not run this precision.
        MachineError: no backend of `Runner` can run it here, and no --runner is given.
    """
    artifact, precision, runner = _find(bundle, options)
    profiles = profiles_of(artifact.facts) if artifact.kind is Kind.PLAN else ()
    triton_runs_plan = options.backend is TritonBackend.TENSORRT
    if triton_runs_plan:
        remedy = bundle.command_for(artifact.key)
        problems = plan_problems(artifact, profiles, options.triton, remedy)
        if problems:
            raise DeployError(f"{bundle.folder}: {problems[0]}")
    inputs, outputs = tensors_of(bundle, artifact, options.backend, normalised=options.normalised)
    model = ServedModel(
        name=options.name or bundle.spec.name,
        backend=options.backend,
        file=MODEL_FILE if options.backend is TritonBackend.PYTHON else artifact.path,
        inputs=inputs,
        outputs=outputs,
        max_batch=options.max_batch or max((each.maximum for each in profiles), default=MAX_BATCH),
        labels=bool(bundle.spec.labels),
        profiles=profiles if triton_runs_plan else (),
        instances=options.instances,
        gpus=options.gpus,
        on_gpu=triton_runs_plan or bool(options.gpus),
        threads=options.threads,
        facts=_facts(bundle, artifact, precision, runner, options),
    )
    return model, artifact


def plan_problems(
    artifact: Artifact, profiles: Sequence[PlanProfile], triton: Triton | None, remedy: str
) -> tuple[str, ...]:
    """Why Triton's TensorRT backend cannot run a plan, each with what to do; empty if it can.

    Args:
        artifact: the plan's.
        profiles: the plan's.
        triton: the release that is to run it; None: not checked.
        remedy: the command that builds it.
    """
    found = []
    if artifact.facts.get("flavor") == RTX:
        return (f"{artifact.path} is a TensorRT-RTX plan; {INSTEAD_OF_RTX}",)
    if triton is not None:
        mismatch = plan_mismatch(artifact.facts, triton.tensorrt, None, remedy=f"{remedy} --rebuild")
        if mismatch is not None:
            found.append(
                f"{artifact.path} does not fit Triton {triton.release}, which has TensorRT {triton.tensorrt}: "
                f"{mismatch.replace('rebuild it here', 'rebuild it with that TensorRT')}"
            )
    elif artifact.facts.get("strip"):
        found.append(
            f"{artifact.path} has no weights (--strip), and Triton does not refit it: run `{remedy} --rebuild`"
        )
    missing = _uncovered(profiles)
    if missing is not None:
        found.append(
            f"{artifact.path} does not take a batch of {missing}, and Triton does not pad batches: build it with "
            f"profiles that cover every batch from 1, such as `{remedy} --profile 1:8:32`"
        )
    return tuple(found)


def tensors_of(
    bundle: Bundle, artifact: Artifact, backend: TritonBackend, *, normalised: bool
) -> tuple[TensorSpec, tuple[TensorSpec, ...]]:
    """The input and the outputs of the served model, without the batch."""
    source = input_of(artifact.facts) if artifact.kind is Kind.PLAN else bundle.spec.input
    if backend is TritonBackend.PYTHON and not normalised:
        size = bundle.spec.preprocessing
        return TensorSpec(source.name, "uint8", (size.height, size.width, 3)), bundle.spec.outputs
    if normalised and source.dtype == "uint8":
        raise UsageError(f"--normalised: {artifact.path} takes pixels; leave it out")
    return source, bundle.spec.outputs


def _find(bundle: Bundle, options: ServeModelOptions) -> tuple[Artifact, Precision, str]:
    """The artifact, the precision that runs, and the name of the backend of ours that runs such artifacts."""
    precision = options.precision
    match options.backend:
        case TritonBackend.TENSORRT:
            precision = precision or PREFERRED["tensorrt"]
            key = f"plan-{precision}-tensorrt"
            if key not in bundle.artifacts and f"plan-{precision}-{RTX}" in bundle.artifacts:
                raise MissingArtifact(f"{bundle.folder} has a {precision} plan of TensorRT-RTX only. {INSTEAD_OF_RTX}")
            return bundle.find(key), precision, "tensorrt"
        case TritonBackend.ONNXRUNTIME:
            name = "onnxruntime_cuda" if options.gpus else "onnxruntime"
            precision = precision or PREFERRED[name]
        case TritonBackend.PYTHON:
            name, precision = choose(bundle, options.runner, precision)
    runtime = find_runtime(name)
    if precision not in runtime.precisions:
        raise UsageError(f"{runtime.title} does not run {precision}: expected one of {', '.join(runtime.precisions)}")
    return runtime.find_artifact(bundle, precision), precision, name


def _facts(
    bundle: Bundle, artifact: Artifact, precision: Precision, runner: str, options: ServeModelOptions
) -> dict[str, str]:
    recipe = artifact.recipe
    facts = {
        "model": bundle.spec.name,
        "artifact": artifact.key,
        "sha256": artifact.sha256,
        "precision": str(precision),
        "parents": " ".join(f"{key}={digest}" for key, digest in sorted(recipe.parents.items())),
        "tools": " ".join(f"{package}={version}" for package, version in sorted(recipe.tools.items())),
    }
    if options.backend is TritonBackend.PYTHON:
        facts |= {"backend": runner, "input": "normalised" if options.normalised else "pixels"}
        if options.threads is not None:
            facts["threads"] = str(options.threads)
    return facts


def _uncovered(profiles: Sequence[PlanProfile]) -> int | None:
    """The smallest batch below the largest that no profile takes; None: there is none."""
    wanted = 1
    for each in sorted(profiles, key=lambda profile: profile.minimum):
        if each.minimum > wanted:
            return wanted
        wanted = max(wanted, each.maximum + 1)
    return None
