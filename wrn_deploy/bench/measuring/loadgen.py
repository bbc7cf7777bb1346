"""Load scenarios of MLPerf Inference, driven by MLCommons' LoadGen, on one opened backend; LoadGen alone is heavy here.

The scenarios are those of "MLPerf Inference Benchmark" (Reddi et al., ISCA 2020, section III).
"""

from __future__ import annotations

import functools
import importlib.util
import json
import queue
import statistics
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from wrn_deploy.bench.measuring.latency import measure_latency
from wrn_deploy.bench.report.report import LoadResult
from wrn_deploy.errors import DeployError, UsageError, missing_package
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.runtime.backend import Array, Backend

__all__ = ["Load", "Scenario", "check_loadgen", "run_scenario"]

PREFIX = ":::MLLOG "  # of each line of LoadGen's detailed log
MILLISECOND_NS = 1_000_000
MULTI_STREAM = 8  # samples a query, by MLPerf's rules
HEADROOM = 1.5  # how many times the rate that was measured beforehand the backend may reach


class Scenario(StrEnum):
    """LoadGen's scenarios, by LoadGen's names."""

    SINGLE_STREAM = "SingleStream"
    MULTI_STREAM = "MultiStream"
    OFFLINE = "Offline"
    SERVER = "Server"


# What LoadGen needs to be sure of the percentile that the scenario is about (its "early stopping").
QUERIES = {Scenario.SINGLE_STREAM: 64, Scenario.MULTI_STREAM: 662, Scenario.OFFLINE: 1, Scenario.SERVER: 662}
RATES = {  # LoadGen's names of samples a second
    Scenario.SINGLE_STREAM: "result_qps_without_loadgen_overhead",
    Scenario.OFFLINE: "result_samples_per_second",
    Scenario.SERVER: "result_completed_samples_per_sec",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One scenario and its length.

    Args:
        scenario: LoadGen's scenario.
        seconds: minimum length; MLPerf's own rules ask for 600.
        batch: maximum number of images that run together (Offline, Server).
        target_ms: the latency that 99 of 100 queries must keep (Server).
        qps: queries a second (Server); None: half of what the backend can do one after the other.
    """

    scenario: Scenario
    seconds: float = 10.0
    batch: int = 8
    target_ms: float = 100.0
    qps: float | None = None

    def __post_init__(self) -> None:
        if min(self.seconds, self.batch, self.target_ms, self.qps or 1) <= 0:
            raise UsageError(f"{self}: expected positive seconds, batch, target_ms and qps")


def check_loadgen() -> None:
    """Raises MachineError if LoadGen is not installed."""
    if importlib.util.find_spec("mlperf_loadgen") is None:
        raise missing_package("mlcommons-loadgen", "loadgen", "a load scenario")


def run_scenario(backend: Backend, images: Array, load: Load, folder: Path) -> LoadResult:
    """Lets LoadGen send queries to the backend, which one thread at a time uses.

    Args:
        backend: answers the queries.
        images: prepared inputs (N, ...), which queries take by index.
        load: the scenario.
        folder: for LoadGen's own logs; made if missing.

    Raises:
        MachineError: LoadGen is not installed.
        DeployError: an inference failed, or LoadGen wrote no result.
    """
    check_loadgen()
    import mlperf_loadgen as lg

    folder.mkdir(parents=True, exist_ok=True)
    server = _Server(backend, images, load, lg)
    logs = lg.LogSettings()
    logs.log_output.copy_summary_to_stdout = False
    logs.enable_trace = False
    library = lg.ConstructQSL(len(images), len(images), lambda _indices: None, lambda _indices: None)
    under_test = lg.ConstructSUT(server.issue, lambda: None)
    with scratch_folder(folder) as made:  # LoadGen follows links that it finds
        logs.log_output.outdir = str(made)
        try:
            lg.StartTestWithLogSettings(under_test, library, _settings(lg, load, server.rate()), logs)
        finally:
            server.stop()
            lg.DestroySUT(under_test)
            lg.DestroyQSL(library)
        for log in made.iterdir():
            log.replace(folder / log.name)
    if server.failure is not None:
        raise DeployError(f"{load.scenario}: an inference failed ({server.failure})") from server.failure
    return _result(folder, load)


class _Server:
    """Answers LoadGen's samples in batches of at most `load.batch`, in order, on one thread."""

    def __init__(self, backend: Backend, images: Array, load: Load, lg: Any) -> None:
        self.failure: Exception | None = None
        self._backend, self._images, self._lg = backend, images, lg
        self._max_batch = 1 if load.scenario is Scenario.SINGLE_STREAM else min(load.batch, backend.batches[-1])
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def issue(self, samples: Sequence[Any]) -> None:
        """Queues LoadGen's samples, an id and an index each."""
        for sample in samples:
            self._waiting.put((sample.id, sample.index))

    def rate(self) -> float:
        """Measures samples a second, in batches as large as the scenario allows; call it before LoadGen starts."""
        section = functools.partial(self._infer, [index % len(self._images) for index in range(self._max_batch)])
        return self._max_batch * 1000 / statistics.median(measure_latency(section, 10).host_ms)

    def stop(self) -> None:
        """Ends the thread after all samples are answered."""
        self._waiting.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (first := self._waiting.get()) is not None:
            together = [first]
            while len(together) < self._max_batch and not self._waiting.empty():
                following = self._waiting.get()
                if following is None:
                    self._waiting.put(None)
                    break
                together.append(following)
            self._answer(together)

    def _answer(self, samples: list[tuple[int, int]]) -> None:
        try:
            if self.failure is None:  # after one, LoadGen is only brought to its end
                self._infer([index for _, index in samples])
        except Exception as error:  # noqa: BLE001 (raised when LoadGen has ended; it would wait for ever)
            self.failure = error
        self._lg.QuerySamplesComplete([self._lg.QuerySampleResponse(number, 0, 0) for number, _ in samples])

    def _infer(self, indices: list[int]) -> None:
        missing = self._backend.batches[0] - len(indices)
        self._backend.infer(self._images[indices + indices[-1:] * missing])


def _settings(lg: Any, load: Load, rate: float) -> Any:
    """LoadGen makes the queries of a run beforehand: if it expects too few, the run is too short and not valid."""
    settings = lg.TestSettings()
    settings.scenario = getattr(lg.TestScenario, load.scenario.value)
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = round(load.seconds * 1000)
    settings.min_query_count = QUERIES[load.scenario]
    settings.single_stream_expected_latency_ns = round(1e9 / (HEADROOM * rate))
    settings.multi_stream_expected_latency_ns = round(1e9 * MULTI_STREAM / (HEADROOM * rate))
    settings.multi_stream_samples_per_query = MULTI_STREAM
    settings.offline_expected_qps = HEADROOM * rate
    settings.server_target_qps = rate / 2 if load.qps is None else load.qps
    settings.server_target_latency_ns = round(load.target_ms * MILLISECOND_NS)
    settings.server_target_latency_percentile = 0.99
    return settings


def _result(folder: Path, load: Load) -> LoadResult:
    """Reads LoadGen's detailed log."""
    found: dict[str, Any] = {}
    log = folder / "mlperf_log_detail.txt"
    try:
        for line in log.read_text(encoding="utf-8").splitlines():
            if line.startswith(PREFIX):
                record = json.loads(line.removeprefix(PREFIX))
                found[record["key"]] = record["value"]
        valid = found["result_validity"] == "VALID"
        kind = "percentile_per_query" if load.scenario is Scenario.MULTI_STREAM else "percentile"
        if load.scenario is Scenario.MULTI_STREAM:
            samples_per_s = MULTI_STREAM * 1e9 / float(found["result_mean_query_latency_ns"])
        else:
            samples_per_s = float(found[RATES[load.scenario]])
        p50, p90, p99 = (found[f"result_{each}.00_{kind}_latency_ns"] / MILLISECOND_NS for each in (50, 90, 99))
        return LoadResult(
            scenario=load.scenario.value,
            valid=valid,
            target_ms=load.target_ms if load.scenario is Scenario.SERVER else None,
            samples_per_s=samples_per_s,
            p50_ms=p50,
            p90_ms=p90,
            p99_ms=p99,
            queries=int(found["result_query_count"]),
            log=folder.name,
            reason=None if valid else _advice(folder),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeployError(f"LoadGen wrote no result that can be read to {log} ({error!r}): run it again") from error


def _advice(folder: Path) -> str:
    """LoadGen's own reason why a run is not valid."""
    summary = (folder / "mlperf_log_summary.txt").read_text(encoding="utf-8").splitlines()
    advice = [line.strip().removeprefix("* ") for line in summary if line.startswith(" *")]
    return "; ".join(advice) or "LoadGen gives no reason"
