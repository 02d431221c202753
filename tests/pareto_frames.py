"""Synthetic frames and facts of the `pareto` study, whose truth is known.

A value is its schedule's planted level, plus what the unit adds (part of it common to all
schedules, part to all plans of one model), plus what its test images and uniforms add (part of it
common to all of the unit's models), each drawn unit by unit. Replicates of the jackknife have the
spread of that last part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from small_studies import BLIND_FD, FD, GROUPS, KID, NLL, SELECT, failed, real_rows, study_facts

from analysis.frame import COLUMNS, TRAINING_COLUMNS, checked_frame
from analysis.statistics.fronts import KV
from analysis.statistics.levels import FULL, PlanKey
from analysis.study_file import EQUIDISTANT, ParetoFile

ACCURACY = "class_accuracy"
DEPTH, WIDTH, TRAIN_SWITCH = 8, 48, 3
PATCH_NUMS = (1, 2, 3, 4, 6)


@dataclass(frozen=True)
class Taught:
    """The typed columns of a way to train."""

    kind: str
    share: float | None = None
    selector: str = EQUIDISTANT


WAYS = {
    "base": Taught("base"),
    "control": Taught("full", 0.0),
    "fixed 0.1": Taught("fixed", 0.1),
    "fixed 0.5": Taught("fixed", 0.5),
    "fixed 2/3": Taught("fixed", 2 / 3),
    "fixed 1": Taught("fixed", 1.0),
    "fixed 1 (nested)": Taught("fixed", 1.0, "nested"),
    "progressive": Taught("progressive"),
    "progressive (nested)": Taught("progressive", None, "nested"),
    "reversed": Taught("reversed"),
    "sandwich": Taught("sandwich"),
}
SCHEDULES = tuple(name for name, way in WAYS.items() if way.selector == EQUIDISTANT)
HALF, QUARTER = PlanKey(4, TRAIN_SWITCH), PlanKey(2, TRAIN_SWITCH)
PLANS = (
    FULL,
    PlanKey(6, TRAIN_SWITCH),
    HALF,
    QUARTER,
    PlanKey(6, 2),
    PlanKey(4, 2),
    PlanKey(2, 2),
    PlanKey(4, TRAIN_SWITCH, "nested"),
)

Levels = Mapping[str, Mapping[int, float]]
LEVELS: Levels = {
    "base": {8: 2.830, 6: 3.200, 4: 4.000, 2: 4.700},
    "control": {8: 2.815, 6: 3.150, 4: 3.900, 2: 4.600},
    "fixed 0.1": {8: 2.825, 6: 3.010, 4: 3.225, 2: 3.547},
    "fixed 0.5": {8: 2.859, 6: 2.940, 4: 3.046, 2: 3.273},
    "fixed 2/3": {8: 2.890, 6: 2.930, 4: 3.020, 2: 3.220},
    "fixed 1": {8: 3.061, 6: 2.935, 4: 2.998, 2: 3.169},
    "fixed 1 (nested)": {8: 3.061, 6: 2.935, 4: 2.998, 2: 3.169},
    "progressive": {8: 2.929, 6: 2.925, 4: 3.031, 2: 3.237},
    "progressive (nested)": {8: 2.929, 6: 2.925, 4: 3.031, 2: 3.237},
    "reversed": {8: 2.890, 6: 2.925, 4: 3.012, 2: 3.209},
    "sandwich": {8: 2.870, 6: 2.930, 4: 3.030, 2: 3.200},
}
"""NLL by schedule and depth at the trained switch: what a prototype saw, rounded and filled in."""

FLOORS = {FD: 0.01, BLIND_FD: 0.01, KID: 0.0002, ACCURACY: 0.995}
"""What real images score."""

METRICS = (NLL, SELECT, FD, BLIND_FD, KID, ACCURACY)
UNIT_SD = {NLL: 0.006, SELECT: 0.006, FD: 0.03, BLIND_FD: 0.03, KID: 0.0008, ACCURACY: 0.003}
SHARED_SD = {NLL: 0.01, SELECT: 0.01, FD: 0.02, BLIND_FD: 0.02, KID: 0.0005, ACCURACY: 0.002}
OWN_SD = {NLL: 0.001, SELECT: 0.001, FD: 0.015, BLIND_FD: 0.015, KID: 0.0003, ACCURACY: 0.002}
"""Spreads: of units, of what all models of a unit share of its evaluation, and of the rest."""

HOLLOW = 0.12  # nats added at a switch that was not trained

Status = Mapping[tuple[str | None, int | None, PlanKey | None], str]


def fd_of(nll: float) -> float:
    """A Fréchet distance that goes with an NLL."""
    return 0.1 + 4.0 * (nll - 2.8)


def columns_of(schedule: str, plan: PlanKey) -> dict[str, Any]:
    """The typed columns of a way to train and a plan."""
    way = WAYS[schedule]
    return {
        "family": "full" if plan.is_full else "switch",
        "plan": "full" if plan.is_full else f"d{plan.subnet_depth}@{plan.switch}",
        "scale": None,
        "window": None,
        "switch": plan.switch,
        "subnet_depth": plan.subnet_depth,
        "selector": way.selector if plan.is_full else plan.selector,
        "schedule": schedule,
        "kind": way.kind,
        "share": way.share,
        "anchor": {"base": "base", "full": "control"}.get(way.kind),
    }


def kv_bytes(plan: PlanKey, *, depth: int = DEPTH, patch_nums: Sequence[int] = PATCH_NUMS) -> int:
    """Peak cache an image: the last scale is never kept, dropped layers go at the switch."""
    tokens = np.square(patch_nums)
    if plan.switch is None:
        return int(depth * tokens[:-1].sum() * 4 * WIDTH)
    bridge = depth * tokens[: max(plan.switch - 1, 0)].sum()
    return int(max(bridge, plan.subnet_depth * tokens[:-1].sum()) * 4 * WIDTH)


def pareto_frame(
    *,
    schedules: Sequence[str] = SCHEDULES,
    units: Sequence[int] = (0,),
    plans: Sequence[PlanKey] = PLANS,
    levels: Levels = LEVELS,
    fd_levels: Levels | None = None,
    blind_levels: Levels | None = None,
    effects: Mapping[tuple[str, PlanKey], Mapping[str, float]] | None = None,
    status: Status | None = None,
    metrics: Sequence[str] = METRICS,
    by_scale: bool = True,
    real: bool = True,
    depth: int = DEPTH,
    train_switch: int = TRAIN_SWITCH,
    groups: int = GROUPS,
    unit_noise: float = 1.0,
    shared_noise: float = 1.0,
    noise: float = 1.0,
    rng_seed: int = 0,
) -> pd.DataFrame:
    """A valid frame.

    `levels` are NLL by schedule and depth at the trained switch; `fd_levels` (default: `fd_of` of
    `levels`) the same of the Fréchet distance, `blind_levels` (default: those) of that in the
    second feature space. `effects` adds to one (schedule, plan) by metric name. `status` gives a
    status to what (schedule, unit, plan) matches, None matching anything. The noises are factors
    on `UNIT_SD`, `SHARED_SD` and `OWN_SD`. `real`: images of the floor finished.
    """
    rng = np.random.default_rng(rng_seed)
    counts = {m: 2000 if m in (NLL, SELECT) else 1000 for m in metrics}
    tokens = np.square(PATCH_NUMS)
    offsets = np.linspace(0.6, -0.1, len(tokens))
    offsets -= offsets @ tokens / tokens.sum()
    planted = {FD: fd_levels, BLIND_FD: fd_levels if blind_levels is None else blind_levels}
    cells: list[dict] = []
    at, names, indices, values, behind = [], [], [], [], []

    def put(name, found, count=0):
        at.extend([len(cells) - 1] * len(found))
        names.extend([name] * len(found))
        indices.extend([None, *range(len(found) - 1)])
        values.extend(found)
        behind.extend([count] * len(found))

    def evaluation(spread, factor):
        """What samples add to a score, and to its replicates around it."""
        whole, blocks = rng.standard_normal(), rng.standard_normal(groups)
        return factor * spread * np.array([whole, *(whole + blocks / math.sqrt(GROUPS - 1))])

    for unit in units:
        of_unit = {m: UNIT_SD[m] * rng.standard_normal() for m in metrics}
        shared = {m: evaluation(SHARED_SD[m], shared_noise) for m in metrics}
        for schedule in schedules:
            of_model = {m: UNIT_SD[m] * rng.standard_normal() for m in metrics}
            for plan in plans:
                state = _status(status or {}, schedule, unit, plan)
                cells.append(
                    {"study": "pareto", "unit": unit, "seed": unit, "status": state}
                    | columns_of(schedule, plan)
                    | {"train_switch": train_switch}
                    | {"cell_digest": f"{schedule}-{unit}-{plan.label}"}
                )
                if state != "finished":
                    put("", [np.nan])
                    continue
                for m in metrics:
                    level = _level(schedule, plan, m, levels, planted.get(m), train_switch)
                    level += (effects or {}).get((schedule, plan), {}).get(m, 0.0)
                    moved = 0.5 * of_unit[m] + 0.7 * of_model[m]
                    moved += 0.5 * UNIT_SD[m] * rng.standard_normal()
                    found = level + unit_noise * moved + shared[m] + evaluation(OWN_SD[m], noise)
                    put(m, found, counts[m])
                    if m == NLL and by_scale:
                        for k, offset in enumerate(offsets):
                            put(f"nll/scale_{k + 1:02d}", found + offset, counts[m])
                kv = float(kv_bytes(plan, depth=depth))
                put("kv_bytes/peak", [kv])
                put("kv_bytes/analytic", [kv])
                late = tokens[plan.switch or 0 :].sum() / tokens.sum()
                share = 1 - late * (1 - (plan.subnet_depth or depth) / depth)
                put("flops/transformer", [1e9 * share])
    dtypes = COLUMNS | TRAINING_COLUMNS
    labels = pd.DataFrame(cells)
    labels = labels.astype({name: dtypes[name] for name in labels}).iloc[at].reset_index(drop=True)
    measured = {"metric": names, "group": indices, "value": values, "count": behind}
    measured = pd.DataFrame(measured).astype({name: dtypes[name] for name in measured})
    frame = pd.concat([labels, measured], axis=1)
    floors = {m: FLOORS[m] for m in metrics if m in FLOORS} or {FD: FLOORS[FD]}
    rows = [row for u in units for row in real_rows(floors, study="pareto", unit=u)]
    known = pd.DataFrame(rows, columns=list(dtypes)).astype(dtypes)
    known = known if real else failed(known, known["anchor"] == "real").astype(dtypes)
    return pd.concat([frame, known], ignore_index=True)[list(dtypes)]


def frame_of(points, *, metrics=(NLL,), groups=2) -> pd.DataFrame:
    """A frame from (schedule, unit, plan) to (KV of 100, value, value of the next metric, ...).

    The replicates of a value lie around it. No value: the cell failed.
    """
    rows = []
    around = np.linspace(-0.01, 0.01, groups) if groups > 1 else np.zeros(groups)
    for (schedule, unit, plan), found in points.items():
        shared = columns_of(schedule, plan) | {
            "study": "pareto",
            "unit": unit,
            "cell_digest": f"{schedule}-{unit}-{plan.label}",
            "seed": unit,
            "train_switch": 3,
            "status": "finished" if found else "failed",
        }
        if not found:
            rows.append(shared | {"metric": "", "value": math.nan, "count": 0})
            continue
        rows.append(shared | {"metric": KV, "value": found[0], "count": 0})
        rows += [
            shared | {"metric": name, "value": value + off, "count": 50, "group": group}
            for name, value in zip(metrics, found[1:], strict=True)
            for group, off in ((None, 0.0), *enumerate(around))
        ]
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *TRAINING_COLUMNS])
    return checked_frame(frame, training=True, full=False)


def _status(status: Status, schedule: str, unit: int, plan: PlanKey) -> str:
    for (at_schedule, at_unit, at_plan), state in status.items():
        wanted = ((at_schedule, schedule), (at_unit, unit), (at_plan, plan))
        if all(want is None or want == found for want, found in wanted):
            return state
    return "finished"


def _level(schedule, plan, metric, levels, planted, train_switch) -> float:
    if planted is not None:
        return level_at(planted[schedule], plan, train_switch, hollow=4 * HOLLOW)
    nll = level_at(levels[schedule], plan, train_switch, hollow=HOLLOW)
    if metric in (NLL, SELECT):
        return nll
    if metric in (FD, BLIND_FD):
        return fd_of(nll)
    return {KID: 0.002 + 0.02 * (nll - 2.8), ACCURACY: 0.99 - 0.1 * (nll - 2.8)}[metric]


def level_at(by_depth, plan, train_switch, *, hollow) -> float:
    """The planted level; another switch moves the subnet's loss by a tenth and adds `hollow`."""
    level = by_depth[plan.subnet_depth or max(by_depth)]
    if plan.switch is None or plan.switch == train_switch:
        return level + (0.02 if plan.selector != EQUIDISTANT else 0.0)
    return level + hollow + 0.1 * (train_switch - plan.switch) * (level - by_depth[max(by_depth)])


def pareto_facts(
    *,
    schedules: Sequence[str] = SCHEDULES,
    units: Sequence[int] = (0,),
    plans: Sequence[PlanKey] = PLANS,
    status: Status | None = None,
    train_switch: int = TRAIN_SWITCH,
    **other: Any,
) -> dict[str, Any]:
    """What `study.json` holds beside a `pareto_frame` of these arguments; `other` overrides."""
    trained = [name for name in schedules if name != "base"]
    facts = study_facts("pareto") | {
        "depths": sorted({p.subnet_depth for p in plans if p.subnet_depth}, reverse=True),
        "selectors": sorted({plan.selector for plan in plans}),
        "units": list(units),
        "budget_images": 40000,
        "batch": 64,
        "lr": 1e-3,
        "lr_schedule": "cosine",
        "train_switch": train_switch,
        "schedules": [_schedule(name, train_switch) for name in trained],
        "models": [
            _model(name, unit, _status(status or {}, name, unit, FULL))
            for name in trained
            for unit in units
        ],
        "kv_budgets": [0.2, 0.4, 0.6, 0.8],
        "kv_full_bytes": kv_bytes(FULL),
        "paper_cost": PAPER_COST,
    }
    return facts | other


def pareto_file(**settings: Any) -> ParetoFile:
    """`pareto_facts` as reports and claims read them."""
    return ParetoFile.model_validate(pareto_facts(**settings))


def _schedule(name: str, switch: int) -> dict[str, Any]:
    way = WAYS[name]
    blank = dict.fromkeys(("mean_share", "start_share", "end_share", "phases", "ramp"))
    selector = None if way.kind == "full" else way.selector
    facts = {"label": name, "kind": way.kind, "share": way.share, "selector": selector}
    return blank | facts | {"switch": switch, "passes": 3 if way.kind == "sandwich" else 1}


KV_MIB = {
    5: (16382.8, 9351.6, 5835.9, 4078.1),
    6: (17091.6, 10465.3, 7152.2, 5495.6),
    7: (18351.6, 12445.3, 9492.2, 8015.6),
}
PAPER_COST = {
    "full": {"kv_mib_reference": 28687.5, "kv_mib_limit": 11925.0, "flops_share": 1.0},
    **{
        f"d{depth}@{n}": {"kv_mib_reference": kv, "kv_mib_limit": 6360.0, "flops_share": flops}
        for n, costs in KV_MIB.items()
        for depth, kv, flops in zip((16, 8, 4, 2), costs, (0.598, 0.368, 0.253, 0.195), strict=True)
    },
}
"""Arithmetic for VAR-d30, batch 64 with guidance; limit and FLOPs are those of d16@6 and N = 6."""


def _model(schedule: str, unit: int, state: str) -> dict[str, Any]:
    finished = state == "finished"
    return {
        "schedule": schedule,
        "unit": unit,
        "seed": unit,
        "status": state,
        "error": None if finished else "the loss is not finite at step 120",
        "digest": f"{schedule}-{unit}",
        "folder": f"cells/{schedule}-{unit}",
        "sha256": "a" * 64 if finished else None,
        "image_passes": 40000 if finished else 7680,
        "training_flops": 3.1e14,
        "realised_share": WAYS[schedule].share,
        "seconds": 90.0,
        "full_passes": 20000,
    }


def as_rival(
    frame: pd.DataFrame, schedule: str, rival: str, *, weight_bytes: int = 1000, **columns: Any
) -> pd.DataFrame:
    """The rows of a schedule once more, as those of a rival; `columns` overrule."""
    mine = frame[frame["schedule"] == schedule].astype({"cell_digest": "object"})
    named = {"rival": rival, "schedule": rival, "anchor": None, "weight_bytes": weight_bytes}
    digests = rival + " " + mine["cell_digest"]
    return mine.assign(**named, cell_digest=digests, **columns)


def with_rivals(frame: pd.DataFrame, *rivals: pd.DataFrame) -> pd.DataFrame:
    """A study's own rows and its rivals'."""
    own = frame.assign(rival=None, weight_bytes=None)
    parts = [part.astype("object") for part in (own, *rivals)]
    return checked_frame(pd.concat(parts, ignore_index=True), training=True, full=False)
