"""The import step: an ONNX classifier that was exported elsewhere as a bundle; no weights of PyTorch, no torch."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wrn_deploy.bundle import Bundle, sha256_of
from wrn_deploy.errors import DamagedFile, DeployError, missing_package
from wrn_deploy.files.onnx.check import check_bundle_graph
from wrn_deploy.files.room import check_room
from wrn_deploy.files.trust import Trust
from wrn_deploy.machine import package_versions
from wrn_deploy.manifest import Artifact, Kind, Recipe
from wrn_deploy.pipeline.networks.parity import graph_parity
from wrn_deploy.pipeline.networks.replacing import check_replaced, warn_of_stale
from wrn_deploy.pipeline.read_graph import read_graph
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Progress
from wrn_deploy.runtime.sessions import open_session, session_errors
from wrn_deploy.spec import IMPORTED, ModelSpec, Precision, Preprocessing
from wrn_deploy.version import __version__

if TYPE_CHECKING:
    from wrn_deploy.export.foreign.convert import Converted

__all__ = ["ImportOptions", "import_onnx"]

PACKAGES = ("onnx", "onnx-ir", "onnxruntime", "onnxruntime-gpu")
EXPECTED = "expected an ONNX graph of an image classifier"
PREPROCESSING = "wrn_deploy.preprocessing"  # metadata: other preprocessing makes another graph, and stale calibrations

Floats = npt.NDArray[np.float32]
Three = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """The file, the bundle for it, and what an ONNX file does not say.

    Attributes:
        file: the ONNX file; external data must lie beside it.
        out: folder of the bundle.
        mean: mean of R, G and B that normalises images, of a 0..1 image; zeros if the graph normalises.
        std: their standard deviation, likewise; ones if the graph normalises. 1/255 for a graph that takes 0..255.
        labels: the names of the classes; empty: they have none.
        name: the network's name; None: the file's.
        resize: pixels of an image's shorter side before the centre is cropped; None: images must have the input's size.
        crop: height and width of the input, if the graph leaves them open.
        interpolation: of the resize: "bilinear" or "bicubic".
        replace: replace the bundle of another network.
    """

    file: Path
    out: Path
    mean: Three
    std: Three
    labels: tuple[str, ...] = ()
    name: str | None = None
    resize: int | None = None
    crop: int | None = None
    interpolation: str = "bilinear"
    replace: bool = False


def import_onnx(options: ImportOptions, progress: Progress) -> Bundle:
    """Makes a bundle with fp32.onnx and fp16.onnx from the file; every later step but PyTorch's works on it.

    The graph is translated into one like our own exports (`export/foreign`): channels first, any batch, BN folded, a
    Softmax at its end left out. The result is compared with the file in ONNX Runtime. The file is not trusted: its
    sizes are checked, and nothing of it is run before every operator in it is known.

    Example:
        >>> from pathlib import Path
        >>> from wrn_deploy.pipeline.networks.importing import ImportOptions, import_onnx
        >>> from wrn_deploy.progress import Silent
        >>> mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
        >>> options = ImportOptions(file=Path("bundle/fp32.onnx"), out=Path("imported"), mean=mean, std=std)
        >>> sorted(import_onnx(options, Silent()).artifacts)
        ['onnx-fp16', 'onnx-fp32']

    Raises:
        UsageError: the size of the input must be given, or contradicts the graph's; the folder holds another network.
        DeployError: an operator that cannot be taken, by its name; not a classifier; other labels than classes.
        DamagedFile: not an ONNX file, or a damaged one.
        GateError: the bundle's graph does not compute what the file computes.
        MachineError: onnx or onnxruntime is missing.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise missing_package("onnxruntime", "cpu", "importing a graph")
    if options.file.is_file():  # what else it is, `read_graph` says
        check_room(options.out, options.file.stat().st_size * 3 // 2, "the bundle")
    read = read_graph(options.file, "importing a graph", EXPECTED)
    import onnx_ir as ir

    from wrn_deploy.export.foreign.convert import convert_foreign

    digest = sha256_of(options.file)
    try:
        ir.external_data.load_to_model(read)
        with progress.task(f"Translating {options.file.name}"):
            converted = convert_foreign(read, options.crop)
    except DamagedFile:
        raise
    except DeployError as error:
        raise type(error)(f"{options.file} cannot be imported: {error}") from error
    except (OSError, TypeError, ValueError, LookupError) as error:  # attributes and tensors that do not fit
        raise DamagedFile(f"{options.file} is damaged, or its data is missing ({error}): {EXPECTED}") from error
    spec = _new_spec(converted, options)
    if not options.replace:
        check_replaced(options.out, spec, random_weights=False)
    bundle = Bundle.create(options.out, spec, random_weights=False)
    recipe = Recipe(
        options={"model": spec.to_json(), "file_sha256": digest},
        tools={"wrn-deploy": __version__, **package_versions(*PACKAGES)},
    )
    if _up_to_date(bundle, recipe):
        progress.note(f"{bundle.folder}: fp32 and fp16 graphs are up to date")
        return Bundle.open(bundle.folder, trust=Trust())
    with scratch_folder() as folder:
        ir.save(read, folder / "foreign.onnx")  # without what has no effect in it, which ONNX Runtime would run
        foreign = _Foreign(folder / "foreign.onnx", converted, options.file.name)
        _write(bundle, foreign, recipe, progress)
    warn_of_stale(bundle, progress)
    return bundle


def _new_spec(converted: Converted, options: ImportOptions) -> ModelSpec:
    from wrn_deploy.calib.placement import conv_depths

    height, width = converted.size
    name = re.sub(r"[^\w.-]+", "-", options.name or options.file.stem, flags=re.ASCII).strip("-.")
    return ModelSpec(
        name=name or IMPORTED,
        family=IMPORTED,
        depth=max(conv_depths(converted.model.graph).values()),
        widen=1,
        classes=converted.classes,
        labels=options.labels,
        preprocessing=Preprocessing(
            height=height,
            width=width,
            mean=options.mean,
            std=options.std,
            resize=options.resize,
            interpolation=options.interpolation,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Foreign:
    """The graph as it came, in `file`, and what it was translated to; `name` is the user's file's."""

    file: Path
    converted: Converted
    name: str

    def open(self) -> Callable[[Floats], Floats]:
        """Opens it: normalised images (N, 3, H, W) -> what the graph gives for them, (N, classes)."""
        session, converted = open_session(self.file), self.converted
        source = session.get_inputs()[0].name

        def infer(images: Floats) -> Floats:
            size = converted.batch or len(images)
            count = -(-len(images) // size) * size
            filled = np.resize(images, (count, *images.shape[1:]))  # repeats images in the last batch
            given = np.ascontiguousarray(filled.transpose(0, 2, 3, 1)) if converted.last else filled
            try:
                found = [session.run(None, {source: given[at : at + size]})[0] for at in range(0, count, size)]
            except session_errors() as error:
                raise DeployError(f"{self.name} does not run ({error}): {EXPECTED}") from error
            answers: Floats = np.concatenate(found)[: len(images)]
            return answers

        return infer

    def answer(self, logits: Floats) -> Floats:
        """What the graph as it came would give for these logits."""
        if not self.converted.probabilities:
            return logits
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        softmax: Floats = powers / powers.sum(axis=1, keepdims=True)
        return np.log(softmax) if self.converted.probabilities == "LogSoftmax" else softmax


def _write(bundle: Bundle, foreign: _Foreign, recipe: Recipe, progress: Progress) -> None:
    import onnx_ir as ir

    from wrn_deploy.export.check import check_structure
    from wrn_deploy.export.half import convert_fp16

    spec, fp32 = bundle.spec, foreign.converted.model
    fp32.metadata_props[PREPROCESSING] = json.dumps(dataclasses.asdict(spec.preprocessing))
    fp16 = convert_fp16(fp32)
    with bundle.transaction() as step:
        for precision, model in ((Precision.FP32, fp32), (Precision.FP16, fp16)):
            check_structure(model, spec)
            ir.save(model, step.file(f"{precision}.onnx"))
            check_bundle_graph(step.file(f"{precision}.onnx"))  # before a library runs it, or what it was made from
        reference, own = foreign.open(), recipe
        for precision in (Precision.FP32, Precision.FP16):
            file = step.file(f"{precision}.onnx")
            parity = graph_parity(reference, file, spec, precision, progress, of=foreign.name, answer=foreign.answer)
            made = step.add(
                f"onnx-{precision}",
                kind=Kind.ONNX,
                precision=precision,
                path=file.name,
                recipe=own,
                facts={"parity": parity},
            )
            own = _half_recipe(made, recipe)


def _half_recipe(fp32: Artifact, recipe: Recipe) -> Recipe:
    return Recipe(parents={fp32.key: fp32.sha256}, tools=recipe.tools)


def _up_to_date(bundle: Bundle, recipe: Recipe) -> bool:
    try:
        there = Bundle.open(bundle.folder, trust=Trust())
    except DeployError:
        return False
    fp32 = there.current("onnx-fp32", recipe)
    return fp32 is not None and there.current("onnx-fp16", _half_recipe(fp32, recipe)) is not None
