"""The step that trains a network, as a function; its defaults are those of the options' dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.api.shared import StrPath, Three, member, shown

if TYPE_CHECKING:
    from wrn_deploy.data.corrupt import MaxCorrupt
    from wrn_deploy.pipeline.training.train import TrainResult
    from wrn_deploy.progress import Progress
    from wrn_deploy.training.execution.options import Amp, Device

__all__ = ["train"]


def train(
    model: str,
    out: StrPath,
    *,
    data: str = "digits",
    test_data: str | None = None,
    recipe: str = "paper",
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    decay_norms: bool | None = None,
    label_smoothing: float | None = None,
    warm_up: float | None = None,
    dropout: float | None = None,
    mirror: bool | None = None,
    shift: int | None = None,
    seed: int = 0,
    whiten: bool = False,
    resume: bool = False,
    classes: int | None = None,
    labels: Sequence[str] | None = None,
    mean: Three | None = None,
    std: Three | None = None,
    resize: int | None = None,
    device: Device | str | None = None,
    amp: Amp | str | None = None,
    compiled: bool = False,
    channels_last: bool = True,
    checkpointing: bool = False,
    accumulate: int = 1,
    sync_norms: bool = True,
    deterministic: bool = True,
    max_corrupt: MaxCorrupt = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Trains a network with a recipe, and writes weights, a checkpoint and a log: `wrn-deploy train`.

    Args:
        model: the network's name, such as "wrn-16-2".
        out: the folder of the run.
        data: training images.
        test_data: test images; None: the data's own test split.
        recipe: "paper", or the name of another one; the next eleven override single values, None: the recipe's own.
        epochs: the learning-rate schedule scales with them.
        batch_size: images per step, in all processes together.
        learning_rate: the initial one; for "one-cycle" the maximum.
        momentum: Nesterov's.
        weight_decay: L2 penalty on the weights.
        decay_norms: apply the L2 penalty to BN and biases too.
        label_smoothing: from 0 up to 1.
        warm_up: warm-up of "one-cycle", as a fraction of the run.
        dropout: probability between the convolutions of a block.
        mirror: mirror half of the images, if the data allows it.
        shift: shift images by up to `shift` pixels.
        seed: for weights, order and augmentation.
        whiten: whiten images (GCN and ZCA) in the network.
        resume: continue the run in `out` after its last complete epoch.
        classes: this and the next four as in `get_model`.
        labels: the names of the classes.
        mean: mean of R, G and B, of a 0..1 image; None: measured.
        std: standard deviation of R, G and B, of a 0..1 image; None: measured.
        resize: pixels of an image's shorter side before the centre is cropped.
        device: "cpu" or "cuda"; None: the GPU if PyTorch finds one.
        amp: mixed precision, "bf16" or "fp16"; None: fp32 throughout.
        compiled: use torch.compile.
        channels_last: memory layout of activations.
        checkpointing: recompute activations to save memory.
        accumulate: split each batch into `accumulate` parts.
        sync_norms: with several processes, BN statistics over the whole batch.
        deterministic: on a GPU, reproducible kernels, which make resumption exact.
        max_corrupt: how many corrupt images to skip at most.
        workers: processes that decode images.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        UsageError: a value is out of range, or `resume` is off for a folder with a run, or on for one without.
        DeployError: no such network, unusable data, or a checkpoint of another run.
        MachineError: a package, or the requested GPU, is missing.

    Example:
        >>> import wrn_deploy
        >>> wrn_deploy.train("wrn-10-1", "trained", recipe="one-cycle", epochs=1).weights.name
        'weights.safetensors'
    """
    from wrn_deploy.models import Overrides
    from wrn_deploy.pipeline.training.spec import plan_training
    from wrn_deploy.pipeline.training.train import TrainOptions, train_model
    from wrn_deploy.training.execution.options import Amp, Device, ExecutionOptions

    changes = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "decay_norms": decay_norms,
        "label_smoothing": label_smoothing,
        "warm_up": warm_up,
        "mirror": mirror,
        "shift": shift,
        "seed": seed,
    }
    named = None if labels is None else tuple(labels)
    overrides = Overrides(classes=classes, labels=named, dropout=dropout, mean=mean, std=std, resize=resize)
    plan = plan_training(recipe, changes, overrides)
    options = TrainOptions(
        model=model,
        data=data,
        out=Path(out),
        recipe=plan.recipe,
        test_data=test_data,
        overrides=plan.overrides,
        resume=resume,
        execution=ExecutionOptions(
            device=None if device is None else member(Device, device),
            amp=None if amp is None else member(Amp, amp),
            compiled=compiled,
            channels_last=channels_last,
            checkpointing=checkpointing,
            accumulate=accumulate,
            sync_norms=sync_norms,
            deterministic=deterministic,
        ),
        max_corrupt=max_corrupt,
        workers=workers,
        whiten=whiten,
    )
    return train_model(options, shown(progress))
