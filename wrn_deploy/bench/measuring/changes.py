"""Finds the names and pixels of images whose class changed: one pass over the data, which decodes these alone."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from wrn_deploy.bench.measuring.accuracy import Answers
from wrn_deploy.bench.measuring.scoring import Change
from wrn_deploy.bench.report.scores import ChangedImage
from wrn_deploy.data import CorruptImage, ImageSource
from wrn_deploy.data.preprocess import fit_image
from wrn_deploy.data.sampling.digest import image_digest
from wrn_deploy.spec import ModelSpec, Preprocessing

__all__ = ["Shown", "look_up", "to_images", "to_png"]

LONGEST = 96  # pixels of a picture's side: twelve of a row stay below half a megabyte

Shown = Mapping[int, tuple[str, str]]


def look_up(
    source: ImageSource, how: Preprocessing, answers: Answers, wanted: Collection[int], *, pictures: bool = True
) -> Shown:
    """The name and the picture (PNG, base64) of each image in `wanted`, by its place among those that were asked for.

    The pixels are those that the network sees, before they are normalised. Without `pictures`, none has one; nor has an
    image that is not the one that was asked for, since the data have changed or a corrupt image has its name twice.
    """
    left, corrupt = set(wanted), set(answers.corrupt)
    found: dict[int, tuple[str, str]] = {}
    if not left:
        return found
    asked = (item for item in source.items() if item.name not in corrupt)
    for index, item in enumerate(asked):
        if index in left:
            left.remove(index)
            try:
                pixels = fit_image(item.load(), how, item.name)
            except CorruptImage:
                continue
            kept = pictures and (not answers.images or image_digest(pixels) == answers.images[index])
            found[index] = (item.name, base64.b64encode(to_png(pixels, LONGEST)).decode() if kept else "")
        if not left:
            break
    return found


def to_png(image: npt.NDArray[np.uint8], longest: int) -> bytes:
    """The image (RGB, uint8, HWC) as a PNG file; if a side is longer than `longest` pixels, it is made smaller."""
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((longest, longest))  # does not enlarge, and keeps the sides' ratio
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return file.getvalue()


def to_images(changes: Sequence[Change], shown: Shown, spec: ModelSpec) -> tuple[ChangedImage, ...]:
    """The changes with names instead of numbers."""
    return tuple(
        ChangedImage(
            name=name,
            label=spec.label(change.label),
            before=spec.label(change.before),
            after=spec.label(change.after),
            png=png,
        )
        for change in changes
        if change.index in shown
        for name, png in (shown[change.index],)
    )
