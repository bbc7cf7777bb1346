"""Writes the sources that are made from installed packages: stubs of the driver, and the layer of the CUDA runtime.

Nothing of NVIDIA's headers or of cuda-bindings has to be kept here: names and signatures are read when they are needed.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

__all__ = ["write_runtime", "write_stubs"]

STREAM, EVENT, GRAPH, INSTANCE = "<void*>stream", "<void*>event", "<void*>graph", "<void*>graphExec"

# Function of the runtime without its `_cuda` -> function of the driver, its C parameters, what it is called with.
FORWARDED = {
    "StreamCreate": ("cuStreamCreate", "void*, unsigned", "<void*>pStream, 0"),
    "StreamCreateWithFlags": ("cuStreamCreate", "void*, unsigned", "<void*>pStream, flags"),
    "StreamDestroy": ("cuStreamDestroy_v2", "void*", STREAM),
    "StreamSynchronize": ("cuStreamSynchronize", "void*", STREAM),
    "StreamQuery": ("cuStreamQuery", "void*", STREAM),
    "StreamWaitEvent": ("cuStreamWaitEvent", "void*, void*, unsigned", f"{STREAM}, {EVENT}, flags"),
    "StreamIsCapturing": ("cuStreamIsCapturing", "void*, void*", f"{STREAM}, <void*>pCaptureStatus"),
    "StreamBeginCapture": ("cuStreamBeginCapture_v2", "void*, int", f"{STREAM}, <int>mode"),
    "StreamEndCapture": ("cuStreamEndCapture", "void*, void*", f"{STREAM}, <void*>pGraph"),
    "GraphInstantiate": (
        "cuGraphInstantiateWithFlags", "void*, void*, unsigned long long", f"<void*>pGraphExec, {GRAPH}, flags",
    ),
    "GraphUpload": ("cuGraphUpload", "void*, void*", f"{INSTANCE}, {STREAM}"),
    "GraphLaunch": ("cuGraphLaunch", "void*, void*", f"{INSTANCE}, {STREAM}"),
    "GraphDestroy": ("cuGraphDestroy", "void*", GRAPH),
    "GraphExecDestroy": ("cuGraphExecDestroy", "void*", INSTANCE),
    "EventCreate": ("cuEventCreate", "void*, unsigned", "<void*>event, 0"),
    "EventCreateWithFlags": ("cuEventCreate", "void*, unsigned", "<void*>event, flags"),
    "EventRecord": ("cuEventRecord", "void*, void*", f"{EVENT}, {STREAM}"),
    "EventQuery": ("cuEventQuery", "void*", EVENT),
    "EventSynchronize": ("cuEventSynchronize", "void*", EVENT),
    "EventElapsedTime": ("cuEventElapsedTime_v2", "float*, void*, void*", "ms, <void*>start, <void*>end"),
    "EventDestroy": ("cuEventDestroy_v2", "void*", EVENT),
    "Malloc": ("cuMemAlloc_v2", "void*, size_t", "<void*>devPtr, size"),
    "Free": ("cuMemFree_v2", "void*", "devPtr"),
    "HostAlloc": ("cuMemHostAlloc", "void*, size_t, unsigned", "<void*>pHost, size, flags"),
    "MallocHost": ("cuMemAllocHost_v2", "void*, size_t", "<void*>ptr, size"),
    "FreeHost": ("cuMemFreeHost", "void*", "ptr"),
    "MemcpyAsync": ("standin_copy", "void*, const void*, size_t, void*", f"dst, src, count, {STREAM}"),
    "PointerGetAttributes": (
        "standin_pointer", "void*, unsigned long long", "<void*>attributes, <unsigned long long>ptr",
    ),
    "GetDeviceCount": ("cuDeviceGetCount", "int*", "count"),
    "DeviceGetPCIBusId": ("cuDeviceGetPCIBusId", "char*, int, int", "pciBusId, len, device"),
    "DriverGetVersion": ("cuDriverGetVersion", "int*", "driverVersion"),
}  # fmt: skip
NOT_SUPPORTED = 801  # cudaErrorNotSupported
SIGNATURE = re.compile(r"cdef (.*?)\b(_?\w+)\((.*)\) (except.*|nogil.*)$")


def write_stubs(include: Path, objects: list[Path], out: Path) -> None:
    """Writes C: stubs of the driver's functions that no object has, and the table of all names.

    Args:
        include: the folder of cuda.h.
        objects: the compiled sources of the stand-in.
        out: the file to write.
    """
    text = "#include <cuda.h>\n#include <cudaProfiler.h>\n"
    command = ["g++", "-E", "-x", "c++", f"-I{include}", "-"]
    declared = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    header = (include / "cuda.h").read_text(encoding="utf-8")
    newest = dict(re.findall(r"#define\s+(cu[A-Z]\w+)\s+(cu[A-Z]\w+_v\d+)\b", header))
    newest |= dict(re.findall(r"#define\s+(cu[A-Z]\w+)\s+__CUDA_API_PT(?:DS|SZ)\((cu[A-Z]\w+)\)", header))
    functions = {*re.findall(r"CUresult\s+(cu[A-Z]\w+)\s*\(", declared), *newest, *newest.values()}
    symbols = subprocess.run(["nm", "--defined-only", *objects], capture_output=True, text=True, check=True).stdout
    own = set(re.findall(r" T (cu\w+)$", symbols, re.MULTILINE))
    stubs = [f'int {name}(void) {{ return standin_missing("{name}"); }}' for name in sorted(functions - own)]
    rows = [f'{{"{name}", (void *){_newest(name, newest, functions)}}},' for name in sorted(functions | own)]
    lines = [
        "#include <string.h>",
        "int standin_missing(const char *);",
        *stubs,
        *(f"extern int {name}(void);" for name in sorted(own)),
        "static const struct { const char *name; void *function; } table[] = {",
        *rows,
        "{0, 0}};",
        "void *standin_lookup(const char *name) {",
        "  for (int i = 0; table[i].name; i++) if (!strcmp(table[i].name, name)) return table[i].function;",
        "  return 0;",
        "}",
    ]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _newest(name: str, newest: dict[str, str], functions: set[str]) -> str:
    """What the header makes of a name: cuMemAlloc is cuMemAlloc_v2."""
    return newest[name] if newest.get(name) in functions else name


def write_runtime(bindings: Path, out: Path) -> None:
    """Writes `_internal/runtime.pyx` of an installed cuda-bindings: forwards to the driver, or is not supported.

    The real module holds a CUDA runtime that refuses a driver without NVIDIA's private tables.

    Args:
        bindings: the package's folder `cuda/bindings`.
        out: the file to write.
    """
    called = {function: parameters for function, parameters, _ in FORWARDED.values()}
    lines = [
        "# cython: language_level=3",
        "from ..cyruntime cimport *",
        "cdef extern from *:",
        '    """',
        '    extern "C" {',
    ]
    lines += [f'    int forwarded_{name}({parameters}) __asm__("{name}");' for name, parameters in called.items()]
    lines += ["    const char* standin_error(int);", "    }", '    """']
    lines += [f"    int forwarded_{name}({parameters}) nogil" for name, parameters in called.items()]
    lines += ["    const char* standin_error(int) nogil"]
    for source in ("_internal/runtime.pxd", "_lib/cyruntime/cyruntime.pxd"):
        for line in (bindings / source).read_text(encoding="utf-8").splitlines():
            found = SIGNATURE.match(line)
            if found is not None:
                lines += _function(*found.groups())
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _function(returns: str, name: str, parameters: str, suffix: str) -> list[str]:
    head, short = f"cdef {returns}{name}({parameters}) {suffix}:", name.removeprefix("_cuda")
    if short in FORWARDED:
        function, _, values = FORWARDED[short]
        body = f"return <cudaError_t><int>forwarded_{function}({values})"
    elif short in ("GetErrorString", "GetErrorName"):
        body = "return standin_error(<int>error)"
    elif "cudaError_t" in returns:
        body = f"return <cudaError_t>{NOT_SUPPORTED}"
    elif "cudaChannelFormatDesc" in returns:
        return [head, "    cdef cudaChannelFormatDesc empty", "    empty.x = 0", "    return empty"]
    else:
        body = "pass" if returns.strip() == "void" else f"return <{returns.strip()}>0"
    return [head, f"    {body}"]
