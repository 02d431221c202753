"""Sensitivity studies whose truth is known: frames, and folders as studies/ writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from small_studies import (
    BLIND_FD,
    FD,
    GROUPS,
    KID,
    cell_rows,
    make_folder as write_folder,
    real_rows,
    study_facts,
)

from analysis.frame import COLUMNS, TRAINING_COLUMNS

ACCURACY = "class_accuracy"
FIVE = (1, 2, 3, 4, 6)
TEN = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
DEPTH, HALF = 8, 4
WINDOWS = {
    5: {"early": [1, 2], "middle": [3], "late": [4, 5]},
    10: {"early": [1, 2, 3], "middle": [4, 5, 6], "late": [7, 8, 9, 10]},
}
# What a whole window costs at half depth, per scale: (early, late), by metric.
REPRODUCED = {FD: (3.0, 1.0), BLIND_FD: (3.0, 1.0), KID: (0.03, 0.01), ACCURACY: (0.10, 0.03)}
EQUAL = {FD: (3.0, 3.0), BLIND_FD: (3.0, 3.0), KID: (0.02, 0.02), ACCURACY: (0.05, 0.05)}
LATE = {FD: (1.0, 3.0), BLIND_FD: (1.0, 3.0), KID: (0.01, 0.03), ACCURACY: (0.03, 0.1)}
MIXED = {FD: (3.0, 1.0), BLIND_FD: (1.0, 3.0), KID: (0.02, 0.02), ACCURACY: (0.05, 0.05)}
FLOORS = {FD: 0.05, BLIND_FD: 0.05, KID: 0.001, ACCURACY: 0.995}
"""What real images score."""

Fail = tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a frame is drawn from: window damage per scale is `effects`, up to relative noise.

    `fail` names plans that fail, as (plan, unit); a unit of None fails under all.
    """

    patch_nums: Sequence[int] = FIVE
    depths: Sequence[int] = (6, 4, 2)
    units: Sequence[int] = (0,)
    selectors: Sequence[str] = ("equidistant",)
    effects: Mapping[str, tuple[float, float]] = field(default_factory=lambda: REPRODUCED)
    nll_effects: tuple[float, float] = (0.1, 0.3)
    noise: float = 0.02
    unit_noise: float = 0.1
    fail: Fail = ()
    groups: int = GROUPS
    seed: int = 0

    @property
    def windows(self) -> dict[str, list[int]]:
        return WINDOWS[len(self.patch_nums)]

    def side(self, scale: int, both: tuple[float, float]) -> float:
        """What a scale loses of (early, late): the mean of both in the middle."""
        if scale in self.windows["early"]:
            return both[0]
        return both[1] if scale in self.windows["late"] else (both[0] + both[1]) / 2


def plans_of(truth: Truth) -> list[tuple[dict[str, Any], list[int]]]:
    """Every plan: its columns, and the scales (from 1) that it runs at `subnet_depth`."""
    every = range(1, len(truth.patch_nums) + 1)
    plans = [({"family": "full", "plan": "full", "selector": truth.selectors[0]}, [])]
    for selector in truth.selectors:
        reduced = []
        for d in truth.depths:
            at = {"subnet_depth": d}
            reduced += [
                (at | {"family": "scale", "plan": f"d{d} on scale {s}", "scale": s}, [s])
                for s in every
            ]
            reduced += [
                (at | {"family": "switch", "plan": f"d{d}@{n}", "switch": n}, list(every)[n:])
                for n in range(len(every))
            ]
        at = {"family": "prefix", "subnet_depth": HALF}
        reduced += [
            (at | {"plan": f"d{HALF} on scales 1 to {a}", "scale": a}, list(every)[:a])
            for a in list(every)[:-1]
        ]
        at = {"family": "window", "subnet_depth": HALF}
        reduced += [
            (at | {"plan": f"d{HALF} on {name}", "window": name}, lost)
            for name, lost in truth.windows.items()
        ]
        plans += [(columns | {"selector": selector}, lost) for columns, lost in reduced]
    return plans


def make_frame(**settings: Any) -> pd.DataFrame:
    """A frame of a `Truth` of these settings."""
    truth = Truth(**settings)
    rng = np.random.default_rng(truth.seed)
    rows = [row for unit in truth.units for row in _rows_of_network(truth, unit, rng)]
    columns = COLUMNS | TRAINING_COLUMNS
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def _rows_of_network(truth: Truth, unit: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    scales, tokens = len(truth.patch_nums), np.square(truth.patch_nums)

    def spread(*shape: int) -> np.ndarray:
        """Of a score on all samples, and of its replicates around that."""
        whole = rng.standard_normal((1, *shape))
        blocks = rng.standard_normal((truth.groups, *shape))
        return np.concatenate([whole, whole + blocks / np.sqrt(GROUPS - 1)])

    moved = {m: 1 + truth.unit_noise * rng.standard_normal() for m in (*truth.effects, "nll")}
    level = {
        FD: 2 + 0.1 * spread(),
        BLIND_FD: 2 + 0.1 * spread(),
        KID: 0.05 + 0.002 * spread(),
        ACCURACY: 0.97 + 0.004 * spread(),
    }
    nll_level = 3 + 0.03 * spread(scales)
    labels = {"study": "sensitivity", "unit": unit}
    rows = real_rows({m: FLOORS[m] for m in truth.effects}, **labels)
    for columns, lost in plans_of(truth):
        plan, depth = columns["plan"], columns.get("subnet_depth", DEPTH)
        mine = labels | columns | {"cell_digest": f"{plan}-{columns['selector']}"}
        mine |= {"anchor": None if lost else "base"}
        if {(plan, unit), (plan, None)} & set(truth.fail):
            nothing = {"status": "failed", "metric": "", "value": np.nan, "count": 0}
            rows.append(mine | nothing)
            continue
        loss = (DEPTH - depth) / (DEPTH - HALF)
        measured = {}
        for metric, both in truth.effects.items():
            size = moved[metric] * loss * sum(truth.side(s, both) for s in lost)
            jitter = truth.noise * max(map(abs, both)) * spread()
            sign = -1 if metric == ACCURACY else 1
            measured[metric] = level[metric] + sign * (size + jitter * bool(lost))
        nll = nll_level.copy()
        for s in lost:
            per = truth.nll_effects[s not in truth.windows["early"]]
            for later in range(s - 1, scales):
                of_block = 1 + 0.03 * spread()
                nll[:, later] += moved["nll"] * loss * per * 0.3 ** (later - s + 1) * of_block
        measured["nll/mean"] = nll @ tokens / tokens.sum()
        measured |= {f"nll/scale_{k + 1:02d}": nll[:, k] for k in range(scales)}
        cost = float(sum(t * (depth if k + 1 in lost else DEPTH) for k, t in enumerate(tokens)))
        rows += cell_rows(mine, measured, kv=cost * 768, flops=cost * 5e6)
    return rows


def sensitivity_facts(truth: Truth, **other: Any) -> dict[str, Any]:
    """Beside a frame of that truth."""
    facts = study_facts("sensitivity")
    facts |= {"command": "python -m studies.sensitivity --units 1 --workspace runs #[*_$"}
    facts["dataset"] |= {"train_images": 20000}
    facts["sampling"] |= {} if truth.effects else {"samples": 0}
    facts["geometry"] |= {"patch_nums": list(truth.patch_nums)}
    facts |= {"depths": list(truth.depths), "selectors": list(truth.selectors)}
    return facts | {"windows": truth.windows, "half_depth": HALF} | other


def make_folder(
    folder: Path, *, quick: bool = False, samples: bool = True, **settings: Any
) -> Path:
    """A study's folder of a `Truth` of these settings."""
    facts = sensitivity_facts(Truth(**settings), quick=quick)
    return write_folder(folder, make_frame(**settings), facts, samples=samples)
