"""Small reports for the tests of the renderings, as plain data."""

from __future__ import annotations

from wrn_deploy.bench.report.report import Accuracy, Boundary, Latency, Report, Row, Settings, WarmUp
from wrn_deploy.machine import Machine
from wrn_deploy.spec import Precision

STEADY = WarmUp(0.5, 20, steady=True)
MACHINE = Machine(
    system="Linux x86_64", cpu="A CPU", cores=4, memory_mib=16384, python="3.12.1", gpu=None, load_1min=0.5
)
REASON = "this machine has no CUDA GPU: TensorRT needs a driver and a GPU (pip install 'wrn-deploy[gpu]')"
HOSTILE = "<script>alert('x')</script> & \"q\" | `c` *b* [link](x)\n\x1b[31mred"


def measured(title: str, precision: Precision, median_ms: float, correct: int | None = None) -> Row:
    samples = (median_ms * 0.9, median_ms, median_ms * 1.1)
    larger = tuple(4 * sample for sample in samples)
    return Row(
        title.lower(),
        title,
        precision,
        artifact=f"onnx/{precision}.onnx",
        sha256="0123456789abcdef" * 4,
        size_bytes=10_900_000,
        peak_rss_bytes=210_000_000,
        latencies=(Latency(1, (samples,) * 8, STEADY), Latency(8, (larger,) * 8, STEADY)),
        accuracy=None if correct is None else Accuracy(360, correct, 0.9975),
    )


FP32 = measured("PyTorch", Precision.FP32, 2.52, 354)
INT8 = measured("ONNX Runtime", Precision.INT8, 1.2, 351)
SKIPPED = Row("tensorrt", "TensorRT", Precision.FP16, skipped=REASON, size_bytes=5_500_000)


def make_report(*rows: Row, model: str = "wrn-16-4", random_weights: bool = False) -> Report:
    return Report(
        model=model,
        random_weights=random_weights,
        created="2025-11-20T10:00:00+00:00",
        data="digits",
        data_digest="0123456789abcdef",
        corrupt=(),
        reference="PyTorch fp32",
        baseline="PyTorch fp32",
        machine=MACHINE,
        versions={"numpy": "2.4.6"},
        settings=Settings((1, 8), 8, 6.0, 40, 2, 1, Boundary.COMPUTE),
        rows=rows,
    )


FULL = make_report(FP32, INT8, SKIPPED)
NO_ACCURACY = make_report(measured("A", Precision.FP32, 1.0), measured("B", Precision.FP16, 1.01))
