"""Published weights known by name: where each file is, how its images are prepared, what it scored; no torch."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from wrn_deploy.errors import DeployError
from wrn_deploy.plugins import near_names
from wrn_deploy.spec import Preprocessing

__all__ = ["WeightsAccuracy", "WeightsSource", "find_source", "parse_sources", "read_sources", "sources_of"]

FILE = Path(__file__).with_name("sources.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsAccuracy:
    """Published accuracy on ImageNet's 50,000 validation images, in percent.

    It was measured at `size` pixels, cropped from images whose shorter side was resized to `resize`.
    """

    top1: float
    top5: float
    size: int
    resize: int
    published_in: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsSource:
    """One published weight file.

    Args:
        name: as `--weights` takes it, as in "timm/wide_resnet50_2.racm_in1k".
        network: the network here that the weights belong to, as in "wrn-50-2".
        file: the file's name.
        preprocessing: what the weights expect; it travels with them.
        accuracy: what was published.
        url: where it is downloaded from; "" if it is on the Hugging Face hub.
        repository: its repository on the Hugging Face hub; "" if it has a `url`.
        revision: the commit of the repository; "" if no commit is known.
        sha256: the hex digits of the file's digest, all 64 or as many as are published; "" if none are.
    """

    name: str
    network: str
    file: str
    preprocessing: Preprocessing
    accuracy: WeightsAccuracy
    url: str = ""
    repository: str = ""
    revision: str = ""
    sha256: str = ""


@functools.cache
def read_sources() -> Mapping[str, WeightsSource]:
    """The published weights by name; raises DeployError if the file is damaged."""
    try:
        return MappingProxyType(parse_sources(FILE.read_text(encoding="utf-8")))
    except (OSError, ValueError, DeployError) as error:
        raise DeployError(f"{FILE} cannot be read ({error}): install wrn-deploy again") from error


def parse_sources(text: str) -> dict[str, WeightsSource]:
    """Reads the tables in the order of the file; raises ValueError for anything that `sources.toml` does not have."""
    tables = tomllib.loads(text)
    try:
        mean, std = (tuple(map(float, tables.pop(key))) for key in ("mean", "std"))
        found = {}
        for publisher, table in tables.items():
            defaults = {"mean": mean, "std": std, **table}
            for short, row in defaults.pop("weights").items():
                name = f"{publisher}/{short}"
                found[name] = _source(name, **{**defaults, **row})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a table is not as expected: {error!r}") from error
    return found


def find_source(name: str) -> WeightsSource:
    """The published weights called `name`, as in `find_source("timm/wide_resnet50_2.racm_in1k").network`.

    Raises:
        DeployError: no such weights are known; the text names near ones.
    """
    sources = read_sources()
    if name in sources:
        return sources[name]
    raise DeployError(
        f"there are no weights named {name!r}{near_names(name, [*sources])}: expected a file, or a name such as "
        "timm/wide_resnet50_2.racm_in1k; `wrn-deploy models --json` lists them"
    )


def sources_of(network: str) -> tuple[WeightsSource, ...]:
    """The published weights of `network`, as in "wrn-50-2": in the order torchvision, timm, mmpretrain."""
    return tuple(source for source in read_sources().values() if source.network == network)


def _source(
    name: str,
    *,
    network: str,
    file: str,
    mean: Any,
    std: Any,
    resize: int,
    interpolation: str,
    top1: float,
    top5: float,
    tested_size: int,
    published_in: str,
    tested_resize: int | None = None,
    url: str = "",
    revision: str = "",
    sha256: str = "",
) -> WeightsSource:
    in_name = file.removesuffix(".pth").rpartition("-")[2] if url else ""
    if not 0 < top1 < top5 < 100:
        raise ValueError(f"top-1 {top1} and top-5 {top5} of {name}: expected percent in this order")
    if not re.fullmatch("([0-9a-f]{64})?", sha256) or not sha256.startswith(in_name if sha256 else ""):
        raise ValueError(f"sha256 {sha256!r} of {name}: expected 64 hex digits, {in_name!r} first")
    return WeightsSource(
        name=name,
        network=network,
        file=file,
        preprocessing=Preprocessing(
            height=224, width=224, mean=mean, std=std, resize=resize, interpolation=interpolation
        ),
        accuracy=WeightsAccuracy(
            top1=top1, top5=top5, size=tested_size, resize=tested_resize or resize, published_in=published_in
        ),
        url=url and url + file,
        repository="" if url else name,
        revision=revision,
        sha256=sha256 or in_name,
    )
