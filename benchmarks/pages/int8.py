"""Writes the tables and the picture of docs/explanation/int8.md from the committed results, or checks them.

    python -m benchmarks.pages.int8 [--check]

A table stands between `<!-- results:NAME begin -->` and `<!-- results:NAME end -->`; NAME is one of ladder, frontier,
peers, costs. A name without a place is left out; a missing result is reported in its place. `--check` writes nothing,
prints what differs and exits with 1. The picture, an SVG file, is the same bytes on every machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.pages.int8_picture import draw_frontier
from benchmarks.pages.int8_results import read_results
from benchmarks.pages.int8_tables import costs_table, frontier_table, ladder_table, peers_table
from benchmarks.pages.markdown import BLOCK
from wrn_deploy.files.new_file import write_whole

__all__ = ["PAGE", "PICTURE", "generated"]

ROOT = Path(__file__).resolve().parents[2]
PAGE, PICTURE = Path("docs/explanation/int8.md"), Path("docs/images/int8-frontier.svg")
BORDER = 16  # pixels of background around the picture
TABLES: Mapping[str, Callable[[Path], str]] = {
    "ladder": ladder_table,
    "frontier": frontier_table,
    "peers": peers_table,
    "costs": costs_table,
}


def main() -> None:
    """Writes or checks, and prints each file that was written or differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if something differs")
    check, made = parser.parse_args().check, generated(ROOT)
    stale = [file for file, text in made.items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    for file in stale:
        if not check:
            write_whole(file, made[file])
        outcome = "differs: run `python -m benchmarks.pages.int8`" if check else "written"
        sys.stdout.write(f"{file.relative_to(ROOT)} {outcome}\n")
    sys.exit(1 if check and stale else 0)


def generated(root: Path) -> dict[Path, str]:
    """The expected text of docs/explanation/int8.md and, if its rows were measured, of the picture, by file.

    Raises:
        ValueError: the page has a place for a table that is not made.
    """
    page = root / PAGE
    text = page.read_text(encoding="utf-8")
    places = [name for _, name, _, _ in BLOCK.findall(text)]
    if unknown := sorted({*places} - {*TABLES}):
        raise ValueError(f"{PAGE} has places for {unknown}: expected some of {sorted(TABLES)}")
    filled = BLOCK.sub(lambda found: f"{found[1]}\n{TABLES[found[2]](root).strip()}\n\n{found[4]}", text)
    picture = draw_frontier(read_results(root))
    return {page: filled, **({root / PICTURE: picture.to_file(BORDER)} if picture else {})}


if __name__ == "__main__":
    main()
