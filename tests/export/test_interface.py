"""The interface around a graph: the same numbers with it, and the same graph without it again."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest

from tests.export.conftest import Exported
from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.collection.table import Equalization
from wrn_deploy.calib.equalization.channels import channel_classes
from wrn_deploy.calib.equalization.equalize import classifier_factors, equalize
from wrn_deploy.data.preprocess import normalize
from wrn_deploy.errors import DeployError
from wrn_deploy.export.check import check_structure
from wrn_deploy.export.half import convert_bf16, convert_fp16
from wrn_deploy.export.interface import unwrap, wrap
from wrn_deploy.runtime.sessions import infer_all, open_session
from wrn_deploy.spec import Interface, ModelSpec

WIDTH = 64  # pooled features of wrn-10-1
INTERFACES = [
    Interface(pixels=pixels, top_k=top_k, features=features)
    for pixels, top_k, features in itertools.product((False, True), (None, 3), (0, WIDTH))
    if pixels or top_k or features
]
EVERYTHING = Interface(pixels=True, top_k=3, features=WIDTH)
GRAPHS = ("fp32", "fp16", "bf16", "int8-tensorrt", "int8-onnxruntime")

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def spec(made_bundle: Path) -> ModelSpec:
    return Bundle.open(made_bundle).spec


@pytest.fixture(scope="module")
def cores(made_bundle: Path, reader: Exported) -> dict[str, ir.Model]:
    """The graphs of a bundle without an interface, which a test must not change."""
    stored = {name: ir.load(made_bundle / f"{name}.onnx") for name in GRAPHS if name != "bf16"}
    return {**stored, "bf16": convert_bf16(reader.graph)}


@pytest.fixture(scope="module")
def noise(spec: ModelSpec) -> Pixels:
    """Every value in every channel, on the border too."""
    shape = (7, spec.preprocessing.height, spec.preprocessing.width, 3)
    return np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)


def with_interface(spec: ModelSpec, interface: Interface) -> ModelSpec:
    return dataclasses.replace(spec, interface=interface)


def run(model: ir.Model, images: npt.NDArray[Any], name: str = "fp32") -> dict[str, npt.NDArray[Any]]:
    graph = ir.to_proto(model).SerializeToString()
    return infer_all(open_session(graph, threads=1, fuses_qdq=name != "int8-tensorrt"))(images)


def serialized(model: ir.Model) -> bytes:
    graph: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    return graph


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("interface", INTERFACES, ids=str)
def test_what_is_taken_off_again_is_the_same_bytes(
    cores: dict[str, ir.Model], spec: ModelSpec, name: str, interface: Interface, tmp_path: Path
) -> None:
    core, wanted = cores[name], serialized(cores[name])
    wrapped = wrap(core, with_interface(spec, interface))
    assert serialized(wrapped) != wanted
    assert serialized(unwrap(wrapped)) == wanted
    assert serialized(core) == wanted, "the core was changed"
    ir.save(wrapped, tmp_path / "graph.onnx")
    assert serialized(unwrap(ir.load(tmp_path / "graph.onnx"))) == wanted


@pytest.mark.parametrize("name", GRAPHS)
def test_it_takes_and_gives_what_the_description_says(cores: dict[str, ir.Model], spec: ModelSpec, name: str) -> None:
    for interface in INTERFACES:
        told = with_interface(spec, interface)
        check_structure(wrap(cores[name], told), told)


@pytest.mark.parametrize("name", [name for name in GRAPHS if name != "bf16"])
def test_pixels_give_the_logits_of_normalised_images_bit_for_bit(
    cores: dict[str, ir.Model], spec: ModelSpec, noise: Pixels, name: str
) -> None:
    """In int8 too: so the codes that the first Conv reads are the same."""
    wrapped = wrap(cores[name], with_interface(spec, Interface(pixels=True)))
    wanted = run(cores[name], normalize(noise, spec.preprocessing), name)["logits"]
    assert wanted.std() > 0.1
    np.testing.assert_array_equal(run(wrapped, noise, name)["logits"], wanted)


def test_pixels_become_what_normalising_makes_of_them(
    cores: dict[str, ir.Model], spec: ModelSpec, noise: Pixels
) -> None:
    wrapped = wrap(cores["fp32"], with_interface(spec, Interface(pixels=True)))
    wrapped.graph.outputs[:] = [node.outputs[0] for node in wrapped.graph if node.name == "interface.images"]
    (found,) = run(wrapped, noise).values()
    np.testing.assert_array_equal(found, normalize(noise, spec.preprocessing))


@pytest.mark.parametrize("name", [name for name in GRAPHS if name != "bf16"])
def test_the_top_classes_are_those_of_the_logits(
    cores: dict[str, ir.Model], spec: ModelSpec, noise: Pixels, name: str
) -> None:
    images = normalize(noise, spec.preprocessing)
    logits = run(cores[name], images, name)["logits"]
    found = run(wrap(cores[name], with_interface(spec, Interface(top_k=3))), images, name)
    best = np.argsort(-logits, axis=1, kind="stable")[:, :3]
    assert list(found) == ["top_logits", "top_classes"]
    np.testing.assert_array_equal(found["top_classes"], best)
    np.testing.assert_array_equal(found["top_logits"], np.take_along_axis(logits, best, axis=1))


def test_the_features_are_what_the_classifier_reads(
    reader: Exported, cores: dict[str, ir.Model], spec: ModelSpec, noise: Pixels
) -> None:
    images = normalize(noise, spec.preprocessing)
    fc = dict(reader.network.named_modules())["fc"]
    state = {name: value.detach().numpy() for name, value in fc.named_parameters()}
    for name, error in (("fp32", 1e-4), ("fp16", 2e-2), ("int8-onnxruntime", 0.3), ("int8-tensorrt", 0.3)):
        found = run(wrap(cores[name], with_interface(spec, Interface(features=WIDTH))), images, name)
        assert found["features"].shape == (len(noise), WIDTH)
        logits = found["features"] @ state["weight"].T + state["bias"]
        assert np.abs(logits - reader.infer(images)).max() <= error * np.abs(logits).max(), name


def test_features_that_equalisation_rescaled_are_given_in_their_own_units(
    cores: dict[str, ir.Model], spec: ModelSpec, noise: Pixels
) -> None:
    core, images = cores["fp32"], normalize(noise, spec.preprocessing)
    told = with_interface(spec, Interface(features=WIDTH))
    scales = np.random.default_rng(1).uniform(0.1, 10, WIDTH)
    how = Equalization(factors={channel_classes(core.graph)["avgpool"]: scales.tolist()}, shifts={})
    equal, factors = equalize(core, how), classifier_factors(core.graph, how)
    assert factors == scales.tolist()
    wanted = run(wrap(core, told), images)["features"]
    assert not np.allclose(run(wrap(equal, told), images)["features"], wanted, rtol=0.1)
    for made in (equal, convert_fp16(equal)):
        wrapped = wrap(made, told, np.asarray(factors, dtype=np.float32))
        np.testing.assert_allclose(run(wrapped, images)["features"], wanted, atol=5e-3 * wanted.max())
        assert serialized(unwrap(wrapped)) == serialized(made)


def test_without_equalisation_there_are_no_factors(cores: dict[str, ir.Model]) -> None:
    assert classifier_factors(cores["fp32"].graph, Equalization()) is None


def test_pixels_are_normalised_in_float32_before_the_cast_to_half(cores: dict[str, ir.Model], spec: ModelSpec) -> None:
    graph = wrap(cores["fp16"], with_interface(spec, EVERYTHING)).graph
    types = [(node.op_type, node.outputs[0].dtype) for node in graph][:5]
    float32, half = ir.DataType.FLOAT, ir.DataType.FLOAT16
    assert types == [("Cast", float32), ("Transpose", float32), ("Mul", float32), ("Add", float32), ("Cast", half)]


def test_a_graph_without_an_interface_is_left_as_it_is(cores: dict[str, ir.Model]) -> None:
    assert unwrap(cores["fp32"]) is cores["fp32"]


@pytest.mark.parametrize("name", ["interface.top_k", "interface.images"])
def test_an_interface_that_was_changed_is_refused(cores: dict[str, ir.Model], spec: ModelSpec, name: str) -> None:
    wrapped = wrap(cores["fp32"], with_interface(spec, EVERYTHING))
    for node in wrapped.graph:
        if node.name == name:
            node.name = "interface.other"
    with pytest.raises(DeployError, match=r"interface is not as it was written \(.+\): export the model again"):
        unwrap(wrapped)


def test_another_number_of_features_is_refused(cores: dict[str, ir.Model], spec: ModelSpec) -> None:
    with pytest.raises(DeployError, match="the graph's classifier reads 64 features: expected 65"):
        wrap(cores["fp32"], with_interface(spec, Interface(features=WIDTH + 1)))


def test_a_graph_without_a_classifier_has_no_features(spec: ModelSpec) -> None:
    images = ir.val("images", ir.DataType.FLOAT, ["batch", 3])
    relu = ir.node("Relu", [images], name="relu")
    logits = relu.outputs[0]
    logits.name, logits.type, logits.shape = "logits", images.type, images.shape
    model = ir.Model(ir.Graph([images], [logits], nodes=[relu], opset_imports={"": 20}), ir_version=10)
    with pytest.raises(DeployError, match="the logits do not come out of a Gemm or MatMul"):
        wrap(model, with_interface(spec, Interface(features=WIDTH)))


def test_onnx_runtime_fuses_what_it_fuses_without_an_interface(
    cores: dict[str, ir.Model], spec: ModelSpec, tmp_path: Path
) -> None:
    """One file for each: how many integer kernels there are after its optimisation."""
    import onnxruntime as ort

    counts = []
    core = cores["int8-onnxruntime"]
    for model in (core, wrap(core, with_interface(spec, EVERYTHING))):
        options = ort.SessionOptions()
        options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimized.onnx"), 3
        ort.InferenceSession(serialized(model), options, providers=["CPUExecutionProvider"])
        nodes = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
        counts.append({kind: nodes.count(kind) for kind in ("QLinearConv", "QLinearAdd", "Conv", "QuantizeLinear")})
    assert counts[0] == counts[1]
    assert counts[0]["QLinearConv"] > 5
