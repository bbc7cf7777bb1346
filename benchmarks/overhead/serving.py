r"""Measures what serving costs: a Triton server beside the Runner, request by request, and both under load.

    python -m benchmarks.overhead.serving BUNDLE [--precision fp32] [--seconds 60] [--load-seconds 5] [--out FILE]

It starts `wrn-deploy serve` with the python backend, one instance and one CPU thread, and needs a tritonserver
(docs/how-to/triton.md). The Runner has one thread and one context too. Clients are threads of this process, which
share the machine's cores with the server: the times are upper bounds. All take pixels.

- One client: Runner, HTTP, and gRPC if tritonclient is installed, in turns request by request, batch sizes 1 and 8.
  What serving adds is the median of the differences within a turn.
- Closed loop: 1, 4 and 16 clients, each of which asks again when it has its answer; Runner and server in turns.
- Open loop: requests of one image start at fixed times, at half the rate of four clients; a latency counts from when
  the request should have started, so that a stall delays all that follow it.
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
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from benchmarks.output import make_table, start_record, write_record
from wrn_deploy import Runner
from wrn_deploy.serving.client import Client

HTTP_PORT, GRPC_PORT, METRICS_PORT = 18000, 18001, 18002
PORTS = (f"--http-port={HTTP_PORT}", f"--grpc-port={GRPC_PORT}", f"--metrics-port={METRICS_PORT}")
URL = f"http://127.0.0.1:{HTTP_PORT}"
PROGRAM = "import sys; from wrn_deploy.cli import main; sys.argv[0] = 'wrn-deploy'; main()"
CLIENTS, BATCHES, ROUNDS = (1, 4, 16), (1, 8), 3
RATE = 0.5  # of the open loop, of what four clients of a closed loop get
END_S = 60

Images = npt.NDArray[np.uint8]
Ask = Callable[[Images], npt.NDArray[Any]]


def main() -> None:
    """Measures all three, writes the raw numbers, and prints tables."""
    given, load = _arguments(), os.getloadavg()[0]
    console = Console(width=120)
    threads = {"backend": "onnxruntime", "precision": given.precision, "threads": 1, "contexts": 1}
    with _serving(given.bundle, given.precision) as version, Runner.open(given.bundle, **threads) as runner:
        name, spec = runner.bundle.spec.name, runner.bundle.spec.preprocessing
        chance = np.random.default_rng(0)
        images = {n: chance.integers(0, 256, (n, spec.height, spec.width, 3), dtype=np.uint8) for n in BATCHES}
        runner.warmup(BATCHES)
        single = {batch: _one_client(runner, name, images[batch], given.seconds / len(BATCHES)) for batch in BATCHES}
        closed = _closed_loops(runner, name, images, given.load_seconds)
        opened = _open_loop(name, images[1], RATE * closed["1"]["4"]["server"][-1], given.load_seconds)
    record = {
        **start_record("serving", "onnxruntime", "numpy", "nvidia-pytriton", "tritonclient"),
        "triton": version,
        "load_average": [round(value, 2) for value in (load, os.getloadavg()[0])],  # before and after
        "bundle": given.bundle.name,
        "precision": given.precision,
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
    parser.add_argument("--seconds", type=float, default=60.0, help="of one client, all batch sizes together")
    parser.add_argument("--load-seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--out", type=Path, default=Path("serving.json"))
    return parser.parse_args()


@contextlib.contextmanager
def _serving(bundle: Path, precision: str) -> Iterator[str]:
    """Runs the server for the block; yields Triton's version."""
    options = ("--runner=onnxruntime", f"--precision={precision}", "--threads=1", "--drain-timeout=5")
    command = [sys.executable, "-c", PROGRAM, "serve", str(bundle), *options, *PORTS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            first = server.stdout.readline()
            found = re.match(r"Triton (\S+)", first)
            if found is None:
                sys.exit("the server did not start: see its messages")
            yield found[1]
        finally:
            server.terminate()
            server.wait(END_S)


def _one_client(runner: Runner, name: str, images: Images, seconds: float) -> dict[str, list[float]]:
    """Microseconds of each request, in turns: first to last, last to first, ..."""
    end, expected = time.monotonic() + seconds, runner.predict(images)
    with Client(URL) as client:
        asks: dict[str, Ask] = {"runner": runner.predict, "http": _ask(client, name), **_grpc(name)}
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


def _closed_loops(
    runner: Runner, name: str, images: dict[int, Images], seconds: float
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Images a second by batch size, number of clients and kind, one number for each round."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {
        str(batch): {str(clients): {"runner": [], "server": []} for clients in CLIENTS} for batch in BATCHES
    }
    for turn, batch, clients in itertools.product(range(ROUNDS), BATCHES, CLIENTS):
        for kind in ("runner", "server") if turn % 2 == 0 else ("server", "runner"):
            rate = _load(runner if kind == "runner" else None, name, images[batch], clients, seconds / ROUNDS)
            found[str(batch)][str(clients)][kind].append(rate)
    return found


def _load(runner: Runner | None, name: str, images: Images, clients: int, seconds: float) -> float:
    """Images a second of `clients` threads; without a runner they ask the server."""
    counts, begin = [0] * clients, time.monotonic()

    def work(number: int) -> None:
        with contextlib.ExitStack() as opened:
            ask: Ask = runner.predict if runner is not None else _ask(opened.enter_context(Client(URL)), name)
            while time.monotonic() - begin < seconds:
                ask(images)
                counts[number] += len(images)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return round(sum(counts) / (time.monotonic() - begin), 1)


def _open_loop(name: str, images: Images, rate: float, seconds: float) -> dict[str, Any]:
    """Latencies in microseconds of requests that start at fixed times, `rate` a second."""
    begin, latencies, local = time.monotonic() + 0.1, list[float](), threading.local()

    def work(number: int) -> None:
        due = begin + number / rate
        time.sleep(max(0.0, due - time.monotonic()))
        if not hasattr(local, "client"):
            local.client = Client(URL)
        _ask(local.client, name)(images)
        latencies.append(round((time.monotonic() - due) * 1e6, 1))

    with ThreadPoolExecutor(64) as pool:  # in the order of their times
        list(pool.map(work, range(int(rate * seconds))))
    return {"rate_per_s": round(rate, 1), "latencies_us": latencies}


def _ask(client: Client, name: str) -> Ask:
    return lambda images: client.infer(name, "images", "UINT8", images)["logits"]


def _grpc(name: str) -> dict[str, Ask]:
    """NVIDIA's client, by "grpc"; nothing if it is not installed. It wants an older protobuf than the exporters."""
    if importlib.util.find_spec("tritonclient") is None:
        return {}
    import tritonclient.grpc as triton

    client = triton.InferenceServerClient(f"127.0.0.1:{GRPC_PORT}")

    def ask(images: Images) -> npt.NDArray[Any]:
        given = triton.InferInput("images", list(images.shape), "UINT8")
        given.set_data_from_numpy(images)
        found: npt.NDArray[Any] = client.infer(name, [given]).as_numpy("logits")
        return found

    return {"grpc": ask}


def _print(
    console: Console,
    single: dict[int, dict[str, list[float]]],
    closed: dict[str, dict[str, dict[str, list[float]]]],
    opened: dict[str, Any],
) -> None:
    table = make_table("one client", "requests", "min us", "median us", "p99 us", "max us", "added us, median")
    for batch, samples in single.items():
        for kind, times in samples.items():
            row = (min(times), statistics.median(times), _p99(times), max(times))
            added = statistics.median(ours - theirs for ours, theirs in zip(times, samples["runner"], strict=True))
            more = f"{added:.0f}" if kind != "runner" else ""
            table.add_row(f"{kind}, batch {batch}", str(len(times)), *(f"{value:.0f}" for value in row), more)
    console.print(table)
    table = make_table("images per second", *(f"{clients} clients" for clients in CLIENTS))
    for size, loads in closed.items():
        for kind in ("runner", "server"):
            rates = (statistics.median(loads[str(clients)][kind]) for clients in CLIENTS)
            table.add_row(f"{kind}, batch {size}", *(f"{rate:.0f}" for rate in rates))
    console.print(table)
    times = opened["latencies_us"]
    console.print(
        f"Open loop, {opened['rate_per_s']} requests a second: median {statistics.median(times):.0f} us, "
        f"p99 {_p99(times):.0f} us, max {max(times):.0f} us of {len(times)}"
    )


def _p99(times: Sequence[float]) -> float:
    return float(np.percentile(times, 99))


if __name__ == "__main__":
    main()
