"""Plans and machines that do not fit: the code and text of the Python Runner, and nothing left."""

from __future__ import annotations

import gc
import hashlib
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.driver import environment
from tests.driver.bundles import some_images
from tests.driver.library.calls import BACKEND, FELL_BACK, CallError, Library, OurTensorRT
from tests.driver.library.conftest import VARIABLES, Built, MakeBundle, find_headers
from tests.manifests import read_record, write_record
from wrn_deploy import Runner
from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.gpu import on_gpu

Python = Callable[..., subprocess.CompletedProcess[str]]

# Opens a bundle in a process of its own: the library's folder, the bundle, the backend.
OPEN = """
import sys
from pathlib import Path
from tests.driver.library.calls import CallError, Library
try:
    Library(Path(sys.argv[1])).open(Path(sys.argv[2]), backend=sys.argv[3]).close()
    print("opened")
except CallError as failure:
    print(failure)
"""


def refused(bundle: Path, flavor: str, precision: str = "fp16") -> tuple[int, str] | None:
    """The code and text of the Python Runner; None if it opens the bundle."""
    found = None
    with on_gpu():  # the error holds the engine
        try:
            Runner.open(bundle, backend=flavor, precision=precision).close()
        except DeployError as error:
            found = error.exit_code, str(error)
        gc.collect()
    return found


def replace_plan(bundle: Path, content: bytes) -> None:
    """Puts another plan into a bundle, with a manifest that vouches for it."""
    record = read_record(bundle)
    (artifact,) = record["artifacts"].values()
    (bundle / artifact["path"]).write_bytes(content)
    artifact.update(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    write_record(bundle, record)


@pytest.mark.parametrize(
    "facts",
    [
        {"version": "10.9.0.34"},
        {"compute_capability": "8.6", "gpu": "NVIDIA A10"},
        {"compute_capabilities": ["SM86", "SM120"]},
        {"strip": True},
        {"flavor": "tensorrt_other"},
        {"version": "10.9.0.34", "version_compatible": True, "exclude_lean_runtime": True},
        {"hardware": "ampere-plus", "compute_capability": "8.0", "version": "10.9.0.34"},
        {"profiles": [{"minimum": 1, "optimum": 2, "maximum": 3}]},
        {"inputs": [{"name": "images", "dtype": "uint8", "shape": [8, 8, 3]}]},
    ],
    ids=str,
)
def test_a_plan_that_does_not_fit(
    library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str, facts: Mapping[str, Any]
) -> None:
    del ours
    bundle = make(facts=facts)
    wanted = refused(bundle, flavor)
    if wanted is None:  # TensorRT-RTX's plans run on any GPU of the named kinds
        library.open(bundle, backend=flavor).close()
        return
    with pytest.raises(CallError) as found:
        library.open(bundle, backend=flavor)
    assert (found.value.status, found.value.text) == wanted


def test_tensors_of_other_names(library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str) -> None:
    del ours
    bundle = make(facts={"inputs": [{"name": "pictures", "dtype": "float32", "shape": [3, 8, 8]}]})
    with pytest.raises(
        CallError, match="1: the plan's tensors are images, logits: the bundle's are pictures, logits; re"
    ):
        library.open(bundle, backend=flavor)


def test_processor_code_needs_leave(
    library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del ours
    bundle = make(facts={"version_compatible": True})
    with pytest.raises(CallError) as found:
        library.open(bundle, backend=flavor)
    assert (found.value.status, found.value.text) == refused(bundle, flavor)
    library.open(bundle, backend=flavor, allow_host_code=True).close()
    monkeypatch.setenv("WRN_DEPLOY_ALLOW_HOST_CODE", "1")
    library.open(bundle, backend=flavor).close()


def test_plans_that_are_damaged(library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str) -> None:
    """The manifest vouches for what it should not, or does not."""
    del ours
    bundle = make()
    (plan,) = bundle.glob("*.plan")
    whole = plan.read_bytes()
    other = {"tensorrt": b"vtrt" + bytes(60), "tensorrt_rtx": b'{"source": 1}'}[flavor]
    for content in (b"", other, whole[:-4]):
        replace_plan(bundle, content)
        with pytest.raises(CallError) as found:
            library.open(bundle, backend=flavor)
        said = found.value.text.replace(" (no plan)", "")  # what TensorRT logs; the Runner lets it go to stderr
        assert (found.value.status, said) == refused(bundle, flavor)
    plan.write_bytes(whole)
    with pytest.raises(CallError) as found:
        library.open(bundle, backend=flavor)
    assert (found.value.status, found.value.text) == refused(bundle, flavor)
    plan.unlink()
    with pytest.raises(CallError, match=r"missing or cannot be read .*build-engine"):
        library.open(bundle, backend=flavor)


def test_a_bundle_without_a_plan(library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str) -> None:
    del ours
    bundle = make()
    with pytest.raises(CallError) as found:
        library.open(bundle, backend=flavor, precision="int8")
    assert (found.value.status, found.value.text) == refused(bundle, flavor, "int8")
    with pytest.raises(
        CallError, match=r"^2: TensorRT.* does not run fp32 here: expected one of fp16, int8, bf16, fp8$"
    ):
        library.open(bundle, backend=flavor, precision="fp32")


@pytest.mark.parametrize(
    ("call", "status", "said"),
    [
        ("runtime", 4, r"TensorRT(-RTX)? cannot start \(no runtime\)"),
        ("deserialize", 4, r"the plan cannot be deserialized on this GPU.* \(it was made to fail\): rebuild it here"),
        ("context", 4, r"TensorRT cannot make an execution context \(no execution context\): free GPU memory"),
    ],
)
def test_what_tensorrt_says_is_in_the_error(
    library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str, call: str, status: int, said: str
) -> None:
    bundle = make()
    ours.fail(call)
    with pytest.raises(CallError, match=said) as found:
        library.open(bundle, backend=flavor)
    assert found.value.status == status
    library.open(bundle, backend=flavor).close()


def test_an_inference_that_fails_leaves_the_runner_usable(
    library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str
) -> None:
    with library.open(make(), backend=flavor, contexts=1) as runner:
        for count, call, said in (
            (3, "enqueue", r"4: TensorRT could not start the inference \(.*made to fail\)"),
            (9, "address", r"1: the plan does not take the memory for images \(.*multiple of 256\)"),
        ):
            ours.fail(call)
            with pytest.raises(CallError, match=said):
                runner.predict(some_images(count))
            runner.predict(some_images(count))


def test_reasons_of_tensorrt_rtx(library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str) -> None:
    if flavor == "tensorrt":
        pytest.skip("TensorRT-RTX's alone")
    for reason, status, said in (
        ("unsupported", 4, "TensorRT-RTX cannot run the plan here: this GPU is not one of those it was built for"),
        ("malformed", 1, "TensorRT-RTX reports a damaged plan: rebuild it"),
    ):
        ours.fail(reason)
        with pytest.raises(CallError, match=f"{status}: {said}"):
            library.open(make(reason), backend=flavor)


def test_another_runtime_replaces_it_if_allowed(
    library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str
) -> None:
    """The other flavour's plan is there, and this one's is not."""
    del ours
    bundle = make()
    other = next(name for name in VARIABLES if name != flavor)
    with pytest.raises(CallError):
        library.open(bundle, backend=other)
    with library.open(bundle, backend=other, fallback=True) as runner:
        assert runner.text(BACKEND) == flavor
        assert f"plan-fp16-{other}" in runner.text(FELL_BACK) or "cannot run fp16" in runner.text(FELL_BACK)


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("9.3.0.1", r"4: TensorRT.* cannot run fp16: TensorRT.* 9\.3\.0\.1 was found, and libwrn_runner was built"),
        ("12.0.0.1", r"4: TensorRT.* cannot run fp16: TensorRT.* 12\.0\.0\.1 was found"),
    ],
)
def test_a_library_of_another_major_version(
    python: Python, library: Library, built: Built, make: MakeBundle, flavor: str, version: str, said: str
) -> None:
    del library
    done = python(OPEN, str(built.folder), str(make()), flavor, STANDIN_TENSORRT=version)
    assert done.returncode == 0, done.stderr
    assert re.match(said, done.stdout), done.stdout


def test_an_older_library_than_the_headers(
    python: Python, library: Library, built: Built, make: MakeBundle, flavor: str
) -> None:
    """Its classes lack what the headers have; those of TensorRT-RTX may have more, too."""
    del library
    bundle = make()
    (headers,) = (each for each in find_headers() if each.flavor == flavor)
    major, minor = (int(part) for part in headers.version.split("."))
    if flavor == "tensorrt_rtx":
        done = python(OPEN, str(built.folder), str(bundle), flavor, STANDIN_TENSORRT=f"{major}.{minor + 1}.0.1")
        assert "was found, and libwrn_runner was built with the headers of" in done.stdout
    if minor == 0:
        pytest.skip("the headers are of the oldest version")
    done = python(OPEN, str(built.folder), str(bundle), flavor, STANDIN_TENSORRT=f"{major}.{minor - 1}.0.1")
    assert "was found, and libwrn_runner was built with the headers of" in done.stdout


def test_without_tensorrt_or_a_gpu(
    python: Python, library: Library, built: Built, make: MakeBundle, flavor: str
) -> None:
    del library
    bundle, nowhere = make(), {VARIABLES[flavor]: "/no/such/library.so"}
    done = python(OPEN, str(built.folder), str(bundle), flavor, **nowhere)
    assert done.stdout.startswith("4: TensorRT")
    assert f"cannot load TensorRT{'-RTX' if flavor == 'tensorrt_rtx' else ''} (/no/such/library.so: " in done.stdout
    assert f"name its file in {VARIABLES[flavor]}" in done.stdout
    paths = os.environ["LD_LIBRARY_PATH"].split(os.pathsep)
    without = os.pathsep.join(path for path in paths if path != str(environment.LIBRARIES))
    done = python(OPEN, str(built.folder), str(bundle), flavor, LD_LIBRARY_PATH=without)
    if done.stdout == "opened\n":
        pytest.skip("this machine has a GPU")
    assert done.stdout.endswith("cannot run fp16: no CUDA GPU on this machine\n"), done.stdout + done.stderr


def test_without_what_runs_plans(
    python: Python, library: Library, built: Built, make: MakeBundle, flavor: str, tmp_path: Path
) -> None:
    del library
    alone = tmp_path / "alone" / "lib"
    alone.mkdir(parents=True)
    (alone / "libwrn_runner.so.1").write_bytes((built.folder / "lib" / "libwrn_runner.so.1").read_bytes())
    done = python(OPEN, str(alone.parent), str(make()), flavor)
    assert "this library has ONNX Runtime on a CPU alone; libwrn_runner_" in done.stdout
    assert "`wrn-deploy embed --tensorrt FOLDER`" in done.stdout
