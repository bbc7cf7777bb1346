r"""Writes the README's chart, and tables and pictures of docs/results.md, from the committed results, or checks them.

    python -m benchmarks.pages.readme [--check | --page wrn-16-2]

A table stands between `<!-- results:NAME begin ... -->` and `<!-- results:NAME end -->`; a missing result is reported
in its place. `--check` writes nothing, prints what differs and exits with 1. The pictures are SVG, the same bytes on
every machine. `--page` takes a screenshot of a report's HTML page with headless Chromium, whose bytes may differ
between versions, so that picture is not checked.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.pages.markdown import BLOCK
from benchmarks.pages.readme_chart import Theme, caption, draw_chart
from benchmarks.pages.results_tables import bench_file, bench_table, calibration_table, paper_table, steps_table
from wrn_deploy.bench.report.report import Report, read_report
from wrn_deploy.files.new_file import write_whole
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.rendering.html import to_html
from wrn_deploy.rendering.pictures.tradeoff import draw_tradeoff

ROOT = Path(__file__).resolve().parents[2]
README, RESULTS = Path("README.md"), Path("docs/results.md")
IMAGES, PAGE = Path("docs/images"), Path("docs/images/report.png")
THEMES = (Theme("light", "not all"), Theme("dark", "all"))
MODELS = ("wrn-16-2", "wrn-40-1", "wrn-50-2")  # with a benchmark each
CHART = MODELS[:2]  # with real weights
WIDTH, BORDER = 840, 16  # pixels: about the width of a README; background around a picture
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1000,1100",
)  # fmt: skip

Maker = Callable[[Path], str]


def main() -> None:
    """Writes or checks, and prints each file that was written or differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if something differs")
    parser.add_argument(
        "--page", metavar="MODEL", choices=MODELS, help="also take a screenshot of its report's HTML page"
    )
    given = parser.parse_args()
    if given.page:
        take_screenshot(ROOT, given.page)
    made = generated(ROOT)
    stale = [file for file, text in made.items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    for file in stale:
        if not given.check:
            write_whole(file, made[file])
        outcome = "differs: run `python -m benchmarks.pages.readme`" if given.check else "written"
        sys.stdout.write(f"{file.relative_to(ROOT)} {outcome}\n")
    sys.exit(1 if given.check and stale else 0)


def generated(root: Path) -> dict[Path, str]:
    """The expected text of both pages and of each picture that has a result, by file.

    Raises:
        ValueError: a page's places and its makers are not the same.
    """
    pages: dict[Path, Mapping[str, Maker]] = {root / README: {"chart": _caption}, root / RESULTS: _makers()}
    pictures = {root / IMAGES / f"bench-{model}.svg": bench_file(root, model) for model in MODELS}
    drawn = {file: _picture(result) for file, result in pictures.items() if result.exists()}
    charts = (
        {root / IMAGES / f"chart-{theme.name}.svg": draw_chart(found, theme) for theme in THEMES}
        if (found := _charted(root))
        else {}
    )
    return {**{page: _filled(page, makers, root) for page, makers in pages.items()}, **drawn, **charts}


def _filled(page: Path, makers: Mapping[str, Maker], root: Path) -> str:
    text = page.read_text(encoding="utf-8")
    places = [name for _, name, _, _ in BLOCK.findall(text)]
    if sorted(places) != sorted(makers):
        raise ValueError(f"{page.name} has places for {places}: expected one for each of {sorted(makers)}")
    return BLOCK.sub(lambda found: f"{found[1]}\n{makers[found[2]](root).strip()}\n\n{found[4]}", text)


def _charted(root: Path) -> list[Report]:
    """The reports in the README's chart; none if one is missing."""
    files = [bench_file(root, model) for model in CHART]
    return [read_report(file) for file in files] if all(file.exists() for file in files) else []


def _caption(root: Path) -> str:
    found = _charted(root)
    return caption(found) if found else "*Not measured yet.*"


def _picture(result: Path) -> str:
    """Latency against accuracy as a standalone SVG file."""
    drawn = draw_tradeoff(read_report(result), WIDTH)
    if drawn is None:
        raise ValueError(f"{result} has no times: expected a benchmark that measured something")
    return drawn.to_file(BORDER)


def take_screenshot(root: Path, model: str) -> None:
    """Saves the top of the HTML page of a model's report as a PNG."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"--page needs one of {', '.join(BROWSERS)}")
    with scratch_folder() as folder:
        page = folder / "page.html"
        page.write_text(to_html(read_report(bench_file(root, model))), encoding="utf-8")
        command = [browser, *FLAGS, f"--user-data-dir={folder}/profile", f"--screenshot={root / PAGE}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


def _makers() -> dict[str, Maker]:
    """The function that makes the text of each place in the results page, by name."""
    found: dict[str, Maker] = {f"bench-{model}": _bench(model) for model in MODELS}
    tables = {"calibration": calibration_table, "paper": paper_table, "steps": steps_table}
    return {**found, **tables, "page": _page}


def _bench(model: str) -> Maker:
    return lambda root: bench_table(root, model, f"images/bench-{model}.svg")


def _page(root: Path) -> str:
    there = (root / PAGE).exists()
    return (
        f"![The top of a report's HTML page](images/{PAGE.name})"
        if there
        else "*No screenshot yet: `--page` takes it.*"
    )


if __name__ == "__main__":
    main()
