"""Bundles with a plan of the stand-in's engine, what the engine answers, and arrays on the stand-in's GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.driver.engine.plan import Plan, Tensor
from wrn_deploy.bundle import Bundle
from wrn_deploy.manifest import Kind, Recipe
from wrn_deploy.spec import Interface, ModelSpec, Precision, Preprocessing, TensorSpec

__all__ = ["OnGpu", "answer_to", "make_bundle", "pack_plan", "some_images"]

VERSIONS = {"tensorrt": "11.4.0.106", "tensorrt_rtx": "1.7.1.116"}
NAMES = {"float32": "FLOAT", "uint8": "UINT8", "int32": "INT32", "int64": "INT64"}
CLASSES, SIDE = 10, 8
Profiles = Sequence[tuple[int, int, int]]


def make_bundle(
    folder: Path,
    *,
    flavor: str = "tensorrt",
    profiles: Profiles = ((1, 1, 1), (2, 8, 16)),
    pixels: bool = False,
    plan_pixels: bool = False,
    top_k: int | None = None,
    user_allocation: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> Bundle:
    """A bundle of a network of 8 x 8 images and 10 classes that has the plan alone.

    Args:
        folder: where to.
        flavor: the plan's.
        profiles: (minimum, optimum, maximum) batches.
        pixels: whether graphs and plan take pixels.
        plan_pixels: whether the plan alone takes pixels.
        top_k: the number of best classes to output; None: all logits.
        user_allocation: as in `Plan`.
        facts: what the manifest says of the plan and is not so.
    """
    how = Preprocessing(height=SIDE, width=SIDE, mean=(0.5,) * 3, std=(0.25,) * 3)
    spec = ModelSpec(
        name="wrn-16-2", family="cifar_wrn", depth=16, widen=2, classes=CLASSES, preprocessing=how,
        interface=Interface(pixels=pixels, top_k=top_k),
    )  # fmt: skip
    taken = dataclasses.replace(spec, interface=Interface(pixels=True)) if plan_pixels else spec
    bundle = Bundle.create(folder, spec, random_weights=True)
    path = f"fp16-{flavor}.plan"
    batches = [dict(zip(("minimum", "optimum", "maximum"), each, strict=True)) for each in profiles]
    said = {
        "flavor": flavor, "version": VERSIONS[flavor], "compute_capability": "9.0", "gpu": "NVIDIA H200",
        "profiles": batches, "inputs": [dataclasses.asdict(taken.input)],
        "outputs": [dataclasses.asdict(output) for output in spec.outputs], "precision": {}, "memory": {},
        **(facts or {}),
    }  # fmt: skip
    with bundle.transaction() as step:
        plan = pack_plan(taken.input, spec.outputs, profiles, flavor=flavor, user_allocation=user_allocation)
        step.file(path).write_bytes(plan)
        recipe = Recipe(parents={}, options={}, tools={})
        key = f"plan-fp16-{flavor}"
        step.add(key, kind=Kind.PLAN, precision=Precision.FP16, path=path, recipe=recipe, facts=said)
    return Bundle.open(folder)


def pack_plan(
    source: TensorSpec,
    results: Sequence[TensorSpec],
    profiles: Profiles,
    *,
    flavor: str = "tensorrt",
    user_allocation: bool = False,
) -> bytes:
    """The bytes of a plan of the stand-in's engine."""
    tensors = [Tensor(spec.name, NAMES[spec.dtype], spec.shape) for spec in (source, *results)]
    plan = Plan(
        source=tensors[0], outputs=tuple(tensors[1:]), profiles=tuple(profiles), user_allocation=user_allocation
    )
    return plan.pack(rtx=flavor == "tensorrt_rtx")


def answer_to(images: npt.NDArray[Any], classes: int = CLASSES) -> npt.NDArray[np.float32]:
    """The logits of the stand-in's engine: element j is the sum of the image's elements j, j + classes, ..."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    return np.stack([flat[:, index::classes].sum(axis=1) for index in range(classes)], axis=1).astype(np.float32)


def some_images(count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Normalised images of `make_bundle`'s network."""
    return np.random.default_rng(seed).normal(size=(count, 3, SIDE, SIDE)).astype(np.float32)


class OnGpu:
    """An array in device memory, with `__cuda_array_interface__`; use it while a context is current.

    `asked` counts how often the interface was read.
    """

    def __init__(self, cuda: Any, shape: tuple[int, ...], dtype: str = "float32") -> None:
        self._cuda, self.shape, self.dtype = cuda, shape, np.dtype(dtype)
        self.memory = cuda.mem_alloc(int(np.prod(shape)) * self.dtype.itemsize)
        self.asked = 0

    @classmethod
    def of(cls, cuda: Any, values: npt.NDArray[Any]) -> OnGpu:
        """A copy of an array."""
        made = cls(cuda, values.shape, values.dtype.name)
        cuda.memcpy_htod(made.memory, values)
        return made

    def read(self) -> npt.NDArray[Any]:
        """What it holds now; does not wait for a stream."""
        values = np.empty(self.shape, self.dtype)
        self._cuda.memcpy_dtoh(values, self.memory)
        return values

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        self.asked += 1
        return {
            "shape": self.shape, "typestr": self.dtype.str, "data": (int(self.memory), False), "version": 3,
            "stream": None,
        }  # fmt: skip
