r"""Measures what serving costs: a Triton server beside the Runner, request by request, and both under load.

    python -m benchmarks.overhead.serving BUNDLE [--precision fp32] [--configs 1x1,2x1] [--seconds 60]
        [--load-seconds 3] [--out FILE]

It starts `wrn-deploy serve` with the python backend, which needs a tritonserver (docs/how-to/triton.md). A
configuration is INSTANCESxTHREADS, a model of the one server: its instances, and the CPU threads of each. All take
pixels.

- One client: Runner with one thread, HTTP, and gRPC if tritonclient is installed, in turns request by request, batch
  sizes 1 and 8, on the first configuration. What serving adds is the median of the differences within a turn.
- Closed loop: 1, 4 and 16 clients, each of which asks again when it has its answer; Runner (in threads of this process)
  and all configurations in turns. One thread of this process is all clients of a server (`load.py`).
- Open loop: requests of one image start at fixed times, at half the rate of four clients; a latency counts from when
  the request should have started, so that a stall delays all that follow it.

The cores are shared by clients and server.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from benchmarks.output import make_table, start_record, write_record
from benchmarks.overhead.load import ask_as_answered, ask_at_times, request_for
from wrn_deploy import Runner, write_repository
from wrn_deploy.serving.client import Client

HTTP_PORT, GRPC_PORT, METRICS_PORT = 18000, 18001, 18002
PORTS = (f"--http-port={HTTP_PORT}", f"--grpc-port={GRPC_PORT}", f"--metrics-port={METRICS_PORT}")
URL = f"http://127.0.0.1:{HTTP_PORT}"
PROGRAM = "import sys; from wrn_deploy.cli import main; sys.argv[0] = 'wrn-deploy'; main()"
CLIENTS, BATCHES, ROUNDS = (1, 4, 16), (1, 8), 3
RATE = 0.5  # of the open loop, of what four clients of a closed loop get
END_S = 60
RUNNER = "runner"  # beside the configurations

Images = npt.NDArray[np.uint8]
Ask = Callable[[Images], npt.NDArray[Any]]
Rates = dict[str, dict[str, dict[str, list[float]]]]  # batch -> clients -> who -> images a second, one a round


def main() -> None:
    """Measures all three, writes the raw numbers, and prints tables."""
    given, load = _arguments(), os.getloadavg()[0]
    console, configs = Console(width=120), given.configs.split(",")
    threads = {"backend": "onnxruntime", "precision": given.precision, "threads": 1, "contexts": 1}
    with (
        _serving(given.bundle, given.precision, configs) as version,
        Runner.open(given.bundle, **threads) as runner,
    ):
        spec, chance = runner.bundle.spec.preprocessing, np.random.default_rng(0)
        images = {n: chance.integers(0, 256, (n, spec.height, spec.width, 3), dtype=np.uint8) for n in BATCHES}
        runner.warmup(BATCHES)
        share = given.seconds / len(BATCHES)
        single = {batch: _one_client(runner, configs[0], images[batch], share) for batch in BATCHES}
        closed = _closed_loops(runner, configs, images, given.load_seconds)
        opened = _open_loops(configs, images[1], closed, given.load_seconds)
    record = {
        **start_record("serving", "onnxruntime", "numpy", "nvidia-pytriton", "tritonclient"),
        "triton": version,
        "load_average": [round(value, 2) for value in (load, os.getloadavg()[0])],  # before and after
        "bundle": given.bundle.name,
        "precision": given.precision,
        "configs": configs,
        "one_client_us": {str(batch): samples for batch, samples in single.items()},
        "closed_loop_per_s": closed,
        "open_loop": opened,
    }
    write_record(given.out, record)
    _print(console, single, closed, opened)


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--configs", default="1x1", help="INSTANCESxTHREADS, separated by commas")
    parser.add_argument("--seconds", type=float, default=60.0, help="of one client, all batch sizes together")
    parser.add_argument("--load-seconds", type=float, default=3.0, help="of each load, all rounds together")
    parser.add_argument("--out", type=Path, default=Path("serving.json"))
    return parser.parse_args()


@contextlib.contextmanager
def _serving(bundle: Path, precision: str, configs: Sequence[str]) -> Iterator[str]:
    """Runs a server with a model for each configuration, named after it; yields Triton's version."""
    with tempfile.TemporaryDirectory() as folder:
        for config in configs:
            instances, threads = map(int, config.split("x"))
            chosen: dict[str, Any] = {"runner": "onnxruntime", "precision": precision, "threads": threads}
            write_repository([bundle], folder, name=config, instances=instances, **chosen)
        first = configs[0].split("x")
        options = (f"--name={configs[0]}", f"--instances={first[0]}", f"--threads={first[1]}", "--drain-timeout=5")
        more = ("--runner=onnxruntime", f"--precision={precision}", f"--repository={folder}", *options, *PORTS)
        command = [sys.executable, "-c", PROGRAM, "serve", str(bundle), *more]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                found = re.match(r"Triton (\S+)", server.stdout.readline())
                if found is None:
                    sys.exit("the server did not start: see its messages")
                yield found[1]
            finally:
                server.terminate()
                server.wait(END_S)


def _one_client(runner: Runner, config: str, images: Images, seconds: float) -> dict[str, list[float]]:
    """Microseconds of each request, in turns: first to last, last to first, ..."""
    end, expected = time.monotonic() + seconds, runner.predict(images)
    with Client(URL) as client:
        asks: dict[str, Ask] = {
            RUNNER: runner.predict,
            "http": lambda batch: client.infer(config, "images", "UINT8", batch)["logits"],
            **_grpc(config),
        }
        for ask in asks.values():
            assert np.array_equal(ask(images), expected)
        samples: dict[str, list[float]] = {kind: [] for kind in asks}
        for turn in itertools.count():
            if time.monotonic() > end:
                return samples
            for kind in [*asks][:: 1 if turn % 2 == 0 else -1]:
                start = time.perf_counter_ns()
                asks[kind](images)
                samples[kind].append(round((time.perf_counter_ns() - start) / 1e3, 1))
    raise AssertionError


def _closed_loops(runner: Runner, configs: Sequence[str], images: dict[int, Images], seconds: float) -> Rates:
    found: Rates = {
        str(batch): {str(clients): {who: [] for who in (RUNNER, *configs)} for clients in CLIENTS} for batch in BATCHES
    }
    part = seconds / ROUNDS
    for turn, batch, clients in itertools.product(range(ROUNDS), BATCHES, CLIENTS):
        for who in [RUNNER, *configs][:: 1 if turn % 2 == 0 else -1]:
            if who == RUNNER:
                rate = _threads(runner, images[batch], clients, part)
            else:
                answers = ask_as_answered(HTTP_PORT, request_for(who, images[batch]), clients, part)
                rate = batch * len(answers.latencies_us) / answers.seconds
            found[str(batch)][str(clients)][who].append(round(rate, 1))
    return found


def _threads(runner: Runner, images: Images, clients: int, seconds: float) -> float:
    """Images a second of a runner that threads share."""
    counts, begin = [0] * clients, time.monotonic()

    def work(number: int) -> None:
        while time.monotonic() - begin < seconds:
            runner.predict(images)
            counts[number] += len(images)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - begin)


def _open_loops(configs: Sequence[str], images: Images, closed: Rates, seconds: float) -> dict[str, dict[str, Any]]:
    """Latencies in microseconds of requests that start at fixed times, by configuration."""
    found: dict[str, dict[str, Any]] = {}
    for config in configs:
        rate = RATE * statistics.median(closed["1"]["4"][config])
        answers = ask_at_times(HTTP_PORT, request_for(config, images), rate, seconds)
        found[config] = {"rate_per_s": round(rate, 1), "latencies_us": answers.latencies_us}
    return found


def _grpc(config: str) -> dict[str, Ask]:
    """NVIDIA's client, by "grpc"; nothing if it is not installed. It wants an older protobuf than the exporters."""
    if importlib.util.find_spec("tritonclient") is None:
        return {}
    import tritonclient.grpc as triton

    client = triton.InferenceServerClient(f"127.0.0.1:{GRPC_PORT}")

    def ask(images: Images) -> npt.NDArray[Any]:
        given = triton.InferInput("images", list(images.shape), "UINT8")
        given.set_data_from_numpy(images)
        found: npt.NDArray[Any] = client.infer(config, [given]).as_numpy("logits")
        return found

    return {"grpc": ask}


def _print(
    console: Console, single: dict[int, dict[str, list[float]]], closed: Rates, opened: dict[str, dict[str, Any]]
) -> None:
    table = make_table("one client", "requests", "min us", "median us", "p99 us", "max us", "added us, median")
    for batch, samples in single.items():
        for kind, times in samples.items():
            row = (min(times), statistics.median(times), _p99(times), max(times))
            added = statistics.median(ours - theirs for ours, theirs in zip(times, samples[RUNNER], strict=True))
            more = f"{added:.0f}" if kind != RUNNER else ""
            table.add_row(f"{kind}, batch {batch}", str(len(times)), *(f"{value:.0f}" for value in row), more)
    console.print(table)
    table = make_table("images per second", *(f"{clients} clients" for clients in CLIENTS), "4 clients / 1")
    for size, loads in closed.items():
        for who in next(iter(loads.values())):
            rates = {clients: statistics.median(loads[str(clients)][who]) for clients in CLIENTS}
            ratio = f"{rates[4] / rates[1]:.2f}"
            table.add_row(f"{who}, batch {size}", *(f"{rate:.0f}" for rate in rates.values()), ratio)
    console.print(table)
    for config, measured in opened.items():
        times = measured["latencies_us"]
        console.print(
            f"Open loop, {config}, {measured['rate_per_s']} requests a second: median {statistics.median(times):.0f} "
            f"us, p99 {_p99(times):.0f} us, max {max(times):.0f} us of {len(times)}"
        )


def _p99(times: Sequence[float]) -> float:
    return float(np.percentile(times, 99))


if __name__ == "__main__":
    main()
