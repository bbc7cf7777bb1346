"""Which TensorRT a release of Triton has, as far as sources say it; the standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from wrn_deploy.errors import UsageError

__all__ = ["IMAGE", "TENSORRT_OF", "Triton", "parse_triton"]

IMAGE = "nvcr.io/nvidia/tritonserver"

# Release of the container `tritonserver:RELEASE-py3` -> TensorRT in it. NVIDIA's compatibility.md lists TensorRT for
# the -trtllm containers only, which have another one, so each row names its source.
TENSORRT_OF: Mapping[str, str] = {
    "26.07": "11.1.0.106",  # https://github.com/triton-inference-server/server/issues/8969 (Triton 2.71.0)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Triton:
    """A release of Triton and the TensorRT in its container."""

    release: str
    tensorrt: str

    @property
    def image(self) -> str:
        """The container that has them."""
        return f"{IMAGE}:{self.release}-py3"


def parse_triton(text: str) -> Triton:
    """A release as in "26.07", or with its TensorRT as in "26.09=11.4.0.106".

    Raises:
        UsageError: it is not a release, or it is not in the table and no TensorRT is given.
    """
    release, given, version = text.partition("=")
    if not re.fullmatch(r"\d\d\.\d\d", release) or (given and not re.fullmatch(r"\d+(\.\d+){2,3}", version)):
        raise UsageError(
            f"--triton {text!r}: expected a release such as 26.07, or with its TensorRT, such as 26.09=11.4.0.106"
        )
    if given:
        return Triton(release=release, tensorrt=version)
    if release not in TENSORRT_OF:
        raise UsageError(
            f"--triton {release}: its TensorRT is unknown (known releases: {', '.join(TENSORRT_OF)}); find it with "
            f"`docker run --rm {IMAGE}:{release}-py3 dpkg-query -W 'libnvinfer1*'`, then give both, such as "
            f"--triton {release}=11.4.0.106"
        )
    return Triton(release=release, tensorrt=TENSORRT_OF[release])
