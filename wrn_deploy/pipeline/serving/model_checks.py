"""Checks one model of a repository: the schema of its configuration, and what the schema does not see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from wrn_deploy.backends.plan.validity import profiles_of
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.files.text import read_text
from wrn_deploy.files.trust import Trust
from wrn_deploy.manifest import Artifact, Kind
from wrn_deploy.pipeline.serving.ensemble_checks import ensemble_problems
from wrn_deploy.pipeline.serving.folders import CONFIG, config_of, newest_version
from wrn_deploy.pipeline.serving.models import plan_problems, tensors_of
from wrn_deploy.runtime.backend import runtimes
from wrn_deploy.runtime.plan_profile import PlanProfile
from wrn_deploy.serving.config import DATA_TYPES, LABELS, MODEL_FILE, TritonBackend, parameter_of
from wrn_deploy.serving.ensemble import DECODE
from wrn_deploy.serving.text_format import Config
from wrn_deploy.serving.versions import Triton
from wrn_deploy.spec import TensorSpec

__all__ = ["check_model"]


def check_model(
    model: Path, trusted: Trust, triton: Triton | None = None, *, others: Path | None = None
) -> tuple[str, ...]:
    """What is wrong with a model, each with what to do; empty if nothing is.

    Args:
        model: its folder in the repository.
        trusted: whose signature its versions need.
        triton: the release that is to serve it.
        others: the repository with the steps of an ensemble; None: the folder that the model is in.
    """
    try:
        config = config_of(model)
    except FileNotFoundError:
        return (f"{CONFIG} is missing: write the model again",)
    except (DeployError, OSError) as error:
        return (str(error),)
    return (
        *_general(model, config),
        *_of_ours(model, config, trusted, triton),
        *ensemble_problems(config, others or model.parent, trusted),
    )


def _general(model: Path, config: Config) -> Iterator[str]:
    """What Triton demands of every model."""
    yield from _batching(config)
    name = config.get("name", model.name)
    if name != model.name:
        yield f"its name is {name!r}: expected that of its folder, {model.name!r}"
    if not config.get("backend") and not config.get("platform"):
        yield f"no backend: expected one of {', '.join(TritonBackend)}"
    for group in config.get("instance_group", []):
        if group.get("kind") == "KIND_CPU" and group.get("gpus"):
            yield f"an instance group on the CPU names GPUs {group['gpus']}: expected KIND_GPU"
    for output in config.get("output", []):
        labels = output.get("label_filename")
        if labels and not (model / labels).is_file():
            yield f"{labels}, the labels of {output.get('name')}, is missing: write the model again"
    if newest_version(model) is None:
        yield "it has no version: expected a folder named 1"


def _batching(config: Config) -> Iterator[str]:
    largest, batching = config.get("max_batch_size", 0), config.get("dynamic_batching", {})
    for preferred in batching.get("preferred_batch_size", []):
        if preferred > largest:
            yield f"preferred_batch_size {preferred} is above max_batch_size {largest}: leave it out"
    if "default_queue_policy" in batching:
        yield "default_queue_policy stalls requests by 500 ms (seen with Triton 2.51.0): leave it out"
    if "dynamic_batching" in config and largest < 1:
        yield f"dynamic_batching with max_batch_size {largest}: expected at least 1"


def _of_ours(model: Path, config: Config, trusted: Trust, triton: Triton | None) -> Iterator[str]:
    """What the newest version's own bundle says about it."""
    key, version = parameter_of(config, "artifact"), newest_version(model)
    if parameter_of(config, "step") == DECODE and version is not None:
        yield from _decoder_faults(config, model / str(version), trusted)
    if key is None or version is None:
        return
    try:
        bundle = Bundle.open(model / str(version), trust=trusted)
        artifact = bundle.find(key, f"wrn-deploy repository BUNDLE --out {model.parent}")
    except DeployError as error:
        yield f"version {version}: {error}"
        return
    if artifact.sha256 != parameter_of(config, "sha256"):
        yield (
            f"version {version} has {key} {artifact.sha256[:12]}, and {CONFIG} describes "
            f"{(parameter_of(config, 'sha256') or 'none')[:12]}: it is stale; write the model again"
        )
    yield from _backend(model, config, artifact, version)
    yield from _tensor_faults(config, bundle, artifact)
    labels = bundle.spec.labels
    if labels and (model / LABELS).is_file() and read_text(model / LABELS).splitlines() != [*labels]:
        yield f"{LABELS} does not have the bundle's {len(labels)} labels: write the model again"
    if config.get("backend") == TritonBackend.TENSORRT and artifact.kind is Kind.PLAN:
        profiles = profiles_of(artifact.facts)
        yield from plan_problems(artifact, profiles, triton, "wrn-deploy build-engine BUNDLE")
        yield from _profile_faults(config, profiles)


def _decoder_faults(config: Config, version: Path, trusted: Trust) -> Iterator[str]:
    """What the manifest of a step that decodes says about it: how large its images are, as pixels or normalised."""
    try:
        size = Bundle.open(version, trust=trusted).spec.preprocessing
    except DeployError as error:
        yield f"version {version.name}: {error}"
        return
    pixels = ("TYPE_UINT8", [size.height, size.width, 3])
    normalised = ("TYPE_FP32", [3, size.height, size.width])
    for entry in config.get("output", []):
        if (entry.get("data_type"), entry.get("dims")) not in (pixels, normalised):
            yield (
                f"{entry.get('name')} is {entry.get('data_type')} {entry.get('dims')}: expected pixels, "
                f"{pixels[0]} {pixels[1]}, or normalised images, {normalised[0]} {normalised[1]}"
            )
    if config.get("default_model_filename") != MODEL_FILE:
        yield f"version {version.name} runs {config.get('default_model_filename')}: expected {MODEL_FILE}"
    if not (version / MODEL_FILE).is_file():
        yield f"version {version.name} has no {MODEL_FILE}: write the model again"


def _backend(model: Path, config: Config, artifact: Artifact, version: int) -> Iterator[str]:
    backend, file = config.get("backend"), config.get("default_model_filename")
    kinds = {TritonBackend.TENSORRT: Kind.PLAN, TritonBackend.ONNXRUNTIME: Kind.ONNX}
    if backend in kinds and artifact.kind is not kinds[TritonBackend(backend)]:
        yield f"backend {backend} cannot run {artifact.path}: expected a file of kind {kinds[TritonBackend(backend)]}"
    wanted = MODEL_FILE if backend == TritonBackend.PYTHON else artifact.path
    if file != wanted:
        yield f"version {version} runs {file}: expected {wanted}; write the model again"
    if not (model / str(version) / wanted).is_file():
        yield f"version {version} has no {wanted}: write the model again"
    runner = parameter_of(config, "backend")
    if backend == TritonBackend.PYTHON and runner not in runtimes():
        yield f"the python backend's runner is {runner}: expected one of {', '.join(runtimes())}"
    if backend == TritonBackend.TENSORRT and any(
        each.get("kind") == "KIND_CPU" for each in config.get("instance_group", [])
    ):
        yield "backend tensorrt on the CPU: expected KIND_GPU"


def _tensor_faults(config: Config, bundle: Bundle, artifact: Artifact) -> Iterator[str]:
    """Compares names, types and dims with the bundle's."""
    if config.get("backend") not in list(TritonBackend):
        return
    normalised = parameter_of(config, "input") == "normalised"
    try:
        source, results = tensors_of(bundle, artifact, TritonBackend(config["backend"]), normalised=normalised)
    except UsageError as error:
        yield str(error)
        return
    for kind, expected in (("input", (source,)), ("output", results)):
        found = config.get(kind, [])
        if [each.get("name") for each in found] != [each.name for each in expected]:
            names = ", ".join(each.name for each in expected)
            yield f"{kind}s {', '.join(str(each.get('name')) for each in found) or 'missing'}: expected {names}"
            continue
        for entry, tensor in zip(found, expected, strict=True):
            yield from _dims_faults(entry, tensor, config.get("max_batch_size", 0))


def _dims_faults(entry: Config, tensor: TensorSpec, largest: int) -> Iterator[str]:
    dims, wanted = entry.get("dims", []), list(tensor.shape)
    if dims[1:] == wanted and largest:
        yield f"{tensor.name} has dims {dims}, with the batch: expected {wanted}; Triton adds the batch itself"
    elif dims != wanted:
        yield f"{tensor.name} has dims {dims}: expected {wanted}"
    if entry.get("data_type") != DATA_TYPES[tensor.dtype]:
        yield f"{tensor.name} is {entry.get('data_type')}: expected {DATA_TYPES[tensor.dtype]}"


def _profile_faults(config: Config, profiles: Sequence[PlanProfile]) -> Iterator[str]:
    """The batches of the configuration against those of the plan."""
    largest = max(each.maximum for each in profiles)
    if config.get("max_batch_size", 0) > largest:
        yield f"max_batch_size {config['max_batch_size']} is above the plan's largest batch {largest}"
    wanted = [str(number) for number in range(len(profiles))]
    for group in config.get("instance_group", [{}]):
        found = group.get("profile", ["0"])  # Triton takes the first by default
        if found != wanted:
            yield f"an instance group has profiles {found}: expected {wanted}, all of the plan's"
