"""The commands that run a network on images, here or in another language: example, predict, embed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.backends import Backend
from wrn_deploy.cli.options.declare import flag, option, takes_groups
from wrn_deploy.cli.progress import new_progress

__all__ = ["app"]

app = typer.Typer()


@app.command()
def example(
    out: Annotated[Path, option("FOLDER", "For the copy.")] = Path("example"), as_json: opt.AsJson = False
) -> None:
    """Copy a small trained bundle and a picture: a first try without PyTorch.

    The bundle is a wrn-10-1 trained on handwritten digits, as an fp32 and an int8 graph for ONNX Runtime.
    """
    from wrn_deploy.cli.show.results import show_example
    from wrn_deploy.pipeline.inference.example import copy_example

    show_example(copy_example(out, new_progress()), as_json=as_json)


@app.command()
@takes_groups
def predict(
    target: opt.TargetFlags,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE",
            help="Files, folders, patterns such as 'photos/*.jpg', https URLs, or - for standard input.",
        ),
    ],
    backend: Backend = None,
    precision: opt.PrecisionOf = None,
    top_k: Annotated[int | None, option("N", "Classes to show per image. Default: 3.", minimum=1)] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Print the labels and scores of images.

    Without --backend, the first that can run the bundle here is used: TensorRT, TensorRT-RTX, ONNX Runtime.
    Weights need no bundle: PyTorch runs them.
    """
    from wrn_deploy.cli.show.results import show_predictions
    from wrn_deploy.pipeline.inference.inputs import find_images
    from wrn_deploy.pipeline.inference.predict import PredictOptions, predict_target

    chosen, progress = target.target(), new_progress()
    found = find_images(images, progress)
    options = PredictOptions(images=found, top_k=top_k, backend=backend, precision=precision)
    show_predictions(predict_target(chosen, options, progress), as_json=as_json)


@app.command()
def embed(
    out: Annotated[Path, option("FOLDER", "Folder for the header, library, CMake package and example.")],
    python: Annotated[
        bool, flag("--python", "Build the library that starts this Python: it has every backend.")
    ] = False,
    headers: Annotated[
        Path | None,
        option("FOLDER", "ONNX Runtime's C headers, to build with. Default: where the system has them."),
    ] = None,
    tensorrt: Annotated[
        list[Path] | None,
        option("FOLDER", "Headers of TensorRT or TensorRT-RTX: build what runs their plans too; repeatable."),
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Write the C library: wrn_runner.h, libwrn_runner.so, a CMake package.

    The library is C++ and runs ONNX Runtime on a CPU, without Python, and plans on a GPU with --tensorrt. It is built
    here if the installed wheel has none.
    With --python it is this environment's Runner.
    """
    from wrn_deploy.cli.show.results import show_embedded
    from wrn_deploy.embed.package import write_package

    embedded = write_package(out, new_progress(), python=python, headers=headers, tensorrt=tensorrt or ())
    show_embedded(embedded, as_json=as_json)
