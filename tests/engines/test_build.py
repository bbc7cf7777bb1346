"""Plans are really built, with TensorRT-RTX and without a GPU; what cannot be built says why."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from wrn_deploy.engines.build import BuiltPlan, build_plan
from wrn_deploy.engines.flavor import Flavor, TensorRT, find_flavor, installed_flavors
from wrn_deploy.engines.options import EngineOptions, Hardware, Profile, Tiling
from wrn_deploy.errors import DeployError, MachineError, UsageError
from wrn_deploy.machine import find_gpu
from wrn_deploy.progress import Progress, Silent
from wrn_deploy.spec import TensorSpec

pytestmark = pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")
without_gpu = pytest.mark.skipif(find_gpu() is not None, reason="a GPU is here")

IMAGES = TensorSpec("images", "float32", (3, 32, 32))
SMALL = (Profile(1, 2, 4),)


@pytest.fixture(scope="module")
def rtx() -> TensorRT:
    return find_flavor(Flavor.RTX)


def build(
    rtx: TensorRT, file: Path, source: TensorSpec = IMAGES, progress: Progress | None = None, **options: Any
) -> BuiltPlan:
    return build_plan(rtx, file, source, EngineOptions(**{"profiles": SMALL, **options}), progress or Silent())


def masked(plan: bytes) -> bytes:
    """The plan without the numbers that TensorRT's compiler gives its own tensors: they follow memory addresses."""
    return re.sub(rb"__mye\d+", lambda name: b"_" * len(name[0]), plan)


@pytest.mark.parametrize("graph", ["fp32.onnx", "fp16.onnx", "int8-tensorrt.onnx"])
def test_every_graph_of_a_bundle_gives_a_plan(rtx: TensorRT, made_bundle: Path, graph: str) -> None:
    built = build(rtx, made_bundle / graph)
    assert built.plan.startswith(b"vtrt")
    assert len(built.plan) > 10_000
    assert built.seconds > 0
    assert built.memory["weights_bytes"] > 10_000
    assert built.memory["activation_bytes"] > 0


def test_the_weights_in_a_plan_have_the_precision_of_the_graph(rtx: TensorRT, made_bundle: Path) -> None:
    """No flag asks for it: 78,000 parameters take 4, 2 and (but for the classifier) 1 byte each."""
    graphs = ("fp32.onnx", "fp16.onnx", "int8-tensorrt.onnx")
    single, half, quarter = (build(rtx, made_bundle / graph).memory["weights_bytes"] for graph in graphs)
    assert 3.9 * 77_850 < single < 4.1 * 77_850
    assert half == pytest.approx(single / 2, rel=0.05)
    assert quarter == pytest.approx(single / 4, rel=0.2)


def test_two_builds_differ_in_nothing_but_internal_names(rtx: TensorRT, made_bundle: Path) -> None:
    """Mostly all bytes are the same with numbers masked; in one build of twenty, two internal tensors change places."""
    for graph in ("fp16.onnx", "int8-tensorrt.onnx"):
        first, second = (np.frombuffer(masked(build(rtx, made_bundle / graph).plan), np.uint8) for _ in range(2))
        assert len(first) == len(second)
        assert np.count_nonzero(first != second) < len(first) / 1000


@pytest.mark.parametrize(
    "option",
    [
        {"profiles": (Profile(1, 2, 8),)},
        {"profiles": (*SMALL, Profile(8, 16, 32))},
        {"workspace_mib": 512},
        {"tf32": False},
        {"aux_streams": 0},
        {"compute_capabilities": ("SM89",)},
        {"compute_capabilities": ("SM86", "SM120")},
    ],
    ids=str,
)
def test_every_option_changes_the_plan(rtx: TensorRT, made_bundle: Path, option: dict[str, Any]) -> None:
    usual, other = (build(rtx, made_bundle / "fp32.onnx", **more).plan for more in ({}, option))
    assert masked(usual) != masked(other)


def test_the_order_of_targets_does_not_matter(rtx: TensorRT, made_bundle: Path) -> None:
    """About one build in twenty has two of its tensors in another order, with the same targets too."""
    orders, plans = (("SM86", "SM120"), ("SM120", "SM86")), (set[bytes](), set[bytes]())
    for _ in range(4):
        for order, made in zip(orders, plans, strict=True):
            made.add(masked(build(rtx, made_bundle / "fp16.onnx", compute_capabilities=order).plan))
        if plans[0] & plans[1]:
            break
    assert plans[0] & plans[1]


@pytest.mark.parametrize("level", range(6))
def test_every_level_builds(rtx: TensorRT, made_bundle: Path, level: int) -> None:
    assert build(rtx, made_bundle / "fp16.onnx", level=level).plan


def test_the_vendor_prints_nothing(rtx: TensorRT, made_bundle: Path, tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "garbage.onnx").write_bytes(b"garbage")
    for graph in ("fp16.onnx", "int8-tensorrt.onnx"):
        build(rtx, made_bundle / graph)
    with pytest.raises(DeployError):
        build(rtx, tmp_path / "garbage.onnx")
    with pytest.raises(DeployError):
        build(rtx, made_bundle / "fp16.onnx", workspace_mib=1)
    assert capfd.readouterr() == ("", "")


def refusal(
    rtx: TensorRT, file: Path, source: TensorSpec = IMAGES, kind: type[DeployError] = DeployError, **options: Any
) -> str:
    with pytest.raises(DeployError) as error:
        build(rtx, file, source, **options)
    assert type(error.value) is kind
    text = str(error.value)
    assert text.startswith(f"tensorrt_rtx built no plan from {file.name}: ")
    return text


@pytest.mark.parametrize("data", [b"garbage" * 100, b"\xff" * 4096])
def test_garbage_is_refused(rtx: TensorRT, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "graph.onnx").write_bytes(data)
    assert "not an ONNX graph, or it is truncated" in refusal(rtx, tmp_path / "graph.onnx")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_graph_is_refused(rtx: TensorRT, made_bundle: Path, tmp_path: Path, share: float) -> None:
    whole = (made_bundle / "fp16.onnx").read_bytes()
    (tmp_path / "graph.onnx").write_bytes(whole[: int(share * len(whole))])
    assert "not an ONNX graph, or it is truncated" in refusal(rtx, tmp_path / "graph.onnx")


@pytest.mark.parametrize("data", [b"", b"\x00" * 64])
def test_an_empty_file_which_parses_is_refused(rtx: TensorRT, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "graph.onnx").write_bytes(data)
    assert "expected an intact ONNX graph" in refusal(rtx, tmp_path / "graph.onnx")


def test_a_missing_file_is_refused(rtx: TensorRT, tmp_path: Path) -> None:
    assert "graph.onnx" in refusal(rtx, tmp_path / "graph.onnx")


def write(file: Path, nodes: list[onnx.NodeProto], inputs: dict[str, int]) -> Path:
    sources = [helper.make_tensor_value_info(name, kind, ["n", 3, 32, 32]) for name, kind in inputs.items()]
    result = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "graph", sources, [result])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), file)
    return file


def test_an_unknown_operator_is_explained(rtx: TensorRT, tmp_path: Path) -> None:
    node = helper.make_node("Nonsense", ["images"], ["logits"])
    text = refusal(rtx, write(tmp_path / "graph.onnx", [node], {"images": TensorProto.FLOAT}))
    assert "an operator that this TensorRT does not know" in text
    assert "Plugin not found" in text


def test_mixed_precisions_are_explained(rtx: TensorRT, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["images"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Add", ["images", "half"], ["logits"]),
    ]
    text = refusal(rtx, write(tmp_path / "graph.onnx", nodes, {"images": TensorProto.FLOAT}))
    assert "mixes precisions without a Cast" in text


def test_inputs_that_are_not_ours_are_named(rtx: TensorRT, tmp_path: Path, made_bundle: Path) -> None:
    """A profile for a name that the graph does not have would be ignored in silence."""
    renamed = TensorSpec("pictures", "float32", (3, 32, 32))
    assert "inputs are ['images'], not pictures alone" in refusal(rtx, made_bundle / "fp16.onnx", renamed)
    nodes = [helper.make_node("Add", ["images", "more"], ["logits"])]
    two = write(tmp_path / "two.onnx", nodes, {"images": TensorProto.FLOAT, "more": TensorProto.FLOAT})
    assert "inputs are ['images', 'more'], not images alone" in refusal(rtx, two)
    constant = helper.make_node("Constant", [], ["logits"], value_float=1.0)
    assert "inputs are [], not images alone" in refusal(rtx, write(tmp_path / "none.onnx", [constant], {}))


def test_another_image_size_is_explained(rtx: TensorRT, made_bundle: Path) -> None:
    large = TensorSpec("images", "float32", (3, 64, 64))
    assert "images of another size than the bundle's" in refusal(rtx, made_bundle / "fp16.onnx", large)


def test_too_little_workspace_is_explained(rtx: TensorRT, made_bundle: Path) -> None:
    assert "pass a larger --workspace" in refusal(rtx, made_bundle / "fp16.onnx", workspace_mib=1)


def test_what_old_gpus_lack_is_explained(rtx: TensorRT, made_bundle: Path) -> None:
    assert "leave SM75 out" in refusal(rtx, made_bundle / "fp32.onnx", compute_capabilities=("SM75", "SM86"))
    assert build(rtx, made_bundle / "fp16.onnx", compute_capabilities=("SM75", "SM86")).plan


def test_a_graph_for_onnxruntime_is_explained(rtx: TensorRT, made_bundle: Path) -> None:
    assert "as ONNX Runtime needs it" in refusal(rtx, made_bundle / "int8-onnxruntime.onnx")


def test_other_bytes_are_not_kept(rtx: TensorRT, made_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wrn_deploy.engines.build._build", lambda *_arguments, **_options: b"ftrt and more")
    with pytest.raises(DeployError, match=r"returned b'ftrt'\.\.\.: expected a plan that starts with b'vtrt'"):
        build(rtx, made_bundle / "fp16.onnx")


@without_gpu
@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"refit": True}, "--refit, like --strip, needs a GPU and a driver that work"),
        ({"strip": True}, "--refit, like --strip, needs a GPU and a driver that work"),
        ({"strip": True, "refit": True}, "--refit, like --strip, needs a GPU and a driver that work"),
        ({"compute_capabilities": ("CURRENT",)}, "--compute-capability CURRENT needs a GPU and a driver that work"),
    ],
    ids=str,
)
def test_what_needs_a_gpu_says_so(
    rtx: TensorRT, made_bundle: Path, capfd: Any, option: dict[str, Any], said: str
) -> None:
    assert said in refusal(rtx, made_bundle / "fp16.onnx", kind=MachineError, **option)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"version_compatible": True}, "--version-compatible with tensorrt_rtx: .* build one with each version"),
        ({"hardware": Hardware.AMPERE_PLUS}, "--hardware-compatible with tensorrt_rtx: .* --compute-capability"),
        ({"timing_cache": Path("times")}, "--timing-cache with tensorrt_rtx: .* leave it out"),
        ({"tiling": Tiling.FULL}, "--tiling with tensorrt_rtx: .* the plan would be the same"),
        ({"timing_iterations": 8}, "--timing-iterations with tensorrt_rtx: it measures nothing ahead of time"),
        ({"compute_capabilities": ("SM90",)}, "--compute-capability SM90: expected one of CURRENT, SM75, SM80"),
        ({"compute_capabilities": ("NONE",)}, "--compute-capability NONE: expected one of CURRENT"),
    ],
    ids=str,
)
def test_what_rtx_does_not_have_is_a_usage_error(
    rtx: TensorRT, made_bundle: Path, option: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        build(rtx, made_bundle / "fp16.onnx", **option)


class Watch(Silent):
    """Notes the progress, and does something when so much is done."""

    def __init__(self, at: int = 1000, act: Callable[[], None] = lambda: None) -> None:
        self.steps: list[int] = []
        self.totals: list[int | None] = []
        self._at, self._act = at, act

    @contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        assert title.startswith("Building ")
        self.totals.append(total)
        yield self._take

    def _take(self, units: int) -> None:
        before = sum(self.steps)
        self.steps.append(units)
        if before < self._at <= before + units:
            self._act()


def test_progress_is_the_builders_own(rtx: TensorRT, made_bundle: Path) -> None:
    watch = Watch()
    build(rtx, made_bundle / "fp16.onnx", progress=watch)
    assert watch.totals == [100]
    assert sum(watch.steps) == 100
    assert len(watch.steps) > 5
    assert min(watch.steps) > 0


def test_an_interrupt_cancels_the_build(rtx: TensorRT, made_bundle: Path) -> None:
    """A real SIGINT while the builder works: it ends early, without a plan, and the next build is as ever."""
    main = threading.main_thread().ident
    assert main is not None
    watch = Watch(30, lambda: signal.pthread_kill(main, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        build(rtx, made_bundle / "fp16.onnx", progress=watch)
    assert 30 <= sum(watch.steps) <= 100  # a fast builder reports the rest before it looks
    assert build(rtx, made_bundle / "fp16.onnx").plan
