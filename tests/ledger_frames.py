"""Frames in which the answer to every claim was planted, and the ledger of each.

All are one frame, drawn once, with rows left out and levels moved; each is grouped once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from pareto_frames import (
    BLIND_FD,
    FD,
    HALF,
    METRICS,
    NLL,
    QUARTER,
    TRAIN_SWITCH,
    fd_of,
    level_at,
    pareto_file,
    pareto_frame,
)
from small_studies import failed

from analysis.claims.ledger import judge_claims
from analysis.claims.rows import Kind, LedgerRow, Line
from analysis.frame import checked_frame
from analysis.statistics.intervals import Verdict
from analysis.statistics.levels import FULL, Levels, PlanKey

SIX = tuple(range(6))
SCHEDULES = ("base", "control", "fixed 0.1", "fixed 2/3", "fixed 1", "progressive")
LATER_WAY = "progressive for 4"  # trained for the next switch point
FEWEST, LATER = PlanKey(1, 3), PlanKey(4, 4)
PLANS = (FULL, HALF, QUARTER, FEWEST, LATER)
HOLLOW_PLANS = (PlanKey(4, 2), PlanKey(2, 2), PlanKey(4, 3, "nested"))
DECIDING = (NLL, FD, BLIND_FD)  # the others decide nothing, as one test shows
CLAIMS = ("C2", "C3", "C4", "C7a", "C8")

Planted = Mapping[str, Mapping[int, float]]
FREE: Planted = {
    "base": {8: 2.8, 4: 3.8, 2: 4.8, 1: 5.3},
    "control": {8: 2.79, 4: 3.7, 2: 4.6, 1: 5.2},
    "fixed 0.1": {8: 2.8, 4: 3.2, 2: 3.5, 1: 4.0},
    "fixed 2/3": {8: 2.9, 4: 3.1, 2: 3.3, 1: 3.8},
    "fixed 1": {8: 3.1, 4: 3.0, 2: 3.2, 1: 3.7},
    "progressive": {8: 2.8, 4: 2.82, 2: 2.85, 1: 2.9},
}
"""All that the paper says: the progressive schedule costs next to nothing."""
FIXED = {"fixed 0.1": FREE["fixed 1"], "fixed 1": FREE["fixed 0.1"]}
POOR = {"progressive": {8: 3.0, 4: 3.2, 2: 3.4, 1: 3.9}}
AGAINST = FREE | FIXED | POOR
"""The opposite: the larger share hurts subnets, the progressive schedule costs much."""

_grouped: dict[str, Levels] = {}
_judged: dict[str, dict[str, LedgerRow]] = {}


def ledger(
    levels: Planted = FREE, *, facts: Mapping[str, Any] | None = None, **settings: Any
) -> dict[str, LedgerRow]:
    """The rows by claim, of a frame with these levels and little noise; each is judged once."""
    key = repr((levels, settings))
    both = repr((key, facts))
    if both not in _judged:
        if key not in _grouped:
            _grouped[key] = Levels(make(levels, **settings))
        names = ("schedules", "units", "plans")
        known = {name: settings[name] for name in names if name in settings}
        _judged[both] = judged(_grouped[key], **known, **facts or {})
    return _judged[both]


def judged(found: pd.DataFrame | Levels, **facts: Any) -> dict[str, LedgerRow]:
    known = {"schedules": SCHEDULES, "units": SIX, "plans": PLANS} | facts
    levels = found if isinstance(found, Levels) else Levels(found)
    return {row.claim.id: row for row in judge_claims(pareto_file(**known), levels)}


def make(
    levels: Planted = FREE,
    *,
    fd: Planted | None = None,
    blind: Planted | None = None,
    schedules: Sequence[str] = SCHEDULES,
    units: Sequence[int] = SIX,
    plans: Sequence[PlanKey] = PLANS,
    metrics: Sequence[str] = DECIDING,
    later: bool = True,
) -> pd.DataFrame:
    """A frame of NLL `levels`, and of distances that go with them (with `fd`, `blind` instead);
    with `later`, also of models that were trained for the next switch point."""
    frame, ways, keys = _drawn()
    wanted = {*schedules, *([LATER_WAY] if later and "progressive" in schedules else ())}
    kept = frame["schedule"].isin(wanted) & np.array([key in plans for key in keys])
    kept = (kept | (frame["family"] == "real")) & frame["unit"].isin(units)
    kept &= frame["metric"].isin([*metrics, "kv_bytes/peak", "kv_bytes/analytic"])
    distances = {FD: fd or levels, BLIND_FD: blind or fd or levels}
    planted = {NLL: levels} | {name: _distances(found) for name, found in distances.items()}
    usual = {NLL: FREE, FD: _distances(FREE), BLIND_FD: _distances(FREE)}

    @cache
    def move(way: str, key: PlanKey, metric: str) -> float:
        """By how much the drawn level is moved."""
        if metric not in planted or way not in ways:
            return 0.0
        source, switch = ways[way]
        new, old = (
            level_at(by[metric][source], key, switch, hollow=0.0) for by in (planted, usual)
        )
        return new - old

    rows = zip(frame["schedule"], keys, frame["metric"], strict=True)
    moved = np.array([move(*row) for row in rows])
    return frame.assign(value=frame["value"] + moved)[kept].reset_index(drop=True)


@cache
def _drawn() -> tuple[pd.DataFrame, dict[str, tuple[str, int]], list[PlanKey]]:
    """The frame of `FREE`; way to (whose levels, switch trained for); and each row's plan."""
    distances = _distances(FREE)
    usual = {"units": SIX, "metrics": METRICS, "by_scale": False, "groups": 0, "levels": FREE}
    usual |= {"unit_noise": 0.2, "shared_noise": 0.2, "noise": 0.2}
    usual |= {"fd_levels": distances, "blind_levels": distances}
    plans = (*PLANS, *HOLLOW_PLANS)
    frame = pareto_frame(schedules=SCHEDULES, plans=plans, **usual)
    only = {"schedules": ("progressive",), "plans": (FULL, LATER), "real": False}
    own = pareto_frame(**usual | only, train_switch=4)
    frame = pd.concat([frame, own.assign(schedule=LATER_WAY)], ignore_index=True)
    columns = frame[["subnet_depth", "switch", "selector"]].itertuples(index=False)
    keys = [FULL if pd.isna(d) else PlanKey(int(d), int(n), str(s)) for d, n, s in columns]
    ways = {name: (name, TRAIN_SWITCH) for name in SCHEDULES} | {LATER_WAY: ("progressive", 4)}
    return checked_frame(frame, training=True), ways, keys


def _distances(levels: Planted) -> Planted:
    return {way: {d: fd_of(nll) for d, nll in by.items()} for way, by in levels.items()}


def shifted(
    frame: pd.DataFrame, rows: pd.Series, by: Mapping[str, float], *, alternating: bool = False
) -> pd.DataFrame:
    """With these rows moved, by metric; `alternating`: up in odd units, down in even ones."""
    amounts = np.array([by.get(name, 0.0) for name in frame["metric"]]) * rows.to_numpy(dtype=float)
    signs = np.where(frame["unit"] % 2, 1, -1) if alternating else 1
    return frame.assign(value=frame["value"] + amounts * signs)


def wobbling(frame: pd.DataFrame) -> pd.DataFrame:
    """What was trained moves by so much from unit to unit, up and down in turn, that nothing can be
    told: each half of the units has the opposite of the other's mean."""
    moves = frame["schedule"].isin(("progressive", LATER_WAY, "fixed 1"))
    return shifted(frame, moves, {FD: 40.0, BLIND_FD: 40.0, NLL: 10.0}, alternating=True)


def without(frame: pd.DataFrame, *, units: Sequence[int] = SIX, plan: PlanKey | None = None):
    """Where what trained progressively failed in these units, or this plan of it."""
    lost = frame["schedule"].isin(("progressive", LATER_WAY)) & frame["unit"].isin(units)
    return failed(frame, lost if plan is None else lost & (frame["plan"] == plan.label))


def verdicts(rows: Mapping[str, LedgerRow]) -> dict[str, Verdict]:
    return {claim: rows[claim].verdict for claim in CLAIMS}


def first(row: LedgerRow, kind: Kind = Kind.QUALITY) -> Line:
    """The line of the first part."""
    return row.of(kind)[0]


def likelihoods(rows: Mapping[str, LedgerRow]) -> dict[str, Verdict]:
    return {claim: first(rows[claim], Kind.LIKELIHOOD).verdict for claim in CLAIMS}
