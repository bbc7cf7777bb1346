"""What was measured of all candidates, before their answers are scored, and the report that is made of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bench.measuring.accuracy import Answers
from wrn_deploy.bench.measuring.scoring import score_all
from wrn_deploy.bench.report.environment import Environment, Sitting
from wrn_deploy.bench.report.report import Report, Row, Settings
from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.guard import report_warnings
from wrn_deploy.data import ImageSource
from wrn_deploy.machine import Machine
from wrn_deploy.pipeline.measuring.rounds import RowBuilder, by_reference
from wrn_deploy.pipeline.quantization.overlap import check_overlap
from wrn_deploy.progress import Progress
from wrn_deploy.spec import Precision

__all__ = ["Measured", "gather", "reference_of", "report_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The rows without their accuracy, and the answers that it is computed from.

    Attributes:
        rows: the reference first.
        answers: by the row's name, of those that ran.
        reference: the name of the row that the others' answers are compared with.
        baseline: the name of the row that the others' times are divided by.
        machine, versions, settings, environment, earlier: as in a report.
    """

    rows: tuple[Row, ...]
    answers: Mapping[str, Answers]
    reference: str | None
    baseline: str | None
    machine: Machine
    versions: Mapping[str, str]
    settings: Settings
    environment: Environment | None = None
    earlier: tuple[Sitting, ...] = ()


def gather(
    entries: Sequence[RowBuilder],
    *,
    baseline: tuple[str, Precision] | None,
    machine: Machine,
    versions: Mapping[str, str],
    settings: Settings,
    environment: Environment | None = None,
    earlier: tuple[Sitting, ...] = (),
) -> Measured:
    """What the candidates have, when all have answered; `baseline` is the one that was asked for."""
    answers = {entry.name: entry.answers for entry in entries if entry.answers is not None and not entry.skipped}
    reference = reference_of(entries)
    baselines = [entry.name for entry in entries if (entry.backend, entry.precision) == baseline]
    ordered = sorted(entries, key=lambda entry: entry.name != reference)
    return Measured(
        rows=tuple(entry.row(None) for entry in ordered),
        answers=answers,
        reference=reference,
        baseline=baselines[0] if baselines else reference,
        machine=machine,
        versions=versions,
        settings=settings,
        environment=environment,
        earlier=earlier,
    )


def reference_of(entries: Sequence[RowBuilder]) -> str | None:
    """The name of the first fp32 candidate that has answered."""
    fp32 = [entry for entry in by_reference(entries) if entry.precision is Precision.FP32]
    return next((entry.name for entry in fp32 if entry.answers is not None and not entry.skipped), None)


def report_of(
    bundle: Bundle, measured: Measured, source: ImageSource, data: str, progress: Progress, *, pictures: bool
) -> Report:
    """Scores the answers and makes the report; warns if the int8 graphs were made from some of the images.

    Args:
        bundle: what was measured.
        measured: all that is known of it.
        source: the images, of which some are looked up by name.
        data: what the user calls them.
        progress: shows the warnings.
        pictures: whether the report has the pixels of some images whose class changed.
    """
    first = next(iter(measured.answers.values()))
    report_warnings(check_overlap(bundle, first.images), progress)
    compared = measured.answers[measured.reference] if measured.reference else None
    scores = score_all(measured.answers, compared, source, bundle.spec, pictures=pictures)
    return Report(
        model=bundle.spec.name,
        random_weights=bundle.random_weights,
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        data=Path(data).name,
        data_digest=first.digest,
        corrupt=first.corrupt,
        reference=measured.reference,
        baseline=measured.baseline,
        machine=measured.machine,
        versions=measured.versions,
        settings=measured.settings,
        rows=tuple(
            dataclasses.replace(row, accuracy=None if row.skipped else scores.get(row.name)) for row in measured.rows
        ),
        environment=measured.environment,
        earlier=measured.earlier,
    )
