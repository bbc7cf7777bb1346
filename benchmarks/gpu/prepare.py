r"""Makes what a GPU report needs and what needs no GPU: bundles with random weights, and images.

    python -m benchmarks.gpu.prepare [--out gpu-report] [--networks wrn-50-2 wrn-101-2 wrn-28-10]

Each network is exported with random weights (only time is measured), and calibrated on a few digits. Copy OUT to the
host with the GPU: the report takes what is there and up to date. The other functions are what GPU benchmarks share.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console

from wrn_deploy.bundle import Bundle
from wrn_deploy.cli.progress import TerminalProgress
from wrn_deploy.data.containers.label_file import LABEL_FILE
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.engines.options import EngineOptions
from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.machine import find_gpu
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.progress import Progress
from wrn_deploy.spec import Precision

__all__ = ["NETWORKS", "PHOTOS", "build_plans", "make_bundle", "make_images", "require_gpu"]

NETWORKS = ("wrn-50-2", "wrn-101-2", "wrn-28-10")
CALIBRATION = CalibrateOptions(data="digits", size=16)  # weights are random: any ranges do
PHOTO = (500, 375)  # width and height of a usual photo of ImageNet
PHOTOS = 256


def main() -> None:
    """Makes the bundles and images of all networks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu-report"))
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    given = parser.parse_args()
    progress = TerminalProgress(Console(stderr=True))
    for network in given.networks:
        make_images(make_bundle(network, given.out, progress), given.out)


def make_bundle(network: str, out: Path, progress: Progress) -> Bundle:
    """The network's bundle in `out`, with random weights and int8 graphs; what is up to date stays."""
    options = ExportOptions(model=network, out=out / "bundles" / network, random_weights=True)
    bundle = export_bundle(options, progress)
    calibrate_bundle(bundle, CALIBRATION, progress)
    return bundle


def make_images(bundle: Bundle, out: Path, count: int = PHOTOS) -> Path:
    """A folder of `count` JPEG images for a bundle: as large as usual photos, or as its input if it does not resize.

    They are smooth noise with seeds, since decoding takes a time that follows size and detail, not what is shown.
    """
    how = bundle.spec.preprocessing
    width, height = (how.width, how.height) if how.resize is None else PHOTO
    folder = out / "images" / f"{count}-of-{width}x{height}"
    listing = folder / LABEL_FILE
    if not listing.exists():
        folder.mkdir(parents=True, exist_ok=True)
        names = [f"{index:04}.jpg" for index in range(count)]
        for index, name in enumerate(names):
            Image.fromarray(_noise(index, width, height)).save(folder / name, quality=90)
        listing.write_text("".join(f"{line}\n" for line in ["file,class_index", *(f"{name},0" for name in names)]))
    return folder


def _noise(seed: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Smooth colours with a little grain: a JPEG of about a photo's size."""
    chance = np.random.default_rng(seed)
    coarse = Image.fromarray(chance.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    pixels: npt.NDArray[np.uint8] = np.clip(smooth + chance.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)
    return pixels


def require_gpu(instead: str = "") -> None:
    """Ends the program with code 4 without a GPU; `instead` is the end of the sentence that says what to do."""
    if find_gpu() is None:
        print(f"no CUDA GPU on this machine: run it on one{instead}", file=sys.stderr)  # noqa: T201
        sys.exit(MachineError.exit_code)


def build_plans(
    bundle: Bundle,
    precisions: Iterable[Precision],
    options: EngineOptions,
    progress: Progress,
    flavors: Iterable[Flavor] | None = None,
) -> list[str]:
    """Builds a plan for each precision with every installed TensorRT; returns a sentence for each that failed."""
    failures = []
    for precision in precisions:
        for flavor in installed_flavors() if flavors is None else flavors:
            try:
                build = BuildOptions(precision=precision, engine=options, flavor=flavor, pixels=False)  # as the others
                build_engine(bundle, build, progress)
            except DeployError as error:
                failures.append(f"{bundle.spec.name} {flavor} {precision} not built: {error}")
    return failures


if __name__ == "__main__":
    main()
