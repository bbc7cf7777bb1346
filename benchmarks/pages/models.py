"""Writes docs/models.md from the code and the committed results, or checks that it agrees.

    python -m benchmarks.pages.models [--check]

Networks, costs, published figures and weights known by name come from the code, as `wrn-deploy models --json` has them;
what was measured comes from `benchmarks/results/`, where a result that is not there is left out. `--check` writes
nothing, and exits with 1 where the page differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.pages.models_measured import measured_sections
from benchmarks.pages.models_tables import accuracy_table, size_table, weight_table
from wrn_deploy.pipeline.networks.catalogue import Listed, list_models

__all__ = ["PAGE", "page"]

ROOT = Path(__file__).resolve().parents[2]
PAGE = Path("docs/models.md")

INTRODUCTION = """\
# Networks

Every network that `wrn-deploy models` lists: what it costs, what is published of it, which weights are known by name,
and what was measured here. `wrn-deploy models MODEL` tells the same of one network, `wrn-deploy models --json` of all.
This page is made by `python -m benchmarks.pages.models`; a test checks that it agrees with the code and the results.

- **Parameters** are the trainable ones, **MACs** the multiply-accumulates of Conv and Linear layers for one image of
  the size named; both are counted on the network itself. Beside them stands what is published, with its source; a
  published count that does not agree would be bold.
- **Accuracies** are top-1 in per cent, as published; none of them was measured here. The small number is that of the
  note below the table: how the weights came about, and where it stands.
- Any `wrn-<depth>-<widen>` with a depth of 6n+4 works, listed or not, as do ImageNet's `wrn-18-<widen>` and CIFAR's
  `preresnet-<depth>` with 9n+2; `--classes N` sets the number of classes.
- **Depth 34** is of both kinds, since 34 = 6 * 5 + 4. `wrn-34-1` (that is `resnet-34`), `wrn-34-1.5` and `wrn-34-2` are
  the paper's ImageNet networks; other widths, as `wrn-34-10` of adversarial training, are CIFAR's. `wrn-34-2-cifar`
  and `wrn-34-10-imagenet` are the others; likewise `preresnet-101-cifar` and `preresnet-200-cifar`.
- **11.40 G or 11.44 G?** mmpretrain's table has more MACs for the same ImageNet networks: its counter adds two
  operations for each element that a BN reads, one for each that a ReLU gives and a pooling reads, and leaves the
  classifier out. Counted so, these networks give its numbers too (`tests/models/test_published.py`). BN folds into the
  Conv before it, so that 11.40 G is what an engine for WRN-50-2 multiplies; torchvision counts likewise.

  | operations for one image | wrn-50-2 | wrn-101-2 |
  | --- | --- | --- |
  | MACs of Convs and classifier | 11,398,021,120 | 22,753,050,624 |
  | BN: 2 for each element read | + 28,801,024 | + 42,448,896 |
  | ReLU: 1 for each element given | + 12,895,232 | + 19,719,168 |
  | pooling: 1 for each element read | + 903,168 | + 903,168 |
  | the classifier, which is left out | - 2,048,000 | - 2,048,000 |
  | mmpretrain's 11.44 G and 22.81 G | 11,438,572,544 | 22,814,073,856 |
"""

DATA_SETS = {
    "CIFAR-10": ("CIFAR and SVHN", "32x32 pixels, 10 classes; 100 with `--classes 100`."),
    "ImageNet": ("ImageNet", "224x224 pixels, 1000 classes."),
}


def main() -> None:
    """Writes or checks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the page differs")
    given = parser.parse_args()
    text, file = page(list_models(), ROOT), ROOT / PAGE
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return
    if not given.check:
        file.write_text(text, encoding="utf-8")
    told = "differs from the code or the results: run `python -m benchmarks.pages.models`" if given.check else "written"
    sys.stdout.write(f"{PAGE} {told}\n")
    sys.exit(1 if given.check else 0)


def page(models: Sequence[Listed], root: Path) -> str:
    """The whole page: a chapter a kind of data, in it a section a family; then weights, then what was measured."""
    chapters = [_chapter(data, [model for model in models if model.data == data]) for data in DATA_SETS]
    weights = weight_table(models)
    measured = measured_sections(root)
    parts = [INTRODUCTION, *chapters, f"## Weights known by name\n\n{weights}" if weights else ""]
    if measured:
        parts += ["## Measured here", *measured]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _chapter(data: str, models: Sequence[Listed]) -> str:
    title, about = DATA_SETS[data]
    families: dict[str, list[Listed]] = {}
    for model in models:
        families.setdefault(model.family, []).append(model)
    parts = [f"## {title}\n\n{about}" if models else ""]
    for family, members in families.items():
        accuracies = accuracy_table(members)
        parts += [f"### {_title(members)}\n\n{members[0].about} Family `{family}`.", size_table(members)]
        parts += [accuracies] if accuracies else []
    return "\n\n".join(filter(None, parts))


def _title(models: Sequence[Listed]) -> str:
    """The names; the smallest and the largest alone where there are many."""
    names = [model.name for model in models]
    return ", ".join(names) if len(names) <= 7 else f"{names[0]} ... {names[-1]} ({len(names)} networks)"


if __name__ == "__main__":
    main()
