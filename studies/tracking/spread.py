"""Mean and spread over units, for the parent run: the page compares plans without opening cells.

Names are stable: `mean/<metric>/<place>`, `sd/<metric>/<place>` and `units/<metric>/<place>`, with
the metric's slashes as dashes and the place as people say it (`progressive d4 at 3`), so that the
page has a section a metric. The standard deviation is the sample's, over as many units. Training
seeds on one base are averaged before. Cells without numbers are none of them, and a place that
finished in one unit has no spread and is left out.
"""

from __future__ import annotations

import statistics
from typing import Any

from analysis.metrics import NLL, parse_metric
from studies.cells.result import FINISHED
from studies.tracking.outline import Outline, Results, flat, quality_of

_FLAT = str.maketrans({"/": "-", "(": None, ")": None})  # to what MLflow takes in a name


def named(metric: str, place: str) -> str:
    """The part of a parent's metric that says of what it is."""
    return f"{flat(metric)}/{place.translate(_FLAT)}"


def over_units(outline: Outline, results: Results) -> dict[str, float]:
    """By name of the parent's metric."""
    found: dict[tuple[str, str], dict[Any, list[float]]] = {}
    for cell in outline.cells:
        result = results.get(cell.digest)
        if not cell.places or result is None or result.status != FINISHED:
            continue
        unit = cell.params.get("unit")
        # what people compare by: what decides, mean NLL, and what no extractor renames
        own = {n: v for n, v in result.values.items() if n == NLL.name or parse_metric(n).decides}
        for name, value in (own | quality_of(cell, result, results)).items():
            for place in cell.places:
                found.setdefault((name, place), {}).setdefault(unit, []).append(value)
    logged = {}
    for (name, place), by_unit in found.items():
        values = [statistics.fmean(seeds) for seeds in by_unit.values()]
        if len(values) < 2:
            continue
        of = named(name, place)
        logged[f"mean/{of}"] = statistics.fmean(values)
        logged[f"sd/{of}"] = statistics.stdev(values)
        logged[f"units/{of}"] = float(len(values))
    return logged
