"""The commands that serve bundles by Triton: repository, serve."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.backends import NAMES
from wrn_deploy.cli.options.declare import choice, flag, one_of, option, takes_groups
from wrn_deploy.cli.progress import new_progress
from wrn_deploy.errors import UsageError
from wrn_deploy.serving.config import TritonBackend

if TYPE_CHECKING:
    from wrn_deploy.pipeline.serving.models import ServeModelOptions
    from wrn_deploy.pipeline.serving.serve import ServerOptions

__all__ = ["app"]

app = typer.Typer()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFlags:
    """How bundles become models of Triton."""

    PANEL: ClassVar[str] = "Model"

    backend: Annotated[TritonBackend, choice(TritonBackend, "Triton's backend:")] = TritonBackend.PYTHON
    precision: opt.PrecisionOf = None
    runner: Annotated[
        str | None, one_of(NAMES, name="--runner", more=": what the python backend runs. Default: the first that can")
    ] = None
    normalised: Annotated[bool, flag("--normalised", "Python backend: take normalised float32 images, not pixels.")] = (
        False
    )
    name: Annotated[str | None, option("NAME", "The model's name. Default: the network's.")] = None
    triton: Annotated[
        str | None,
        option("RELEASE", "Triton release whose TensorRT plans must fit, such as 26.07, or 26.09=11.4.0.106."),
    ] = None
    instances: Annotated[int, option("K", "Instances on each GPU, or on the CPU.", minimum=1)] = 1
    gpus: Annotated[
        str | None, option("N,N", "GPUs to run on. Default: all for TensorRT; the CPU for ONNX Runtime.")
    ] = None
    max_batch: Annotated[int | None, option("N", "Largest batch. Default: the plan's, or 32.", minimum=1)] = None
    threads: Annotated[int | None, option("N", "CPU threads of each instance. Default: all cores.", minimum=1)] = None
    ensemble: Annotated[
        bool, flag("--ensemble", "Also write NAME-ensemble, which takes encoded images (JPEG, PNG, ...).")
    ] = False

    def options(self) -> ServeModelOptions:
        """The options that the pipeline takes; raises UsageError if they make no sense together."""
        from wrn_deploy.pipeline.serving.models import ServeModelOptions
        from wrn_deploy.serving.versions import parse_triton

        return ServeModelOptions(
            backend=self.backend,
            precision=self.precision,
            runner=self.runner,
            normalised=self.normalised,
            name=self.name,
            triton=None if self.triton is None else parse_triton(self.triton),
            instances=self.instances,
            gpus=_parse_gpus(self.gpus),
            max_batch=self.max_batch,
            threads=self.threads,
            ensemble=self.ensemble,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFlags:
    """How the server runs."""

    PANEL: ClassVar[str] = "Server"

    server: Annotated[
        Path | None,
        option("FILE", "The tritonserver program. Default: the one on PATH, then the one of nvidia-pytriton."),
    ] = None
    host: Annotated[str, option("HOST", "Address to listen on; 0.0.0.0 opens the ports to the network.")] = "127.0.0.1"
    http_port: Annotated[int, option("N", "Port for HTTP.", minimum=1)] = 8000
    grpc_port: Annotated[int, option("N", "Port for gRPC.", minimum=1)] = 8001
    metrics_port: Annotated[int, option("N", "Port for Prometheus metrics.", minimum=1)] = 8002
    ready_s: Annotated[float, option("SECONDS", "Time to become ready.", name="--ready-timeout")] = 120.0
    drain_s: Annotated[
        int, option("SECONDS", "Time for accepted requests after a signal.", minimum=0, name="--drain-timeout")
    ] = 30
    more: Annotated[
        list[str] | None,
        option("NAME=VALUE", "Option for tritonserver itself; repeatable.", name="--triton-option"),
    ] = None

    def options(self) -> ServerOptions:
        """The options that the pipeline takes; raises UsageError if they make no sense together."""
        from wrn_deploy.pipeline.serving.serve import ServerOptions
        from wrn_deploy.serving.program import Addresses

        return ServerOptions(
            addresses=Addresses(host=self.host, http=self.http_port, grpc=self.grpc_port, metrics=self.metrics_port),
            drain_s=self.drain_s,
            ready_s=self.ready_s,
            more=tuple(self.more or ()),
        )


@app.command()
@takes_groups
def repository(
    model: ModelFlags,
    out: Annotated[Path, option("FOLDER", "The model repository; other models in it stay.")],
    bundles: Annotated[
        list[Path] | None, typer.Argument(metavar="BUNDLE...", help="Bundle folders; not needed with --check.")
    ] = None,
    check: Annotated[
        bool, flag("--check", "Check the repository instead; exit code 3 if a model cannot be served.")
    ] = False,
    kserve: Annotated[Path | None, option("FILE", "Also write a KServe InferenceService as YAML.")] = None,
    storage_uri: Annotated[
        str | None, option("URI", "Where the cluster finds the repository, such as pvc://CLAIM/models.")
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Write bundles into a model repository for Triton, or check one.

    A changed bundle becomes a new version; old versions stay. With --check, bundles that are given must be those that
    the models were made from.
    """
    from wrn_deploy.bundle import Bundle
    from wrn_deploy.cli.show.serving import show_checked, show_written
    from wrn_deploy.files.new_file import check_target, write_whole
    from wrn_deploy.pipeline.serving.check import check_repository
    from wrn_deploy.pipeline.serving.repository import write_repository
    from wrn_deploy.serving.kserve import InferenceService, write_yaml

    options, opened = model.options(), [Bundle.open(folder) for folder in bundles or ()]
    if check:
        show_checked(check_repository(out, opened, options.triton), as_json=as_json)
        return
    if not opened:
        raise UsageError("no bundle: expected at least one, or --check to check the repository")
    progress, service = new_progress(), None
    if kserve is not None:
        check_target(kserve)
        service = InferenceService(
            name=options.name or opened[0].spec.name,
            storage=storage_uri or "",
            triton=options.triton,
            gpus=len(options.gpus) or int(options.backend is TritonBackend.TENSORRT),
        )
    written = write_repository(opened, out, options, progress)
    if service is not None and kserve is not None:
        write_whole(kserve, write_yaml(service.describe()))
        progress.note(f"InferenceService: {kserve}")
    show_written(written, as_json=as_json)


@app.command()
@takes_groups
def serve(
    model: ModelFlags,
    server: ServerFlags,
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="Bundle folders.")],
    repository: Annotated[
        Path | None, option("FOLDER", "Folder for the model repository. Default: a temporary folder.")
    ] = None,
    container: Annotated[
        bool, flag("--container", "Print the command that runs NVIDIA's container instead; needs --repository.")
    ] = False,
) -> None:
    """Serve bundles over HTTP and gRPC with a Triton server, until Ctrl-C or SIGTERM.

    It listens on this machine only, unless --host says otherwise.
    """
    from wrn_deploy.bundle import Bundle
    from wrn_deploy.cli.show.serving import show_container, show_running
    from wrn_deploy.pipeline.serving.repository import write_repository
    from wrn_deploy.pipeline.serving.serve import run_server
    from wrn_deploy.process.scratch import scratch_folder
    from wrn_deploy.serving.program import container_command, find_program
    from wrn_deploy.serving.versions import TENSORRT_OF, parse_triton

    described, running, progress = model.options(), server.options(), new_progress()
    opened = [Bundle.open(folder) for folder in bundles]
    if container:
        if repository is None:
            raise UsageError("--container without --repository: expected a folder that the container can read")
        written = write_repository(opened, repository, described, progress)
        release = described.triton or parse_triton(max(TENSORRT_OF))
        on_gpu = described.backend is TritonBackend.TENSORRT or bool(described.gpus)
        show_container(container_command(repository, running.addresses, release, gpus=on_gpu))
        if any(model.backend is TritonBackend.PYTHON or model.ensemble for model in written):
            progress.note("the python backend needs wrn-deploy in the image: docs/how-to/triton.md has a Dockerfile")
        return
    program = find_program(server.server)
    program.check_backend(described.backend)
    program.check_addresses(running.addresses)
    with scratch_folder() if repository is None else contextlib.nullcontext(repository) as folder:
        written = write_repository(opened, folder, described, progress)
        run_server(program, folder, running, progress, functools.partial(show_running, written=written))


def _parse_gpus(text: str | None) -> tuple[int, ...]:
    """Numbers of GPUs from a text, as in "0,1"."""
    try:
        return tuple(int(part) for part in text.split(",")) if text is not None else ()
    except ValueError as error:
        raise UsageError(f"--gpus {text!r}: expected numbers separated by commas, such as 0,1") from error
