"""Sensitivity studies whose truth is known: frames, and folders as studies/ writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from small_studies import cell_rows, make_folder as write_folder, study_facts

from analysis.frame import COLUMNS, TRAINING_COLUMNS

FD, KID = "fd/shapes-1a2b3c/n250", "kid/shapes-1a2b3c/n250"
FIVE = (1, 2, 3, 4, 6)
TEN = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
DEPTH, HALF = 8, 4
WINDOWS = {
    5: {"early": [1, 2], "middle": [3], "late": [4, 5]},
    10: {"early": [1, 2, 3], "middle": [4, 5, 6], "late": [7, 8, 9, 10]},
}
# What a whole window costs at half depth, per scale: (early, late), by metric.
REPRODUCED = {FD: (3.0, 1.0), KID: (0.03, 0.01), "class_accuracy": (0.10, 0.03)}
EQUAL = {FD: (3.0, 3.0), KID: (0.02, 0.02), "class_accuracy": (0.05, 0.05)}
LATE = {FD: (1.0, 3.0), KID: (0.01, 0.03), "class_accuracy": (0.03, 0.1)}
MIXED = {FD: (3.0, 1.0), KID: (0.01, 0.03), "class_accuracy": (0.05, 0.05)}

Fail = tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a frame is drawn from: window damage per scale is `effects`, up to relative noise.

    `fail` names plans that fail, as (plan, base_seed); a base seed of None fails under all.
    """

    patch_nums: Sequence[int] = FIVE
    depths: Sequence[int] = (6, 4, 2)
    base_seeds: Sequence[int] = (0,)
    selectors: Sequence[str] = ("equidistant",)
    effects: Mapping[str, tuple[float, float]] = field(default_factory=lambda: REPRODUCED)
    nll_effects: tuple[float, float] = (0.1, 0.3)
    noise: float = 0.02
    seed_noise: float = 0.1
    fail: Fail = ()
    sample_sets: int = 8
    nll_sets: int = 10
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
    rows = [
        row for base_seed in truth.base_seeds for row in _rows_of_network(truth, base_seed, rng)
    ]
    columns = COLUMNS | TRAINING_COLUMNS
    frame = pd.DataFrame(rows, columns=list(columns)).astype(columns)
    return frame.assign(count=frame["count"].mask(frame["metric"].isin(truth.effects), 250))


def _rows_of_network(
    truth: Truth, base_seed: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    scales, tokens = len(truth.patch_nums), np.square(truth.patch_nums)
    several, sets = len(truth.base_seeds) > 1, truth.sample_sets
    moved = {
        m: 1 + truth.seed_noise * rng.standard_normal() * several for m in (*truth.effects, "nll")
    }
    level = {
        FD: 2 + 0.2 * rng.standard_normal(sets),
        KID: 0.05 + 0.004 * rng.standard_normal(sets),
        "class_accuracy": 0.97 + 0.01 * rng.standard_normal(sets),
    }
    nll_level = 3 + 0.1 * rng.standard_normal((truth.nll_sets, scales))
    rows: list[dict[str, Any]] = []
    for columns, lost in plans_of(truth):
        plan, depth = columns["plan"], columns.get("subnet_depth", DEPTH)
        labels = {"study": "sensitivity", "base_seed": base_seed, **columns}
        labels |= {"cell_digest": f"{plan}-{columns['selector']}"}
        if {(plan, base_seed), (plan, None)} & set(truth.fail):
            nothing = {"status": "failed", "metric": "", "value": np.nan, "count": 0}
            rows.append(labels | nothing)
            continue
        loss = (DEPTH - depth) / (DEPTH - HALF)
        measured = {}
        for metric, both in truth.effects.items():
            size = moved[metric] * loss * sum(truth.side(s, both) for s in lost)
            jitter = truth.noise * max(map(abs, both)) * rng.standard_normal(sets)
            sign = -1 if metric == "class_accuracy" else 1
            measured[metric] = level[metric] + sign * (size + jitter * bool(lost))
        nll = nll_level.copy()
        for s in lost:
            per = truth.nll_effects[s not in truth.windows["early"]]
            for later in range(s - 1, scales):
                of_set = 1 + 0.1 * rng.standard_normal(truth.nll_sets)
                nll[:, later] += moved["nll"] * loss * per * 0.3 ** (later - s + 1) * of_set
        measured["nll/mean"] = nll @ tokens / tokens.sum()
        measured |= {f"nll/scale_{k + 1:02d}": nll[:, k] for k in range(scales)}
        cost = float(sum(t * (depth if k + 1 in lost else DEPTH) for k, t in enumerate(tokens)))
        rows += cell_rows(labels, measured, kv=cost * 768, flops=cost * 5e6)
    return rows


def sensitivity_facts(truth: Truth, **other: Any) -> dict[str, Any]:
    """Beside a frame of that truth."""
    facts = study_facts("sensitivity")
    facts |= {"command": "python -m studies.sensitivity --base-seeds 1 --workspace runs #[*_$"}
    facts["dataset"] |= {"train_images": 20000}
    facts["geometry"] |= {"patch_nums": list(truth.patch_nums)}
    facts |= {"depths": list(truth.depths), "selectors": list(truth.selectors)}
    return facts | {"windows": truth.windows, "half_depth": HALF} | other


def make_folder(
    folder: Path, *, quick: bool = False, samples: bool = True, **settings: Any
) -> Path:
    """A study's folder of a `Truth` of these settings."""
    facts = sensitivity_facts(Truth(**settings), quick=quick)
    return write_folder(folder, make_frame(**settings), facts, samples=samples)
