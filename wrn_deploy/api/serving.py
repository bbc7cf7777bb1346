"""The steps that serve bundles by Triton, as functions; their defaults are those of the options' dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.api.shared import BundleLike, StrPath, member, opened, shown

if TYPE_CHECKING:
    from wrn_deploy.pipeline.serving.check import CheckedModel
    from wrn_deploy.pipeline.serving.repository import WrittenModel
    from wrn_deploy.progress import Progress
    from wrn_deploy.serving.config import TritonBackend
    from wrn_deploy.spec import Precision

__all__ = ["check_repository", "write_repository"]


def write_repository(
    bundles: Sequence[BundleLike],
    out: StrPath,
    *,
    backend: TritonBackend | str = "python",
    precision: Precision | str | None = None,
    runner: str | None = None,
    normalised: bool = False,
    name: str | None = None,
    triton: str | None = None,
    instances: int = 1,
    gpus: Sequence[int] = (),
    max_batch: int | None = None,
    threads: int | None = None,
    ensemble: bool = False,
    progress: Progress | None = None,
) -> list[WrittenModel]:
    """Writes bundles into a model repository for Triton: `wrn-deploy repository`.

    Args:
        bundles: bundles, or their folders.
        out: the repository; other models in it stay.
        backend: Triton's: "python", "onnxruntime" or "tensorrt".
        precision: of the artifact; None: the backend's preferred one.
        runner: python only: what runs it, such as "onnxruntime"; None: the first that can run here.
        normalised: python only: take normalised float32 images, not pixels.
        name: the model's name, for one bundle; None: the network's.
        triton: the release whose TensorRT plans must fit, such as "26.07", or "26.09=11.4.0.106".
        instances: on each GPU, or on the CPU.
        gpus: the GPUs to run on; empty: all for "tensorrt", the CPU for "onnxruntime".
        max_batch: the largest batch; None: the plan's, or 32.
        threads: CPU threads of each instance; None: all cores.
        ensemble: also write NAME-ensemble, which takes encoded images (JPEG, PNG, ...).
        progress: shows progress and warnings; None: shows nothing.

    Returns:
        the models, in the order of the bundles.

    Raises:
        UsageError: options that contradict each other.
        DeployError: a bundle lacks the artifact, or Triton cannot run it; nothing is written then.
        MachineError: no backend can run the bundle here, and no `runner` is given.

    Example:
        >>> import wrn_deploy
        >>> written = wrn_deploy.write_repository(["bundle"], "models", runner="onnxruntime")
        >>> [(model.name, model.version) for model in written]
        [('wrn-10-1', 1)]
    """
    from wrn_deploy.pipeline.serving.models import ServeModelOptions
    from wrn_deploy.pipeline.serving.repository import write_repository as write
    from wrn_deploy.serving.config import TritonBackend
    from wrn_deploy.serving.versions import parse_triton
    from wrn_deploy.spec import Precision

    options = ServeModelOptions(
        backend=member(TritonBackend, backend),
        precision=None if precision is None else member(Precision, precision),
        runner=runner,
        normalised=normalised,
        name=name,
        triton=None if triton is None else parse_triton(triton),
        instances=instances,
        gpus=tuple(gpus),
        max_batch=max_batch,
        threads=threads,
        ensemble=ensemble,
    )
    return write([opened(bundle) for bundle in bundles], Path(out), options, shown(progress))


def check_repository(
    folder: StrPath, bundles: Sequence[BundleLike] = (), *, triton: str | None = None
) -> list[CheckedModel]:
    """Checks a model repository without a server: `wrn-deploy repository --check`.

    Args:
        folder: the repository.
        bundles: those that its models must be made from.
        triton: the release whose TensorRT plans must fit; None: not checked.

    Raises:
        GateError: a model cannot be served as it should be; the text names each problem.
        DeployError: there is no repository.

    Example:
        >>> import wrn_deploy
        >>> [model.name for model in wrn_deploy.check_repository("models", ["bundle"])]
        ['wrn-10-1']
    """
    from wrn_deploy.pipeline.serving.check import check_repository as check
    from wrn_deploy.serving.versions import parse_triton

    release = None if triton is None else parse_triton(triton)
    return check(Path(folder), [opened(bundle) for bundle in bundles], release)
