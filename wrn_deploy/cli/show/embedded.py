"""Prints what the embed step wrote, and how to build with it, on stdout."""

from __future__ import annotations

import typer

from wrn_deploy.cli.show.tables import print_json
from wrn_deploy.embed.package import Embedded

__all__ = ["show_embedded"]


def show_embedded(embedded: Embedded, *, as_json: bool) -> None:
    """Prints the files, the environment that the library starts, and the compiler's options."""
    folder, environment = embedded.folder.resolve(), embedded.environment
    if as_json:
        python = {"version": environment.version, "prefix": str(environment.prefix)}
        print_json({"folder": str(folder), "files": embedded.files, "python": python})
        return
    for file in embedded.files:
        typer.echo(str(embedded.folder / file))
    linked = "a part of the library" if environment.shared is None else str(environment.shared)
    typer.echo(f"\nStarts Python {environment.version} in {environment.prefix} ({linked}).")
    typer.echo(f"CMake:  find_package(wrn_runner) with -DCMAKE_PREFIX_PATH={folder}, then link wrn::runner")
    typer.echo(f"g++:    -I{folder}/include -L{folder}/lib -Wl,-rpath,{folder}/lib -lwrn_runner")
