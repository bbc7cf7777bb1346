"""Checks an ensemble: its steps are in the repository, and what one writes is what the next one reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.errors import DeployError
from wrn_deploy.files.trust import Trust
from wrn_deploy.pipeline.serving.folders import CONFIG, bundle_in, config_of, is_ours, models_in, newest_version
from wrn_deploy.serving.ensemble import ENSEMBLE
from wrn_deploy.serving.text_format import Config

__all__ = ["ensemble_problems"]

ANY = -1  # of versions the newest, of dims each length


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A step: how errors name it, its model, what the ensemble says of it, and its model's configuration."""

    title: str
    model: Path
    maps: Config
    config: Config

    def entries(self, kind: str) -> dict[str, Config]:
        """The model's inputs or outputs by name."""
        return {each.get("name", ""): each for each in self.config.get(kind, [])}

    @property
    def inputs(self) -> Mapping[str, str]:
        """Name of an input -> the ensemble's tensor that it reads."""
        found: Mapping[str, str] = self.maps.get("input_map", {})
        return found

    @property
    def outputs(self) -> Mapping[str, str]:
        """Name of an output -> the ensemble's tensor that it writes."""
        found: Mapping[str, str] = self.maps.get("output_map", {})
        return found


def ensemble_problems(config: Config, repository: Path, trusted: Trust) -> Iterator[str]:
    """What is wrong with an ensemble, each with what was expected; nothing for other models.

    Args:
        config: its configuration.
        repository: where its steps are.
        trusted: whose signature bundles need.
    """
    described = config.get("ensemble_scheduling", {}).get("step", [])
    if config.get("platform") != ENSEMBLE:
        if "ensemble_scheduling" in config:
            yield f'ensemble_scheduling with platform {config.get("platform")!r}: expected "{ENSEMBLE}"'
        return
    for field in ("backend", "instance_group"):
        if config.get(field):
            yield f"an ensemble with {field}: leave it out, its steps have their own"
    if not described:
        yield "an ensemble without steps: expected at least one step in ensemble_scheduling"
    steps = list[_Step]()
    for number, maps in enumerate(described, 1):
        found = _find(number, maps, repository)
        if isinstance(found, str):
            yield found
        else:
            steps.append(found)
            yield from _names(found)
            yield from _batches(config, found)
    if len(steps) == len(described) > 0:
        yield from _flow(config, steps)
    yield from _preprocessing(steps, trusted)


def _find(number: int, maps: Config, repository: Path) -> _Step | str:
    """A step, or why there is none."""
    name, version = maps.get("model_name", ""), maps.get("model_version", ANY)
    title = f"step {number}, {name}," if name else f"step {number}"
    model = next((path for path in models_in(repository) if path.name == name), None)
    if model is None:
        return f"{title} names no model of the repository: expected one; write the models again with --ensemble"
    if version != ANY and not (model / str(version)).is_dir():
        return f"{title} has no version {version}: expected one that is there, or {ANY} for the newest"
    try:
        return _Step(title=title, model=model, maps=maps, config=config_of(model))
    except (DeployError, OSError) as error:
        return f"{title} has no {CONFIG} that can be read: {error}"


def _names(step: _Step) -> Iterator[str]:
    """The maps' keys against the inputs and outputs of the step's model."""
    inputs, outputs = step.entries("input"), step.entries("output")
    for name, entry in inputs.items():
        if name not in step.inputs and not entry.get("optional"):
            yield f"{step.title} gets no {name}: expected it in input_map"
    for kind, given, known in (("input", step.inputs, inputs), ("output", step.outputs, outputs)):
        for name in given:
            if name not in known:
                yield f"{step.title} has no {kind} {name}: expected {', '.join(known)} in {kind}_map"


def _batches(config: Config, step: _Step) -> Iterator[str]:
    ours, theirs = config.get("max_batch_size", 0), step.config.get("max_batch_size", 0)
    if ours > theirs:
        yield f"max_batch_size {ours} is above the {theirs} of {step.title.rstrip(',')}: expected at most that"


def _flow(config: Config, steps: Sequence[_Step]) -> Iterator[str]:
    """Follows the tensors: each is written once, before it is read, with the type and dims that its reader expects."""
    there = {entry.get("name", ""): entry for entry in config.get("input", [])}
    waiting = list(steps)
    while waiting:
        ready = [step for step in waiting if all(tensor in there for tensor in step.inputs.values())]
        if not ready:
            for step in waiting:
                for tensor in sorted({*step.inputs.values()} - there.keys()):
                    yield f"{step.title} reads {tensor}, which no input and no step before it writes"
            return
        for step in ready:
            waiting.remove(step)
            yield from _run(step, there)
    for entry in config.get("output", []):
        name = entry.get("name", "")
        if name in there:
            yield from _differences(f"the output {name} comes", there[name], entry)
        else:
            yield f"no step writes the output {name}: expected it in an output_map"


def _run(step: _Step, there: dict[str, Config]) -> Iterator[str]:
    """What is wrong with what a step reads of the tensors that are there, and writes to them."""
    inputs, outputs = step.entries("input"), step.entries("output")
    for name, tensor in step.inputs.items():
        yield from _differences(f"{step.title} reads {tensor}", there[tensor], inputs.get(name))
    for name, tensor in step.outputs.items():
        if tensor in there:
            yield f"{step.title} writes {tensor} again: expected each tensor to be written once"
        there.setdefault(tensor, outputs.get(name, {}))


def _differences(what: str, given: Config, wanted: Config | None) -> Iterator[str]:
    """Compares type and dims, if both are known."""
    if not given or wanted is None:
        return
    if given.get("data_type") != wanted.get("data_type"):
        yield f"{what} as {given.get('data_type')}: expected {wanted.get('data_type')}"
    ours, theirs = given.get("dims", []), wanted.get("dims", [])
    if len(ours) != len(theirs) or any(
        one != other and ANY not in (one, other) for one, other in zip(ours, theirs, strict=True)
    ):
        yield f"{what} with dims {ours}: expected {theirs}"


def _preprocessing(steps: Sequence[_Step], trusted: Trust) -> Iterator[str]:
    """Steps of ours must prepare images in the same way: else the network gets other images than it was trained on."""
    bundles = [
        bundle_in(step.model / str(newest_version(step.model)), trusted) for step in steps if is_ours(step.config)
    ]
    if len({bundle.spec.preprocessing for bundle in bundles if bundle is not None}) > 1:
        yield "its steps prepare images in different ways: write the models again with --ensemble"
