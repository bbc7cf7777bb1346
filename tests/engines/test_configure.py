"""Options arrive at the builder: read back from a real configuration, TensorRT-RTX's, whose API TensorRT shares."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from wrn_deploy.engines.configure import configure
from wrn_deploy.engines.flavor import Flavor, TensorRT, find_flavor, installed_flavors
from wrn_deploy.engines.log import BuildLog, make_logger
from wrn_deploy.engines.options import EngineOptions, Hardware, Profile, Tiling
from wrn_deploy.engines.timing_cache import TimingCache
from wrn_deploy.errors import UsageError
from wrn_deploy.spec import TensorSpec

pytestmark = pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")

IMAGES = TensorSpec("images", "float32", (3, 32, 32))


@pytest.fixture(scope="module")
def log() -> BuildLog:
    return BuildLog()


@pytest.fixture(scope="module")
def builder(log: BuildLog) -> Any:
    module = find_flavor(Flavor.RTX).module
    logger = make_logger(module, log)
    return module.Builder(logger)


def configured(builder: Any, flavor: Flavor = Flavor.RTX, **options: Any) -> tuple[Any, Any]:
    """The module and the configuration; as full TensorRT, what RTX alone has is left alone."""
    trt = find_flavor(Flavor.RTX)
    as_flavor = TensorRT(flavor, trt.version, trt.module)
    return trt.module, configure(as_flavor, builder, IMAGES, EngineOptions(**options))


@pytest.mark.parametrize(
    ("option", "flag"),
    [("refit", "REFIT"), ("strip", "STRIP_PLAN"), ("version_compatible", "VERSION_COMPATIBLE"), ("tf32", "TF32")],
)
@pytest.mark.parametrize("wanted", [False, True])
def test_flags_are_set_and_cleared(builder: Any, option: str, flag: str, wanted: bool) -> None:
    module, config = configured(builder, Flavor.TENSORRT, **{option: wanted})
    assert config.get_flag(getattr(module.BuilderFlag, flag)) is wanted


def test_limits_are_set_only_where_given(builder: Any) -> None:
    module, usual = configured(builder)
    _, limited = configured(builder, workspace_mib=64, level=5)
    pool = module.MemoryPoolType.WORKSPACE
    assert limited.get_memory_pool_limit(pool) == 64 * 2**20 != usual.get_memory_pool_limit(pool)
    assert (usual.builder_optimization_level, limited.builder_optimization_level) == (3, 5)
    assert usual.profiling_verbosity == module.ProfilingVerbosity.DETAILED


@pytest.mark.parametrize("profiles", [(Profile(),), (Profile(1, 1, 1), Profile(2, 8, 32), Profile(64, 64, 64))])
def test_every_profile_is_added(builder: Any, profiles: tuple[Profile, ...]) -> None:
    assert configured(builder, profiles=profiles)[1].num_optimization_profiles == len(profiles)


def test_targets_are_set_by_name(builder: Any) -> None:
    module, config = configured(builder, compute_capabilities=("SM89", "SM120"))
    capability = module.ComputeCapability
    assert [config.get_compute_capability(index) for index in range(2)] == [capability.SM120, capability.SM89]
    assert configured(builder)[1].num_compute_capabilities <= 1
    with pytest.raises(UsageError, match="--compute-capability SM100: expected one of CURRENT, SM75, SM80"):
        configured(builder, compute_capabilities=("SM100",))


@pytest.mark.parametrize("hardware", Hardware)
def test_every_level_of_hardware_compatibility_has_its_name(builder: Any, log: BuildLog, hardware: Hardware) -> None:
    """RTX takes the call and says that it does nothing there, which is why the command line refuses it."""
    module, _ = configured(builder, Flavor.TENSORRT, hardware=hardware)
    assert hasattr(module.HardwareCompatibilityLevel, hardware.name)
    assert any("setHardwareCompatibilityLevel() is unsupported" in warning for warning in log.warnings)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_timing_cache_is_made_and_written_through_the_real_calls(builder: Any, tmp_path: Path) -> None:
    """RTX's has nothing in it; that the calls and their arguments exist is what is shown here."""
    file = tmp_path / "times"
    _, config = configured(builder)
    times = TimingCache(file=file, ours=False)
    times.attach(config)
    times.save()
    assert file.read_bytes() == bytes(config.get_timing_cache().serialize())
    again = TimingCache(file=file, ours=False)
    again.attach(configured(builder)[1])
    assert again.started_from == hashlib.sha256(file.read_bytes()).hexdigest()
    assert times.started_from is None
    assert times.warnings == again.warnings == []


def test_an_engine_of_rtx_can_be_captured(builder: Any) -> None:
    module, config = configured(builder)
    assert config.get_flag(module.BuilderFlag.REQUIRE_USER_ALLOCATION)
    module, config = configured(builder, Flavor.TENSORRT)
    assert not config.get_flag(module.BuilderFlag.REQUIRE_USER_ALLOCATION)


def test_the_search_has_its_limits(builder: Any) -> None:
    module, usual = configured(builder)
    assert (usual.max_aux_streams, usual.avg_timing_iterations) == (-1, 1)
    _, config = configured(builder, Flavor.TENSORRT, aux_streams=0, timing_iterations=8)
    assert (config.max_aux_streams, config.avg_timing_iterations) == (0, 8)
    for tiling in Tiling:
        _, config = configured(builder, Flavor.TENSORRT, tiling=tiling)
        assert config.tiling_optimization_level == getattr(module.TilingOptimizationLevel, tiling.name)


def test_the_lean_runtime_is_left_out_of_a_version_compatible_plan(builder: Any, log: BuildLog) -> None:
    """TensorRT refuses the one flag without the other, which must be set first."""
    module, config = configured(builder, Flavor.TENSORRT, version_compatible=True, exclude_lean_runtime=True)
    assert config.get_flag(module.BuilderFlag.EXCLUDE_LEAN_RUNTIME)
    assert not [error for error in log.errors if "EXCLUDE_LEAN_RUNTIME" in error]
