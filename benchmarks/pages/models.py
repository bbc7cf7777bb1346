"""Writes docs/reference/models.md from the code and the committed results, or checks that it is up to date.

    python -m benchmarks.pages.models [--check]

Networks, costs, published figures and weights known by name come from the code, as in `wrn-deploy models --json`;
measurements come from `benchmarks/results/`, and a missing result is left out. `--check` writes nothing and exits with
1 if the page differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.pages.models_measured import measured_sections
from benchmarks.pages.models_tables import accuracy_table, size_table, weight_table
from wrn_deploy.files.new_file import write_whole
from wrn_deploy.models.catalog import ListedModel, list_models

__all__ = ["PAGE", "page"]

ROOT = Path(__file__).resolve().parents[2]
PAGE = Path("docs/reference/models.md")

INTRODUCTION = """\
# Networks

Every network that `wrn-deploy models` lists: its cost, published figures, the weights known by name, and what was
measured here. `wrn-deploy models MODEL` shows the same for one network, `wrn-deploy models --json` for all. This page
is made by `python -m benchmarks.pages.models`; a test checks that it agrees with the code and the results.

- **Parameters** are the trainable ones, **MACs** the multiply-accumulates of Conv and Linear layers for one image of
  the given size; both are counted on the network itself. Published figures stand beside them, with their source; a
  published count that disagrees would be bold.
- **Accuracies** are top-1 in percent, as published; none of them was measured here. The small number refers to the
  note below the table: how the weights were made, and where the figure was published.
- Any `wrn-<depth>-<widen>` with a depth of 6n+4 works, listed or not, as do ImageNet's `wrn-18-<widen>` and CIFAR's
  `preresnet-<depth>` with 9n+2; `--classes N` sets the number of classes.
- **Depth 34** is of both kinds, because 34 = 6 * 5 + 4. `wrn-34-1` (that is `resnet-34`), `wrn-34-1.5` and `wrn-34-2`
  are the paper's ImageNet networks; other widths, such as `wrn-34-10` of adversarial training, are CIFAR's. Name the
  other kind `wrn-34-2-cifar` and `wrn-34-10-imagenet`; likewise `preresnet-101-cifar` and `preresnet-200-cifar`.
- **11.40 G or 11.44 G?** mmpretrain's table has more MACs for the same ImageNet networks: its counter adds two
  operations for each element that a BN reads, one for each that a ReLU writes and a pooling reads, and leaves the
  classifier out. Counted that way, these networks have its numbers too (`tests/models/test_published.py`). BN folds
  into the Conv before it, so an engine for WRN-50-2 computes 11.40 G; torchvision counts the same way.

  | operations for one image | wrn-50-2 | wrn-101-2 |
  | --- | --- | --- |
  | MACs of Convs and classifier | 11,398,021,120 | 22,753,050,624 |
  | BN: 2 for each element read | + 28,801,024 | + 42,448,896 |
  | ReLU: 1 for each element written | + 12,895,232 | + 19,719,168 |
  | pooling: 1 for each element read | + 903,168 | + 903,168 |
  | the classifier, which is left out | - 2,048,000 | - 2,048,000 |
  | mmpretrain's 11.44 G and 22.81 G | 11,438,572,544 | 22,814,073,856 |
"""

DATA_SETS = {
    "CIFAR-10": ("CIFAR and SVHN", "32x32 pixels, 10 classes; 100 with `--classes 100`."),
    "ImageNet": ("ImageNet", "224x224 pixels, 1000 classes."),
}


def main() -> None:
    """Writes the page, or checks it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page differs")
    given = parser.parse_args()
    text, file = page(list_models(), ROOT), ROOT / PAGE
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return
    if not given.check:
        write_whole(file, text)
    outcome = "differs: run `python -m benchmarks.pages.models`" if given.check else "written"
    sys.stdout.write(f"{PAGE} {outcome}\n")
    sys.exit(1 if given.check else 0)


def page(models: Sequence[ListedModel], root: Path) -> str:
    """The whole page: a chapter per kind of data with a section per family; then weights, then measurements."""
    chapters = [_chapter(data, [model for model in models if model.data == data]) for data in DATA_SETS]
    weights = weight_table(models)
    measured = measured_sections(root)
    parts = [INTRODUCTION, *chapters, f"## Weights known by name\n\n{weights}" if weights else ""]
    if measured:
        parts += ["## Measured here", *measured]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _chapter(data: str, models: Sequence[ListedModel]) -> str:
    title, about = DATA_SETS[data]
    families: dict[str, list[ListedModel]] = {}
    for model in models:
        families.setdefault(model.family, []).append(model)
    parts = [f"## {title}\n\n{about}" if models else ""]
    for family, members in families.items():
        accuracies = accuracy_table(members)
        parts += [f"### {_title(members)}\n\n{members[0].about} Family `{family}`.", size_table(members)]
        parts += [accuracies] if accuracies else []
    return "\n\n".join(filter(None, parts))


def _title(models: Sequence[ListedModel]) -> str:
    """All names, or only the smallest and the largest if there are more than seven."""
    names = [model.name for model in models]
    return ", ".join(names) if len(names) <= 7 else f"{names[0]} ... {names[-1]} ({len(names)} networks)"


if __name__ == "__main__":
    main()
