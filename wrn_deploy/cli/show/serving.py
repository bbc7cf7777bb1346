"""Prints model repositories and running servers, on stdout."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wrn_deploy.cli.show.tables import cell, new_table, print_json, print_line, print_table

if TYPE_CHECKING:
    from wrn_deploy.pipeline.serving.check import CheckedModel
    from wrn_deploy.pipeline.serving.repository import WrittenModel
    from wrn_deploy.pipeline.serving.serve import RunningServer

__all__ = ["show_checked", "show_container", "show_running", "show_written"]


def show_written(models: Sequence[WrittenModel], *, as_json: bool) -> None:
    """Prints the models of a repository that was written."""
    if as_json:
        print_json([{**dataclasses.asdict(model), "folder": str(model.folder)} for model in models])
        return
    table = new_table("model", "version", "backend", "precision", "batches", "sha256", right=("version", "batches"))
    for model in models:
        columns = (model.name, str(model.version), str(model.backend), model.precision)
        table.add_row(*map(cell, (*columns, f"1 to {model.max_batch}", model.sha256[:12])))
    print_table(table, gap=False)
    for ensemble in filter(None, (model.ensemble for model in models)):
        print_line(f"{ensemble}: takes encoded images (JPEG, PNG, ...)")


def show_checked(models: Sequence[CheckedModel], *, as_json: bool) -> None:
    """Prints the models of a repository that passed its checks."""
    if as_json:
        print_json([dataclasses.asdict(model) for model in models])
        return
    for model in models:
        note = "" if model.ours else " (not written by wrn-deploy: only its configuration was checked)"
        print_line(f"{model.name}: version {model.version}, ready to serve{note}")


def show_container(command: Sequence[str]) -> None:
    """Prints a docker command."""
    print_line(shlex.join(command))


def show_running(server: RunningServer, written: Sequence[WrittenModel]) -> None:
    """Prints where a server answers, and a line to try."""
    names = {model.name: model for model in written}
    at = server.addresses
    print_line(f"Triton {server.version} serves {', '.join(f'{n} ({m.precision})' for n, m in names.items())}", "bold")
    print_line(f"HTTP     {at.url}/v2")
    print_line(f"gRPC     {at.client_host}:{at.grpc}")
    print_line(f"metrics  http://{at.client_host}:{at.metrics}/metrics")
    name = next(iter(names))
    print_line(f"try      {_example(server.models[name], f'{at.url}/v2/models/{name}/infer')}")
    for ensemble in filter(None, (model.ensemble for model in written)):
        print_line(f"image    {_upload(f'{at.url}/v2/models/{ensemble}/infer')}")
    print_line("stop     Ctrl-C")
    sys.stdout.flush()


def _example(model: dict[str, Any], url: str) -> str:
    """A line for a shell that asks for the answer to a black image."""
    source = model["inputs"][0]
    shape = [1, *source["shape"][1:]]
    request = {"inputs": [{"name": source["name"], "datatype": source["datatype"], "shape": shape, "data": "DATA"}]}
    body = json.dumps(request).replace('"DATA"', f"[0] * {math.prod(shape)}")
    return f"python3 -c 'import json; print(json.dumps({body}))' | curl -s -d @- {url}"


def _upload(url: str) -> str:
    """A line for a shell that sends a file to an ensemble."""
    tensor = '{"name": "encoded", "datatype": "UINT8", "shape": [1, len(data)], "data": [*data]}'
    code = f'import json; data = open("image.jpg", "rb").read(); print(json.dumps({{"inputs": [{tensor}]}}))'
    return f"python3 -c '{code}' | curl -s -d @- {url}"
