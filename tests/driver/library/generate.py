"""Writes what TensorRT's classes have and our TensorRT does not, from the headers; none of them has to be kept here."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["write_stubs"]

CLASSES = ("VRuntime", "VCudaEngine", "VExecutionContext", "VRuntimeConfig", "VRuntimeCache")
PURE = re.compile(r"virtual ([^;]+?)\s*= 0;", re.DOTALL)


def write_stubs(include: Path, out: Path) -> None:
    """Writes C++: for each class of TensorRT one that ends the process in every call, so that a missing one is noticed.

    Args:
        include: the folder of NvInferRuntime.h.
        out: the file to write.
    """
    text = (include / "NvInferImpl.h").read_text(encoding="utf-8")
    lines = [
        "#pragma once",
        "#include <cstdio>",
        "#include <cstdlib>",
        "using namespace nvinfer1;",
        "[[noreturn]] inline void not_implemented(const char *name) {",
        '  std::fprintf(stderr, "our TensorRT has no %s\\n", name);',
        "  std::abort();",
        "}",
    ]
    for name in CLASSES:
        body = re.search(rf"^class {name} [^;]*?^\{{(.*?)^\}};", text, re.DOTALL | re.MULTILINE)
        if body is None:  # TensorRT-RTX's alone
            continue
        lines.append(f"struct {name.removeprefix('V')}Stubs : apiv::{name} {{")
        for declared in PURE.findall(body[1]):
            signature = " ".join(declared.split())
            called = re.match(r".*?(\w+)\(", signature)
            assert called is not None
            lines.append(f'  {signature} override {{ not_implemented("{called[1]}"); }}')
        lines.append("};")
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
