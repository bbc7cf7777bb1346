"""The configurations of an ensemble that takes encoded images: a step that decodes them, and the network's."""

from __future__ import annotations

from collections.abc import Mapping

from wrn_deploy.serving.config import (
    MODEL_FILE,
    ServedModel,
    TritonBackend,
    output_entries,
    parameters_of,
    tensor_entry,
)
from wrn_deploy.serving.text_format import Config
from wrn_deploy.spec import TensorSpec

__all__ = ["DECODE", "ENCODED", "ENSEMBLE", "decoder_config", "decoder_name", "ensemble_config", "ensemble_name"]

DECODE, ENSEMBLE = "decode", "ensemble"  # values of the parameter `step`
ENCODED = "encoded"  # the input's name
FITTED = "fitted"  # the ensemble's name for what the network reads
ANY_LENGTH = -1
NEWEST = -1


def decoder_name(network: str) -> str:
    """The name of the step that decodes images for a network."""
    return f"{network}-{DECODE}"


def ensemble_name(network: str) -> str:
    """The name of the ensemble that decodes images and runs a network."""
    return f"{network}-{ENSEMBLE}"


def decoder_config(network: ServedModel) -> Config:
    """The ModelConfig of the step that decodes images.

    The input is a row of bytes, as in NVIDIA's own example of a preprocessing step, and not a string: a stub of the
    python backend that was built for numpy 1 loses strings with numpy 2, and DLPack has none. Requests do not wait for
    each other in batches here; the network's do.
    """
    return {
        "name": decoder_name(network.name),
        "backend": str(TritonBackend.PYTHON),
        "default_model_filename": MODEL_FILE,
        "max_batch_size": network.max_batch,
        "input": [_encoded()],
        "output": [tensor_entry(network.inputs)],
        "instance_group": [{"count": network.instances, "kind": "KIND_CPU"}],
        "version_policy": {"latest": {"num_versions": 1}},
        "parameters": parameters_of(_origin(network, DECODE)),
    }


def ensemble_config(network: ServedModel) -> Config:
    """The ModelConfig of the ensemble: encoded images in, the network's outputs out."""
    source = network.inputs.name
    decode = {
        "model_name": decoder_name(network.name),
        "model_version": NEWEST,
        "input_map": {ENCODED: ENCODED},
        "output_map": {source: FITTED},
    }
    run = {
        "model_name": network.name,
        "model_version": NEWEST,
        "input_map": {source: FITTED},
        "output_map": {output.name: output.name for output in network.outputs},
    }
    return {
        "name": ensemble_name(network.name),
        "platform": ENSEMBLE,
        "max_batch_size": network.max_batch,
        "input": [_encoded()],
        "output": output_entries(network),
        "ensemble_scheduling": {"step": [decode, run]},
        "version_policy": {"latest": {"num_versions": 1}},
        "parameters": parameters_of(_origin(network, ENSEMBLE)),
    }


def _encoded() -> Config:
    return tensor_entry(TensorSpec(ENCODED, "uint8", (ANY_LENGTH,)))


def _origin(network: ServedModel, step: str) -> Mapping[str, str]:
    return {"model": network.facts["model"], "step": step, "network": network.name}
