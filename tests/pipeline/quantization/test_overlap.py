"""Evaluation images that are calibration images are counted, as long as the list belongs to the table."""

from __future__ import annotations

import shutil

import pytest

from wrn_deploy.bundle import Bundle
from wrn_deploy.data import ImageSource, Role, open_data
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.data.sampling.digest import image_digest
from wrn_deploy.data.sampling.overlap import ImageSet
from wrn_deploy.data.sampling.subset import even_sample
from wrn_deploy.errors import DeployError
from wrn_deploy.pipeline.quantization.overlap import CALIBRATION, check_overlap


def digests(source: ImageSource, bundle: Bundle) -> list[bytes]:
    return [image_digest(image) for batch in Batches(source, bundle.spec.preprocessing, 64) for image in batch.images]


@pytest.fixture
def listed(bundle: Bundle) -> Bundle:
    """With the list of 128 calibration images, as the calibration step stages it."""
    calibrated = digests(even_sample(open_data("digits", Role.TRAIN), 128), bundle)
    table = bundle.artifacts["calibration"]
    with bundle.transaction() as step:
        shutil.copy(bundle.file(table), step.file(table.path))
        again = step.add(
            table.key,
            kind=table.kind,
            precision=table.precision,
            path=table.path,
            recipe=table.recipe,
            facts=table.facts,
        )
        assert CALIBRATION.add(step, again, ImageSet.of(calibrated)).facts == {"images": 128}
    return Bundle.open(bundle.folder)


def test_other_images_give_no_warning(listed: Bundle) -> None:
    assert check_overlap(listed, digests(open_data("digits", Role.TEST), listed)) == []


def test_shared_images_are_counted(listed: Bundle) -> None:
    calibrated = digests(even_sample(open_data("digits", Role.TRAIN), 128), listed)
    (warning,) = check_overlap(listed, digests(open_data("digits", Role.TEST), listed)[:60] + calibrated[:17])
    assert warning.found == "17 of 77 evaluation images are also calibration images"
    assert warning.numbers == {"shared": 17, "evaluated": 77}


def test_a_list_of_another_table_is_not_asked(listed: Bundle) -> None:
    calibrated = digests(even_sample(open_data("digits", Role.TRAIN), 128), listed)
    table = listed.artifacts["calibration"]
    with listed.transaction() as step:
        step.file(table.path).write_text(listed.file(table).read_text(encoding="utf-8") + " ", encoding="utf-8")
        step.add(
            table.key,
            kind=table.kind,
            precision=table.precision,
            path=table.path,
            recipe=table.recipe,
            facts=table.facts,
        )
    assert check_overlap(listed, calibrated) == []


def test_a_bundle_without_a_list_or_a_table_is_not_asked(bundle: Bundle) -> None:
    bundle.artifacts.pop(CALIBRATION.key, None)
    assert check_overlap(bundle, [bytes(32)]) == []
    del bundle.artifacts["calibration"]
    assert check_overlap(bundle, [bytes(32)]) == []


def test_a_damaged_list_is_not_asked(listed: Bundle) -> None:
    """Its sha256 is in the manifest: `calibrate` writes it anew, and a warning does not stop an evaluation."""
    listed.file(listed.artifacts[CALIBRATION.key]).write_text("damaged", encoding="ascii")
    assert check_overlap(listed, [bytes(32)]) == []


def test_a_list_of_another_format_says_so(listed: Bundle) -> None:
    old = listed.artifacts[CALIBRATION.key]
    with listed.transaction() as step:
        step.file(old.path).write_text("wrn-deploy images 0\n", encoding="ascii")
        step.add(old.key, kind=old.kind, precision=old.precision, path=old.path, recipe=old.recipe, facts=old.facts)
    with pytest.raises(DeployError, match="calibrate again"):
        check_overlap(listed, [bytes(32)])
