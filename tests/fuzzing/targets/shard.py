"""Shards of a calibration, as `calibrate --merge` reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from tests.calib.collection.test_collected import collected
from wrn_deploy.calib.collection.collected import Collected, Content, Survey, merge_collected
from wrn_deploy.data.containers.array_file import pack_arrays, read_arrays
from wrn_deploy.files.record import from_record

__all__ = ["read", "seeds"]


def seeds(_folder: Path) -> Iterator[bytes]:
    """One with histograms, and one without."""
    for histograms in (True, False):
        block = collected([1, 2, 3], histograms=histograms)
        record = {"survey": dataclasses.asdict(block.survey), "content": dataclasses.asdict(block.content)}
        yield pack_arrays(record, block.to_arrays())


def read(path: Path) -> None:
    """Reads it, and merges it with itself."""
    record, arrays = read_arrays(path)
    survey = from_record(Survey, record.get("survey"), "the survey")
    content = from_record(Content, record.get("content"), "the content")
    block = Collected.from_arrays(survey, content, arrays)
    merge_collected([block, block], 2)
