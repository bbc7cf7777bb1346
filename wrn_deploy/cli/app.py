"""The application: its commands by group, as --help lists them; a group's module is imported when it is called."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from wrn_deploy.cli import Interrupted
from wrn_deploy.cli.options.everywhere import complete
from wrn_deploy.errors import UsageError
from wrn_deploy.formatting import printable
from wrn_deploy.process.scratch import sweep_temporary
from wrn_deploy.version import __version__

__all__ = ["ENVIRONMENT", "GROUPS", "app", "load_command"]

HELP = ["--help", "-h"]

# The environment variables that commands read, beside those of the libraries they run.
ENVIRONMENT: Mapping[str, str] = {
    "WRN_DEPLOY_LIMITS": "(as --limit)",
    "WRN_DEPLOY_REQUIRE_SIGNATURE": "(as --require-signature)",
    "WRN_DEPLOY_ALLOW_HOST_CODE": "(as --allow-host-code)",
    "WRN_DEPLOY_SPIN": "(0: idle threads of ONNX Runtime sleep)",
    "WRN_DEPLOY_WEIGHTS_URL": "(a mirror of published weights)",
}

# Group -> its commands, each with the first line of its help; a test compares them with the commands themselves.
# A group is a module of `cli/commands`, and a panel of --help.
GROUPS: Mapping[str, Mapping[str, str]] = {
    "networks": {
        "demo": "Run the whole pipeline on real handwritten digits: train, export, calibrate, build, bench.",
        "models": "List the networks: parameters, MACs, published accuracy, weights available by name.",
        "train": "Train a network with the WRN paper's recipe, or another one.",
        "export": "Make a bundle: fp32 and fp16 ONNX graphs, checked against PyTorch.",
        "deploy": "Export, calibrate, build and evaluate weights in one step.",
        "import": "Make a bundle from another tool's ONNX classifier, and check it against the file.",
    },
    "quantization": {
        "calibrate": "Calibrate on real images and write the int8 graphs.",
        "tune": "Find the Convs that lose accuracy in int8, and keep the fewest in fp16.",
        "finetune": "Fine-tune the int8 graphs: quantization-aware training from the calibrated bundle.",
        "lint": "Find what keeps a Q/DQ graph from running in int8; exit code 3 on an error.",
    },
    "engines": {
        "build-engine": "Build a TensorRT or TensorRT-RTX plan.",
    },
    "measuring": {
        "bench": "Measure latency, accuracy and memory of every candidate side by side.",
        "eval": "Measure top-1 and top-5 accuracy of a bundle or of weights; --max-drop sets a gate.",
        "compare": "Compare bench reports: show what is slower, faster or less accurate; limits set a gate.",
    },
    "inference": {
        "example": "Copy a small trained bundle and a picture: a first try without PyTorch.",
        "predict": "Print the labels and scores of images.",
        "embed": "Write the C library: wrn_runner.h, libwrn_runner.so, a CMake package.",
    },
    "scoring": {
        "score": "Score any number of images, shard by shard; resumable, and on many machines.",
    },
    "serving": {
        "repository": "Write bundles into a model repository for Triton, or check one.",
        "serve": "Serve bundles over HTTP and gRPC with a Triton server, until Ctrl-C or SIGTERM.",
    },
    "signing": {
        "sign": "Sign a bundle with a private key.",
        "verify": "Check every file of a bundle, and its signature; exit code 3 if anything is wrong.",
    },
    "inspection": {
        "inspect": "Show what is in a bundle, a graph or a plan: precisions, layers, profiles, sizes.",
        "explain": "Show which layers of B are slower or faster than A's, and which lint rules explain it.",
        "plot-training": "Draw the curves of training runs: error, loss and learning rate.",
        "plot-model": "Draw a network: blocks, layers, skips, shapes, costs, and precisions.",
        "doctor": "Show this machine's hardware and packages, and which steps it can run.",
    },
}


class Commands(TyperGroup):
    """Lists the commands of GROUPS, and imports the one that is called.

    A KeyboardInterrupt leaves it as Interrupted: typer, which does not know that, would end the process silently.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for group, commands in GROUPS.items():
            for name, about in commands.items():
                self.add_command(TyperCommand(name, help=about, rich_help_panel=group.capitalize()))

    def get_params(self, ctx: Any) -> list[Any]:
        """The program's own options."""
        return _without_types(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The name, the command itself, and the rest of the arguments."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if listed and name else None, rest

    def make_context(self, *given: Any, **more: Any) -> Any:
        """Parses the program's own options."""
        with _printable_errors():
            return super().make_context(*given, **more)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            with _printable_errors():
                return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted from error


def load_command(name: str) -> TyperCommand:
    """The command `name` with its options; imports its group's module."""
    group = next(group for group, commands in GROUPS.items() if name in commands)
    commands = typer.main.get_group(importlib.import_module(f"wrn_deploy.cli.commands.{group}").app).commands
    command = commands[name]
    assert isinstance(command, TyperCommand)
    command.context_settings["help_option_names"] = HELP
    _without_types(command.get_params(typer.Context(command, help_option_names=HELP)))
    paragraphs = (command.help or "").split("\n\n")  # typer keeps the source's lines
    command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    complete(command)
    return command


def _without_types(parameters: list[Any]) -> list[Any]:
    """`parameters`, for which --help shows their own names of values, as FILE, but not Python's, as <list[Path]>."""
    for parameter in parameters:
        if parameter.param_type_name == "argument" or not parameter.metavar:
            parameter.display_type_rich = lambda **_context: ""
    return parameters


@contextlib.contextmanager
def _printable_errors() -> Iterator[None]:
    """Makes the texts of typer's errors, which quote arguments, printable: it prints them on a console of its own."""
    try:
        yield
    except Exception as error:
        if isinstance(error, typer.BadParameter):
            error.message = _with_value(error)
        if isinstance(getattr(error, "message", None), str):
            error.message = printable(error.message, breaks=False)  # type: ignore[attr-defined]
            if "--json" in sys.argv:  # typer would print it in a box
                raise UsageError(error.format_message()) from error  # type: ignore[attr-defined]
        raise


def _with_value(error: typer.BadParameter) -> str:
    """An error's text with the value, which pydantic's texts (those of numbers) lack."""
    cause = error.__cause__
    text = error.message.removeprefix("Value error, ").removeprefix("Input ")
    if not isinstance(cause, ValueError) or text == error.message or not text.startswith("should"):
        return text
    details: Any = cause
    return f"{details.errors()[0]['input']!r} {text.partition(',')[0]}."


app = typer.Typer(
    cls=Commands,
    name="wrn-deploy",
    help="Deploy Wide Residual Networks: from weights to a measured TensorRT engine of proved precision.",
    epilog="\n\n".join(
        (
            "Exit codes: 0 done, 1 error, 2 wrong usage, 3 a gate failed, 4 this machine cannot do it, "
            "130 interrupted.",
            f"Environment: {', '.join(f'{name} {about}' for name, about in ENVIRONMENT.items())}.",
            "Examples:",
            "wrn-deploy demo",
            "wrn-deploy export wrn-16-2 --weights run/model.safetensors -o bundle",
        )
    ),
    context_settings={"help_option_names": HELP},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wrn-deploy {__version__}")
        raise typer.Exit


def _configure(context: typer.Context, file: Path | None) -> None:
    """Makes the options in a file the defaults of the command that is called."""
    from wrn_deploy.cli.options.config import PROJECT, read_config, values_of

    name = context.invoked_subcommand
    table = read_config(file, [name for commands in GROUPS.values() for name in commands]).get(name or "")
    if name is None or not table:
        return
    context.default_map = {name: values_of(load_command(name), table)}
    if file is None:
        typer.echo(f"options of {PROJECT}: {', '.join(table)}", err=True)


@app.callback()
def _options(
    context: typer.Context,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=NUMBER",
            help="Raise or lower a limit on untrusted files, such as pixels=2e8; repeatable. "
            "Names: text_bytes, download_bytes, image_bytes, pixels, members, parts, memory_bytes, ratio, nesting, "
            "seconds, links.",
        ),
    ] = None,
    require_signature: Annotated[
        Path | None,
        typer.Option(
            "--require-signature",
            metavar="PEM",
            help="Open only bundles signed by the owner of this public key or certificate authority.",
        ),
    ] = None,
    allow_host_code: Annotated[
        bool,
        typer.Option(
            "--allow-host-code",
            metavar="",
            help="Let TensorRT run the CPU code in version-compatible plans; only if you trust their builder.",
        ),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="TOML",
            help="Read options from this file: one table per command. Default: tool.wrn-deploy in ./pyproject.toml.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", metavar="", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Runs before each command."""
    del version
    sweep_temporary()
    _configure(context, config)
    if limit:
        from wrn_deploy.files.budget import raised

        context.with_resource(raised(",".join(limit)))
    if require_signature or allow_host_code:
        from wrn_deploy.files.trust import Trust, trusting

        context.with_resource(trusting(Trust(signed_by=require_signature, host_code=allow_host_code)))
