"""The tables of docs/results.md have the levels of the committed frames, with their intervals."""

from pathlib import Path

import pytest

from analysis import numbers
from analysis.frame import load_frame
from analysis.metrics import parse_metric
from analysis.statistics.levels import FULL, Levels, PlanKey

RESULTS = Path(__file__).parents[2] / "docs" / "results"
PAGE = RESULTS.with_suffix(".md")
TINY, SMALL = "fd/shapes-24-3104bf/n2000", "fd/shapes-32-d69865/n1000"
CIFAR = "fd/resnet56-795377/n2000"


def table_of(
    folder: str, ways: tuple[str, ...], plans: dict[str, PlanKey], metrics: tuple[str, ...]
) -> list[str]:
    """A row a metric and plan, a column a way to train; distances have a floor, in a row before."""
    levels = Levels(load_frame(RESULTS / folder / "frame.parquet", training=True, full=False))
    rows = []
    for name in metrics:
        kind = parse_metric(name).short
        if floor := levels.floor(name):
            shown = numbers.interval(floor.interval(), signed=False) + " |" * (len(ways) - 1)
            rows.append(f"| real images, {kind} | {shown} |")
        for label, plan in plans.items():
            cells = (levels.observed((way, plan), name).bounds() for way in ways)
            shown = " | ".join(numbers.interval(cell, signed=False) for cell in cells)
            rows.append(f"| {label}, {kind} | {shown} |")
    return rows


CASES = {
    "pareto": (
        ("base", "control", "fixed 0.1", "fixed 0.5", "fixed 2/3", "fixed 1", "progressive"),
        {"full network": FULL, "half the layers after scale 3": PlanKey(4, 3)},
        (TINY, "nll/mean"),
    ),
    "pareto-small": (
        ("base", "control", "fixed 2/3", "fixed 1", "progressive"),
        {
            "full network": FULL,
            "12 of 16 layers after scale 4": PlanKey(12, 4),
            "8": PlanKey(8, 4),
            "4": PlanKey(4, 4),
        },
        (SMALL, "nll/mean"),
    ),
    "cifar10-pareto": (
        ("control", "fixed 0.1", "fixed 0.5", "fixed 1", "progressive"),
        {"full network": FULL, "half the layers after scale 3": PlanKey(4, 3)},
        (CIFAR, "nll/mean"),
    ),
    "schedule": (
        ("base", "control", "paper", "best compromise", "best subnets"),
        {
            "full network": FULL,
            "6 of 8 layers after scale 3": PlanKey(6, 3),
            "4": PlanKey(4, 3),
            "2": PlanKey(2, 3),
        },
        (TINY, "nll/mean"),
    ),
}
_ways, *_small = CASES["pareto-small"]
CASES["pareto-small-constant"] = (tuple(way for way in _ways if way != "fixed 1"), *_small)


@pytest.mark.parametrize("folder", CASES)
def test_levels_and_their_intervals_are_those_of_the_frame(folder: str) -> None:
    page = PAGE.read_text().replace("\u2212", "-").splitlines()
    assert [row for row in table_of(folder, *CASES[folder]) if row not in page] == []
