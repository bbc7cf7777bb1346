"""The step that builds engines, as a function; its defaults are those of the options' dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.api.shared import BundleLike, StrPath, member, opened, shown

if TYPE_CHECKING:
    from wrn_deploy.engines.flavor import Flavor
    from wrn_deploy.engines.options import Hardware
    from wrn_deploy.manifest import Artifact
    from wrn_deploy.progress import Progress
    from wrn_deploy.spec import Precision

__all__ = ["build_engine"]


def build_engine(
    bundle: BundleLike,
    precision: Precision | str,
    *,
    flavor: Flavor | str | None = None,
    profiles: Sequence[tuple[int, int, int]] = ((1, 8, 32),),
    workspace_mib: int | None = None,
    level: int | None = None,
    tf32: bool = True,
    version_compatible: bool = False,
    hardware: Hardware | str | None = None,
    compute_capabilities: Sequence[str] = (),
    refit: bool = False,
    strip: bool = False,
    timing_cache: StrPath | None = None,
    rebuild: bool = False,
    progress: Progress | None = None,
) -> Artifact:
    """Builds a TensorRT or TensorRT-RTX plan, and proves its precision: `wrn-deploy build-engine`.

    Args:
        bundle: a bundle, or its folder; calibrated for "int8".
        precision: of the graph to build from: "fp16", "int8", "bf16" or "fp8".
        flavor: "tensorrt" or "tensorrt_rtx"; None: the first that is installed.
        profiles: minimum, optimal and maximum batch size of each profile.
        workspace_mib: maximum scratch memory per layer, in MiB.
        level: optimization level, 0 to 5; higher levels search longer.
        tf32: whether fp32 layers may use TF32.
        version_compatible: the plan also runs on later versions; TensorRT only.
        hardware: the GPUs that it also runs on, such as "ampere-plus"; TensorRT only.
        compute_capabilities: target GPUs, such as "SM89"; TensorRT-RTX only.
        refit: make the plan refittable: its weights can be replaced.
        strip: build without weights; the application must refit the engine.
        timing_cache: a file of measured kernel times; TensorRT only.
        rebuild: rebuild even if the plan is up to date.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        UsageError: no calibration for int8, or an option that this TensorRT does not have.
        MachineError: no TensorRT is installed, or this machine cannot build the plan.
        GateError: the engine computes a layer in more bits than the graph requests.
        DeployError: the bundle lacks the graph, or TensorRT cannot build it.

    Example:
        >>> import wrn_deploy
        >>> wrn_deploy.build_engine("bundle", "int8", profiles=[(1, 4, 16)]).path.startswith("int8-tensorrt")
        True
    """
    from wrn_deploy.engines.flavor import Flavor
    from wrn_deploy.engines.options import EngineOptions, Hardware, Profile
    from wrn_deploy.pipeline.engines.build import BuildOptions
    from wrn_deploy.pipeline.engines.build import build_engine as build
    from wrn_deploy.spec import Precision

    engine = EngineOptions(
        profiles=tuple(Profile(*sizes) for sizes in profiles),
        workspace_mib=workspace_mib,
        level=level,
        tf32=tf32,
        version_compatible=version_compatible,
        hardware=None if hardware is None else member(Hardware, hardware),
        compute_capabilities=tuple(compute_capabilities),
        refit=refit,
        strip=strip,
        timing_cache=None if timing_cache is None else Path(timing_cache),
    )
    options = BuildOptions(
        precision=member(Precision, precision),
        engine=engine,
        flavor=None if flavor is None else member(Flavor, flavor),
        rebuild=rebuild,
    )
    return build(opened(bundle), options, shown(progress))
