"""Makes the bundle of `wrn-deploy example`, which comes with the package: `python -m benchmarks.steps.example`.

Trains wrn-10-1 on the packaged digits with the options below, exports and calibrates it, and measures both graphs on
the digits' 359 test images. It takes some minutes. Another CPU or PyTorch may give slightly other weights; what was
measured stands in the manifest, and a test measures it again.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys

from PIL import Image

from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.pipeline.inference.example import FACT, FOLDER, KEYS, PICTURE
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, evaluate_bundle
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.training.train import TrainOptions, train_model
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Silent
from wrn_deploy.training.recipe import TrainRecipe

__all__ = ["make_example"]

DATA = "digits"
RECIPE = TrainRecipe(epochs=20, batch_size=32)
SHOWN = "7"  # the label of the picture, which is the first such test image


def main() -> None:
    """Makes the example and prints its figures."""
    bundle = make_example()
    for key in KEYS:
        artifact = bundle.artifacts[key]
        sys.stdout.write(f"{artifact.path}: {artifact.size_bytes} bytes, {dict(artifact.facts[FACT])}\n")


def make_example() -> Bundle:
    """Trains, exports, calibrates, measures, and writes the bundle and the picture into the package."""
    with scratch_folder() as folder:
        run = train_model(TrainOptions(model="wrn-10-1", data=DATA, out=folder / "run", recipe=RECIPE), Silent())
        whole = export_bundle(ExportOptions(model="wrn-10-1", out=folder / "bundle", weights=run.weights), Silent())
        calibrate_bundle(whole, CalibrateOptions(data=DATA), Silent())
        report = evaluate_bundle(whole, MeasureOptions(data=DATA, backends=("onnxruntime",)), Silent())
        measured = {row.precision: row.accuracy for row in report.rows if row.backend == "onnxruntime"}
        shutil.rmtree(FOLDER, ignore_errors=True)
        bundle = Bundle.create(FOLDER, whole.spec, random_weights=False)
        with bundle.transaction() as step:
            for key in KEYS:
                made, accuracy = whole.find(key), measured[whole.artifacts[key].precision]
                assert accuracy is not None
                shutil.copyfile(whole.file(made), step.file(made.path))
                figures = {"data": DATA, "images": accuracy.images, "correct": accuracy.correct}
                step.artifacts.append(dataclasses.replace(made, facts={**made.facts, FACT: figures}))
        (FOLDER / ".lock").unlink()
    shown = next(item for item in open_data(DATA, Role.TEST).items() if str(item.label) == SHOWN)
    Image.fromarray(shown.load()).save(FOLDER / PICTURE)
    return bundle


if __name__ == "__main__":
    main()
