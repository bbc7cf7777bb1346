"""Nothing from outside is obeyed by a terminal or breaks an encoding, whatever a command prints and however it ends."""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.cli.conftest import PROGRAM, Cli
from tests.manifests import edit_manifest
from wrn_deploy.cli.progress import TerminalProgress
from wrn_deploy.cli.streams import printable_streams
from wrn_deploy.cli.terminal import TerminalConsole
from wrn_deploy.errors import DeployError

ROOT = Path(__file__).resolve().parents[2]
EVIL = "\x1b]0;PWN\x07\x1b[31m\x9b31m\x7f\u202e\u200b\u2028\rX"
SHOWN = r"\x1b]0;PWN\x07\x1b[31m\x9b31m\x7f\u202e\u200b\u2028\rX"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
BYTES = os.fsdecode(b"caf\xe9")  # a name that is not UTF-8


def assert_printable(cli: Cli, *arguments: object, code: int | None = None) -> str:
    outcome = cli(*arguments)
    assert not RAW.findall(outcome.out + outcome.err)
    assert code is None or outcome.code == code, outcome.err
    return outcome.out + outcome.err


@pytest.fixture
def hostile_graph(tmp_path: Path) -> Path:
    """All names in it are hostile, and running it fails."""
    file = tmp_path / f"{EVIL}.onnx"
    gather = helper.make_node("Gather", [f"x{EVIL}", f"i{EVIL}"], [f"y{EVIL}"], name=f"n{EVIL}")
    graph = helper.make_graph(
        [gather],
        f"g{EVIL}",
        [helper.make_tensor_value_info(f"x{EVIL}", TensorProto.FLOAT, [f"N{EVIL}", 3, 32, 32])],
        [helper.make_tensor_value_info(f"y{EVIL}", TensorProto.FLOAT, [f"M{EVIL}", 3, 32, 32])],
        [helper.make_tensor(f"i{EVIL}", TensorProto.INT64, [1], [10**6])],
    )
    model = helper.make_model(
        graph, producer_name=f"p{EVIL}", opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    )
    onnx.save(model, file)
    return file


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / f"{EVIL}.png"
    Image.new("RGB", (32, 32)).save(file)
    return file


USAGE = (
    [EVIL], [f"--x{EVIL}"], ["models", f"--x{EVIL}"], ["models", EVIL], ["models", "a", EVIL],
    ["train", "wrn-10-1", "--out", "x", "--device", EVIL], ["bench", "b", "--data", "d", "--backend", EVIL],
    ["eval", "b", "--data", "d", "--precision", EVIL], ["bench", "b", "--data", "d", "--rounds", EVIL],
    ["export", "wrn-10-1", "--out", "x", "--mean", EVIL], ["train", "wrn-10-1", "--out", "x", "--recipe", EVIL],
    ["train", EVIL, "--out", "x"], ["eval", "b", "--data", "d", "--max-corrupt", EVIL],
    ["compare", "a", "b", "--max-regress", EVIL], ["compare", "a", "b", "--baseline", EVIL],
    ["build-engine", "b", "--int8", "--profile", EVIL], ["predict", EVIL, "x.png"], ["inspect", EVIL], ["lint", EVIL],
    ["explain", EVIL, EVIL], ["plot-model", EVIL], ["plot-training", EVIL], ["calibrate", EVIL, "--calib-data", "d"],
    ["embed", "--out", f"/proc/{EVIL}"], ["export", "wrn-10-1", "--weights", EVIL, "--out", "x"],
    ["export", "wrn-10-1", "--random-weights", "--labels", EVIL, "--out", "x"],
    ["tune", EVIL, "--data", "d", "--max-drop", "1"], ["finetune", EVIL, "--data", "d"],
)  # fmt: skip


@pytest.mark.parametrize("arguments", USAGE, ids=ascii)
def test_arguments_are_quoted_printably(cli: Cli, arguments: list[str]) -> None:
    assert "PWN" in assert_printable(cli, *arguments)


def test_names_in_a_graph_and_of_its_file(cli: Cli, hostile_graph: Path, tmp_path: Path) -> None:
    assert "PWN" in assert_printable(cli, "inspect", hostile_graph, code=0)
    assert_printable(cli, "lint", hostile_graph)
    assert_printable(cli, "plot-model", hostile_graph, "--out", tmp_path / f"{EVIL}.svg")
    assert not RAW.findall((tmp_path / f"{EVIL}.svg").read_text(encoding="utf-8"))
    assert "PWN" in assert_printable(cli, "explain", hostile_graph, hostile_graph, code=1)


def test_labels_names_and_paths_in_a_bundle(cli: Cli, made_bundle: Path, picture: Path, tmp_path: Path) -> None:
    copied = tmp_path / f"bundle{EVIL}"
    subprocess.run(["cp", "-r", made_bundle, copied], check=True)

    def change(record: dict[str, Any]) -> None:
        record["model"]["labels"] = [f"{index}{EVIL}" for index in range(10)]
        record["model"]["name"] += EVIL

    edit_manifest(copied, change)
    assert "PWN" in assert_printable(cli, "predict", copied, picture, code=0)
    assert "PWN" in assert_printable(cli, "inspect", copied, code=0)
    (copied / "bad").write_bytes(b"")
    for arguments in (
        ("predict", copied, picture), ("inspect", copied), ("eval", copied, "--data", tmp_path / EVIL),
        ("eval", copied, "--data", "digits", "--limit", 4, "--backend", "onnxruntime"),
        ("predict", copied, copied / "bad"),
    ):  # fmt: skip
        assert "PWN" in assert_printable(cli, *arguments)
        found = cli(*arguments, "--json")
        assert not RAW.findall(found.out + found.err)
        assert found.out.isascii()
        if found.code == 0:
            json.loads(found.out)


def test_a_log_and_its_folder(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / f"run{EVIL}"
    folder.mkdir()
    log = folder / "log.jsonl"
    log.write_text('{"epoch": 0, "loss": 1, "learning_rate": 1, "train_top1": 0.5, "test_top1": 0.5}\n')
    assert "PWN" in assert_printable(cli, "plot-training", folder, "--out", tmp_path / "a.svg", code=0)
    assert not RAW.findall((tmp_path / "a.svg").read_text(encoding="utf-8"))
    log.write_text('{"epoch": "' + EVIL.replace("\r", "").replace("\u2028", "") + '"}\n')
    assert_printable(cli, "plot-training", folder, code=1)


def test_a_line_break_in_a_name_begins_no_line(cli: Cli, tmp_path: Path) -> None:
    name = tmp_path / "a\nerror: none, all intact\n.png"
    lines = cli("inspect", name).err.splitlines()
    assert not [line for line in lines[1:] if line and not line.startswith("  ")]
    Image.new("RGB", (32, 32)).save(name)
    weights = cli("export", "wrn-10-1", "--random-weights", "--out", tmp_path / "b")
    assert weights.code == 0
    out = cli("predict", tmp_path / "b", name).out.splitlines()
    assert [line for line in out if "all intact" in line] == [str(name).replace("\n", r"\n")]


def test_names_that_are_not_utf8_work(cli: Cli, made_bundle: Path, tmp_path: Path) -> None:
    copied = tmp_path / BYTES
    subprocess.run(["cp", "-r", made_bundle, copied], check=True)
    Image.new("RGB", (32, 32)).save(copied / f"{BYTES}.png")
    for arguments in (
        ("predict", copied, copied / f"{BYTES}.png"), ("inspect", copied), ("inspect", copied / "fp32.onnx"),
        ("plot-model", copied / "fp32.onnx", "--out", copied / f"{BYTES}.svg"),
    ):  # fmt: skip
        assert r"caf\udce9" in assert_printable(cli, *arguments, code=0)


ENVIRONMENTS: dict[str, dict[str, str]] = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "strict ascii": {"PYTHONIOENCODING": "ascii:strict"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "the C locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "utf-8": {"PYTHONIOENCODING": "utf-8:strict"},
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_characters_that_an_encoding_lacks_are_escaped(tmp_path: Path, name: str) -> None:
    run = tmp_path / f"{BYTES} \u732b \U0001f600"
    run.mkdir()
    epochs = ({"epoch": at, "loss": 1, "test_top1": at / 10} for at in range(3))
    (run / "log.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
    for arguments, code in (
        (("plot-training", run, "--out", run / "a.svg"), 0), (("inspect", run / "\u732b"), 1),
        ((f"--\u732b{BYTES}",), 2), (("--help",), 0),
    ):  # fmt: skip
        command: list[str | bytes] = [
            sys.executable,
            "-c",
            PROGRAM,
            *(os.fsencode(str(argument)) for argument in arguments),
        ]
        environment = {**os.environ, **ENVIRONMENTS[name], "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, check=False, env=environment)
        assert b"Traceback" not in done.stderr
        assert done.returncode == code, done.stderr
        if "ascii" in name or "C" in name:
            assert (done.stdout + done.stderr).isascii()


@pytest.mark.parametrize("arguments", ["models", "inspect nothing", "--bad"])
@pytest.mark.parametrize("shell", ["{} | true", "{} 2>&1 | true", "{} >&-", "{} 2>&-", "{} >&- 2>&-"])
def test_closed_and_broken_pipes_are_no_bugs(arguments: str, shell: str) -> None:
    command = shell.format(f'{sys.executable} -c "{PROGRAM}" {arguments}')
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False, cwd=ROOT)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def _terminal(encoding: str = "utf-8") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)


def _written(stream: io.TextIOWrapper) -> str:
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode(stream.encoding)


def test_every_way_to_print_is_filtered(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with printable_streams():
        sys.stderr.write(EVIL)
        sys.stderr.writelines([EVIL, EVIL])
        print(EVIL, file=sys.stderr)  # noqa: T201
        logging.lastResort.emit(logging.LogRecord("a", logging.ERROR, "", 1, EVIL, None, None))  # type: ignore[union-attr]
    assert sys.stderr is stream
    text = _written(stream)
    assert not RAW.findall(text)
    assert text.count(SHOWN) == 5


def test_the_terminals_own_encoding_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _terminal("ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with printable_streams():
        print("\u732b\U0001f600 \xb1")  # noqa: T201
        table = Table("\u732b")
        table.add_row("\xb1")
        TerminalConsole().print(table)
    assert _written(stream).startswith(r"\u732b\U0001f600 \xb1" + "\n")
    assert _written(stream).endswith("""
+--------+
| \\u732b |
|--------|
| \\xb1   |
+--------+
""")


def test_a_console_keeps_its_own_styles_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    table = Table(EVIL, title=EVIL)
    table.add_row(f"[red]{EVIL}:smile:", Text(EVIL, "bold"))
    with printable_streams():
        console = TerminalConsole(force_terminal=True, color_system="standard", width=200, highlight=False)
        console.print(EVIL, style="red")
        console.print(Text.assemble((EVIL, "bold"), EVIL))
        console.print(table)
    text = _written(stream)
    assert text.startswith(f"\x1b[31m{SHOWN}\x1b[0m\n")
    assert f"[red]{SHOWN}:smile:" in text
    assert not RAW.findall(re.sub(r"\x1b\[[0-9;]*m", "", text))


def test_what_is_printed_while_a_bar_moves_is_filtered(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", stream)
    with printable_streams():
        progress = TerminalProgress(TerminalConsole(stderr=True, force_terminal=True, color_system=None, width=200))
        with progress.task(f"a{EVIL}", 2) as advance:
            print(f"b{EVIL}")  # noqa: T201
            print(f"c{EVIL}", file=sys.stderr)  # noqa: T201
            advance(1)
        progress.note(f"d{EVIL}\ne")
        progress.warn(f"f{EVIL}")
    text = _written(stream)
    for letter in "abcdf":
        assert letter + SHOWN in text
    assert rf"d{SHOWN}\ne" in text
    moves = r"\x1b\[(\?25[lh]|\d?[AK]|2K)|\r"  # rich's: the cursor hidden or shown, moved up, the line erased
    assert not RAW.findall(re.sub(moves, "", text))


def test_a_bug_and_warnings_are_printed_printably() -> None:
    program = (
        "import sys, warnings, wrn_deploy.models.catalog as catalog\n"
        "def fail():\n"
        f"    warnings.warn({EVIL!r})\n"
        f"    raise RuntimeError({EVIL!r})\n"
        f"catalog.list_models = fail\n{PROGRAM}"
    )
    done = subprocess.run([sys.executable, "-c", program, "models"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"UserWarning: {SHOWN}" in done.stderr
    assert f"RuntimeError: {SHOWN}" in done.stderr
    assert not RAW.findall(done.stderr)


def test_the_text_of_an_error_is_printable_everywhere() -> None:
    assert str(DeployError(EVIL)) == SHOWN


def test_commands_print_through_these_alone() -> None:
    """A console of rich's own, or a write to a stream, would be a way around them."""
    allowed = {"cli/terminal.py", "cli/streams.py", "cli/__init__.py", "bench/report/schema.py"}
    allowed.add("process/limited.py")  # a child, whose texts its parent reads
    allowed.add("pipeline/inspection/toolkit.py")  # runs before anything is installed, and prints its own texts alone
    for path in sorted((ROOT / "wrn_deploy").rglob("*.py")):
        name = path.relative_to(ROOT / "wrn_deploy").as_posix()
        if name in allowed or any(part.is_symlink() for part in path.parents):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("Console", "print", "rich.print", "os.write(1", "os.write(2"), f"{name}: {called}"
                assert not re.match(r"sys\.(__)?std(out|err)(__)?\.(buffer\.)?write", called), f"{name}: {called}"
                assert called != "typer.echo" or name in ("cli/app.py", "cli/show/tables.py"), name


def test_rich_keeps_the_protocol_that_the_streams_rely_on(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    with printable_streams():
        assert Console().file is stream
