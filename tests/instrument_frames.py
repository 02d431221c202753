"""Synthetic frames of the ladder and of the noise study, and observations, of known truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pandas as pd
from small_studies import cell_rows, real_rows

from analysis.frame import checked_frame
from analysis.instrument_file import Component, NoiseFacts, NoiseTable, Setting
from analysis.statistics.intervals import paired_t
from analysis.statistics.units import Observations, applied

FD, ACCURACY, NLL = "fd/shapes-1a2b3c/n1000", "class_accuracy", "nll/mean"
SETTING = Setting(dataset="data", tokenizer="recipe", extractors=("one", "two"))
BASE_SD, TRAINING_SD, DRAW_SD = 0.3, 0.2, 0.1


def ladder_frame(*, units: int, damage: dict[str, float]) -> pd.DataFrame:
    """Real images about FD 1 and accuracy 0.9 with a spread of 0.01, and a rung a zone that is
    `damage` standard deviations worse in both."""
    rng, rows = np.random.default_rng(1), []
    for unit in range(units):
        for zone, worse in ({"real": 0.0} | damage).items():
            fd, accuracy = rng.normal((1 + 0.01 * worse, 0.9 - 0.01 * worse), 0.01)
            columns = {"unit": unit, "plan": zone, "cell_digest": f"{zone} {unit}"}
            columns |= {"family": "rung", "window": zone, "selector": None}
            if zone == "real":
                columns |= {"family": "real", "window": None, "anchor": "real"}
            rows += cell_rows(columns, {FD: [fd], ACCURACY: [accuracy]})
    return checked_frame(pd.DataFrame(rows), full=False)


def noise_frame(*, units: int, seeds: int = 2, draws: int = 2, seed: int = 0) -> pd.DataFrame:
    """Trained networks whose FD moves by known deviations about their base's, which has none, at
    1,000 samples and at 250; and NLL of one set of test images a unit."""
    rng, rows = np.random.default_rng(seed), []

    def add(name: str, levels: dict[str, list[float]], count: int, **columns: object) -> None:
        named = {"plan": name, "family": "full", "cell_digest": f"{len(rows)}"}
        made = cell_rows(named | columns, levels)
        rows.extend(row | {"count": count, "metric": _at(row["metric"], count)} for row in made)

    half = {"family": "switch", "subnet_depth": 4, "switch": 3}
    for unit in range(units):
        own, nll = rng.normal(0, BASE_SD), 2 + rng.normal(0, BASE_SD)
        base = {"unit": unit, "schedule": "base", "kind": "base", "seed": unit, "anchor": "base"}
        trained = {
            s: rng.normal(0, TRAINING_SD) for s in range(unit, unit + 10_000 * seeds, 10_000)
        }
        for row, count in enumerate((1000, 250)):
            for place, draw in product(range(seeds), range(draws)):
                number = (row * seeds + place) * draws + draw
                for name, fd, level, columns in (
                    ("full", 1.0, nll, base),
                    ("d4@3", 3.0, nll + 1, base | half),
                ):
                    scores = {FD: [fd], NLL: [level] * 21}
                    add(name, scores, count, draw=number, **columns)
            for place, (one, level) in enumerate(trained.items()):
                way = {"unit": unit, "schedule": "fixed", "kind": "fixed", "seed": one}
                way |= {"share": 2 / 3, "train_switch": 3}
                for draw in range(draws):
                    number = (row * seeds + place) * draws + draw
                    noise = rng.normal(0, DRAW_SD * np.sqrt(1000 / count))
                    scores = {FD: [2 + own + level + noise], NLL: [nll + 0.1] * 21}
                    add("full", scores, count, draw=number, **way)
                    add("d4@3", scores, count, draw=number, **way, **half)
    rows += [row | {"draw": None} for row in real_rows({FD: 0.1}, schedule="real", kind="real")]
    return checked_frame(pd.DataFrame(rows).assign(train_switch=3), training=True)


def _at(metric: str, count: int) -> str:
    return metric.replace("n1000", f"n{count}")


def noise_table(*, margin: float | None = 0.05, quantity: str = "loss half") -> NoiseTable:
    """One quantity by FD, with known components."""
    parts = {
        name: Component(estimate=value, low=value / 2, high=4 * value, degrees_of_freedom=4)
        for name, value in (("base", 0.01), ("training", 0.02), ("evaluation", 30.0))
    }
    facts = NoiseFacts(
        kind="fd",
        extractor="shapes-1a2b3c",
        quantity=quantity,
        margin=margin,
        mean=0.0,
        untrained=4.0,
        samples=1000,
        from_jackknife=False,
        **parts,
    )
    shape = {"depth": 8, "width": 48, "base_images": 48_000, "budget_images": 20_000}
    runs = {"units": 5, "seeds": 2, "draws": 2}
    return NoiseTable(setting=SETTING, samples=1000, quantities=(facts,), **shape, **runs)


def coverage(
    function: Callable[[np.ndarray], float], truths: Sequence[float], *, studies: int = 1000
) -> tuple[float, float]:
    """How often the 95 % interval of `applied` covers what the truths give, and how often Student's
    t alone: five units' errors of 0.1 each, and 0.15 that the units share, told by 20 blocks."""
    rng, true, blocks, found = np.random.default_rng(5), function(np.array(truths)), 20, []
    for _ in range(studies):
        parts = []
        for truth in truths:
            shared_R = rng.normal(0, 0.15 * math.sqrt(blocks), blocks)
            own_U = truth + rng.normal(0, 0.1, 5)
            replicates_R = (shared_R.sum() - shared_R) / (blocks - 1)
            parts.append(
                Observations(
                    values=own_U + shared_R.mean(),
                    units=tuple(range(5)),
                    replicates=(np.empty(0),) * 5,
                    common_UR=own_U[:, None] + replicates_R,
                )
            )
        one = applied(function, parts)
        intervals = one.interval(), paired_t(one.values)
        found.append([i.low < true < i.high for i in intervals])
    covered, without = np.mean(found, axis=0).tolist()
    return covered, without
