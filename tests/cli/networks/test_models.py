"""The networks as they are listed: costs, published figures with their sources, weights available by name."""

from __future__ import annotations

from tests.cli.conftest import Cli
from wrn_deploy.models.checkpoints.sources import read_sources


def test_json_has_costs_published_figures_with_sources_and_weights(cli: Cli) -> None:
    listed = {model["name"]: model for model in cli("models", "--json").json()}
    found = listed["wrn-50-2"]
    assert (found["parameters"], found["macs"], found["input"]) == (68_883_240, 11_398_021_120, [3, 224, 224])
    published = found["published"]
    assert {(row["quantity"], row["value"]) for row in published["counts"]} >= {
        ("parameters", 68_883_240),
        ("operations", 11_440_000_000),
    }
    assert {"data": "ImageNet", "top1": 81.602, "top5": 95.758} in [
        {key: row[key] for key in ("data", "top1", "top5")} for row in published["accuracies"]
    ]
    assert all(row["source"] for row in (*published["counts"], *published["accuracies"]))
    assert {source["name"] for model in listed.values() for source in model["weights"]} == set(read_sources())
    racm = next(source for source in found["weights"] if source["name"] == "timm/wide_resnet50_2.racm_in1k")
    assert (racm["preprocessing"]["interpolation"], racm["accuracy"]["top1"]) == ("bicubic", 82.28)


def test_the_table_shows_the_best_published_top_1(cli: Cli) -> None:
    lines = cli("models").out.splitlines()
    assert lines[0].split() == ["model", "input", "parameters", "MACs", "top-1", "weights"]
    cells = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("wrn-")}
    assert cells["wrn-28-10"] == ["3x32x32", "36,479,194", "5.24", "G", "96.11"]
    assert cells["wrn-50-2"] == ["3x224x224", "68,883,240", "11.40", "G", "81.60", "7"]
    assert cells["wrn-16-1"] == ["3x32x32", "175,066", "26.7", "M"]


def test_one_network_is_told_in_detail(cli: Cli) -> None:
    text = cli("models", "wrn-101-2").out
    for words in (
        "126,886,696 parameters, 22.75 G MACs (22,753,050,624)",
        "126.89 M  parameters",
        "22.81 G  MACs and operations of BN, ReLU and pooling",
        "ImageNet   82.51 %   96.02 %  torchvision IMAGENET1K_V2",
        "torchvision/wide_resnet101_2.IMAGENET1K_V1",
        "shorter side 232 (bilinear), centre 224x224",
    ):
        assert words in text, words


def test_a_network_that_is_not_listed_is_counted_too(cli: Cli) -> None:
    found = cli("models", "wrn-10-1", "--json").json()
    assert (found["name"], found["parameters"], found["weights"]) == ("wrn-10-1", 77_850, [])
    assert found["published"] == {"counts": [], "accuracies": []}


def test_no_such_network(cli: Cli) -> None:
    outcome = cli("models", "wrn-50-3")
    assert outcome.code == 1
    assert "wrn-50-3" in outcome.err
