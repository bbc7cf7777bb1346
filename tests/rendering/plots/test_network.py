"""Networks as pictures: blocks found by structure, folding, places, and the description in words."""

from __future__ import annotations

import dataclasses
import itertools
from xml.etree import ElementTree as ET

import pytest

from wrn_deploy.rendering.plots.network import Layer, LayerKind, Network, Tensor, segments_of
from wrn_deploy.rendering.plots.network_layout import lay_out
from wrn_deploy.rendering.plots.network_svg import draw_network

SVG = "{http://www.w3.org/2000/svg}"


def _conv(name: str, **changes: object) -> Layer:
    layer = Layer(
        name=name,
        kind=LayerKind.CONV,
        label="3x3 Conv, 16 → 16",
        shape=(16, 8, 8),
        parameters=2304,
        macs=147456,
        arithmetic="fp32",
    )
    return dataclasses.replace(layer, **changes)  # type: ignore[arg-type]


def residual(changes: dict[str, object] | None = None, blocks: int = 3) -> Network:
    """An input, a Conv, `blocks` residual blocks, and one with a Conv in its skip; `changes` to the second block."""
    layers = [Layer(name="images", kind=LayerKind.INPUT, label="input", shape=(3, 8, 8)), _conv("stem")]
    tensors = [Tensor(0, 1)]
    for block in range(blocks + 1):
        before, at = len(layers) - 1, len(layers)
        changed = (changes or {}) if block == 1 else {}
        layers += [_conv(f"b.{block}.one", **changed), _conv(f"b.{block}.two")]
        tensors += [Tensor(before, at), Tensor(at, at + 1)]
        skip = before
        if block == blocks:
            layers.append(_conv(f"b.{block}.skip"))
            skip = at + 2
            tensors.append(Tensor(before, skip))
        layers.append(Layer(name=f"b.{block}.add", kind=LayerKind.SUM, label="+ · ReLU", shape=(16, 8, 8)))
        tensors += [Tensor(at + 1, len(layers) - 1), Tensor(skip, len(layers) - 1)]
    return Network("net", "fp32", tuple(layers), tuple(tensors))


def test_blocks_are_what_lies_between_single_tensors() -> None:
    found = segments_of(residual(), fold=False)
    assert [segment.title for segment in found] == ["images", "stem", "b.0", "b.1", "b.2", "b.3"]
    assert [segment.is_block for segment in found] == [False, False, True, True, True, True]


def test_equal_blocks_in_a_row_are_folded() -> None:
    found = segments_of(residual(), fold=True)
    assert [(segment.title, segment.count) for segment in found] == [
        ("images", 1), ("stem", 1), ("b.0 … b.2", 3), ("b.3", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes", [{"arithmetic": "int8"}, {"label": "1x1 Conv"}, {"shape": (16, 4, 4)}, {"outputs": ("map",)}]
)
def test_a_block_that_differs_is_not_folded(changes: dict[str, object]) -> None:
    found = segments_of(residual(changes), fold=True)
    assert [segment.title for segment in found][2:] == ["b.0", "b.1", "b.2", "b.3"]


def test_codes_on_a_tensor_make_a_difference() -> None:
    network = residual()
    tensors = tuple(dataclasses.replace(t, codes="int8") if t.target == 5 else t for t in network.tensors)
    changed = dataclasses.replace(network, tensors=tensors)
    assert len(segments_of(changed, fold=True)) == 6


@pytest.mark.parametrize("fold", [True, False])
def test_no_box_covers_another_and_tensors_go_down(fold: bool) -> None:
    network = residual()
    layout = lay_out(network, 100.0, fold=fold)
    assert len(layout.boxes) == (len(network.layers) - 6 if fold else len(network.layers))
    for one, other in itertools.combinations(layout.boxes.values(), 2):
        beside = one.right <= other.left or other.right <= one.left
        assert beside or one.bottom <= other.top or other.bottom <= one.top
    for tensor in network.tensors:
        if {tensor.source, tensor.target} <= set(layout.boxes):
            assert layout.boxes[tensor.source].bottom < layout.boxes[tensor.target].top
    last = max(layout.boxes)
    assert (layout.columns[last - 1], layout.columns[last]) == (1, 0), (
        "the Conv of the skip stands beside the longer way"
    )


@pytest.mark.parametrize("fold", [True, False])
def test_the_picture_is_well_formed_and_all_of_it_is_inside(fold: bool) -> None:
    network = dataclasses.replace(residual(), name="<&>" * 30)
    root = ET.fromstring(draw_network(network, fold=fold).to_file())
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for text in root.iter(f"{SVG}text"):
        x, y = float(text.attrib["x"]), float(text.attrib["y"])
        assert 0 < x < width
        assert 0 < y < height
    for path in root.iter(f"{SVG}path"):
        assert "nan" not in path.attrib["d"]
    skips = [path for path in root.iter(f"{SVG}path") if "H40V" in path.attrib["d"]]
    assert len(skips) == (1 if fold else 3), "identity skips go down at the left"


def test_the_words_name_blocks_counts_and_costs() -> None:
    described = ET.fromstring(draw_network(residual()).to_file()).findtext(f"{SVG}desc") or ""
    assert described.startswith(
        "23.0 k parameters, 1.47 M multiply-accumulates for one image; images: input 3x8x8; stem: "
    )
    assert "b.0 … b.2: 3 times 3x3 Conv, 16 → 16 16x8x8, 3x3 Conv, 16 → 16 16x8x8, + · ReLU 16x8x8" in described
