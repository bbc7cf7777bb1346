"""The picture of training runs: their logs read, drawn, and written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wrn_deploy.pipeline.picture_file import check_picture, write_svg
from wrn_deploy.progress import Progress
from wrn_deploy.rendering.plots.training_log import Curves, read_runs
from wrn_deploy.rendering.plots.training_svg import draw_training

__all__ = ["plot_training"]


def plot_training(paths: Sequence[Path], out: Path | None, progress: Progress) -> list[Curves]:
    """Draws the runs in one picture and gives their curves.

    Args:
        paths: folders of runs, or logs.
        out: the picture; None: training.svg beside the first run's log.
        progress: is told where the picture is.

    Raises:
        DeployError: a log is missing or damaged, or the picture cannot be written.
        UsageError: too many runs for one picture.
    """
    runs = read_runs(paths)
    picture = out or runs[0].file.parent / "training.svg"
    check_picture(picture)
    write_svg(draw_training(runs).to_file(), picture, progress)
    return runs
