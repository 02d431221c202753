"""Synthetic frames and facts of the `pareto` study, whose truth is known.

A value is its schedule's planted level, plus what the training seed adds (part of it common to all
schedules, part to all plans of one model), plus what the set adds (the same for every model: same
images, same uniforms), plus a remainder of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from small_studies import study_facts

from analysis.frame import COLUMNS, TRAINING_COLUMNS, checked_frame
from analysis.statistics.fronts import KV
from analysis.statistics.levels import EQUIDISTANT, FULL, PlanKey
from analysis.study_file import ParetoFile

FD, KID = "fd/shapes-1a2b3c/n250", "kid/shapes-1a2b3c/n250"
ACCURACY, NLL, SELECT = "class_accuracy", "nll/mean", "select/nll/mean"
DEPTH, WIDTH, TRAIN_SWITCH = 8, 48, 3
PATCH_NUMS = (1, 2, 3, 4, 6)


@dataclass(frozen=True)
class Taught:
    """The typed columns of a way to train."""

    kind: str
    share: float | None = None
    selector: str = EQUIDISTANT


WAYS = {
    "control": Taught("full", 0.0),
    "fixed 0.1": Taught("fixed", 0.1),
    "fixed 0.5": Taught("fixed", 0.5),
    "fixed 2/3": Taught("fixed", 2 / 3),
    "fixed 1": Taught("fixed", 1.0),
    "fixed 1 (nested)": Taught("fixed", 1.0, "nested"),
    "progressive": Taught("progressive"),
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
    "control": {8: 2.815, 6: 3.150, 4: 3.900, 2: 4.600},
    "fixed 0.1": {8: 2.825, 6: 3.010, 4: 3.225, 2: 3.547},
    "fixed 0.5": {8: 2.859, 6: 2.940, 4: 3.046, 2: 3.273},
    "fixed 2/3": {8: 2.890, 6: 2.930, 4: 3.020, 2: 3.220},
    "fixed 1": {8: 3.061, 6: 2.935, 4: 2.998, 2: 3.169},
    "fixed 1 (nested)": {8: 3.061, 6: 2.935, 4: 2.998, 2: 3.169},
    "progressive": {8: 2.929, 6: 2.925, 4: 3.031, 2: 3.237},
    "reversed": {8: 2.890, 6: 2.925, 4: 3.012, 2: 3.209},
    "sandwich": {8: 2.870, 6: 2.930, 4: 3.030, 2: 3.200},
}
"""NLL by schedule and depth at the trained switch: what a prototype saw, rounded and filled in."""

HOLLOW = 0.12  # nats added at a switch that was not trained

Status = Mapping[tuple[str | None, int | None, PlanKey | None], str]


def fd_of(nll: float) -> float:
    """A Fréchet distance that goes with an NLL."""
    return 1.2 + 4.0 * (nll - 2.8)


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
    seeds: Sequence[int] = (0,),
    plans: Sequence[PlanKey] = PLANS,
    levels: Levels = LEVELS,
    fd_levels: Levels | None = None,
    effects: Mapping[tuple[str, PlanKey], Mapping[str, float]] | None = None,
    status: Status | None = None,
    metrics: Sequence[str] = (NLL, SELECT, FD, KID, ACCURACY),
    by_scale: bool = True,
    depth: int = DEPTH,
    train_switch: int = TRAIN_SWITCH,
    sample_sets: int = 8,
    nll_sets: int = 40,
    select_sets: int = 20,
    seed_noise: float = 1.0,
    set_noise: float = 1.0,
    noise: float = 1.0,
    rng_seed: int = 0,
) -> pd.DataFrame:
    """A valid frame.

    `levels` are NLL by schedule and depth at the trained switch; `fd_levels` (default: `fd_of` of
    `levels`) the same of the Fréchet distance. `effects` adds to one (schedule, plan) by metric
    name. `status` gives a status to what (schedule, seed, plan) matches, None matching anything.
    The noises are factors on plausible spreads: `seed_noise` between training seeds, `set_noise`
    what a set adds to every model alike, `noise` what is left.
    """
    rng = np.random.default_rng(rng_seed)
    spread = {NLL: 0.006, SELECT: 0.006, FD: 0.03, KID: 0.0008, ACCURACY: 0.003}
    of_set = {NLL: 0.06, SELECT: 0.06, FD: 0.08, KID: 0.002, ACCURACY: 0.008}
    rest = {NLL: 0.006, SELECT: 0.006, FD: 0.04, KID: 0.001, ACCURACY: 0.004}
    sets = {NLL: nll_sets, SELECT: select_sets} | dict.fromkeys((FD, KID, ACCURACY), sample_sets)
    counts = {NLL: 50, SELECT: 50} | dict.fromkeys((FD, KID, ACCURACY), 250)
    set_effect = {m: set_noise * of_set[m] * rng.standard_normal(sets[m]) for m in metrics}
    tokens = np.square(PATCH_NUMS)
    offsets = np.linspace(0.6, -0.1, len(tokens))
    offsets -= offsets @ tokens / tokens.sum()
    seed_effect = {(s, m): spread[m] * rng.standard_normal() for s in seeds for m in metrics}
    cells: list[dict] = []
    at, names, indices, values, behind = [], [], [], [], []

    def put(name, found, count, *, exact=False):
        at.extend([len(cells) - 1] * len(found))
        names.extend([name] * len(found))
        indices.extend([None] if exact else range(len(found)))
        values.extend(found)
        behind.extend([count] * len(found))

    for schedule in schedules:
        for seed in seeds:
            for_model = {m: spread[m] * rng.standard_normal() for m in metrics}
            for plan in plans:
                state = _status(status or {}, schedule, seed, plan)
                cells.append(
                    {"study": "pareto", "base_seed": 0, "status": state}
                    | columns_of(schedule, plan)
                    | {"seed": seed, "train_switch": train_switch}
                    | {"cell_digest": f"{schedule}-{seed}-{plan.label}"}
                )
                if state != "finished":
                    put("", [np.nan], 0, exact=True)
                    continue
                for m in metrics:
                    level = _level(schedule, plan, m, levels, fd_levels, train_switch)
                    level += (effects or {}).get((schedule, plan), {}).get(m, 0.0)
                    moved = 0.5 * seed_effect[seed, m] + 0.7 * for_model[m]
                    moved += 0.5 * spread[m] * rng.standard_normal()
                    found = level + seed_noise * moved + set_effect[m]
                    found = found + noise * rest[m] * rng.standard_normal(sets[m])
                    put(m, found, counts[m])
                    if m == NLL and by_scale:
                        for k, offset in enumerate(offsets):
                            put(f"nll/scale_{k + 1:02d}", found + offset, counts[m])
                kv = float(kv_bytes(plan, depth=depth))
                put("kv_bytes/peak", [kv], 0, exact=True)
                put("kv_bytes/analytic", [kv], 0, exact=True)
                late = tokens[plan.switch or 0 :].sum() / tokens.sum()
                put(
                    "flops/transformer",
                    [1e9 * (1 - late * (1 - (plan.subnet_depth or depth) / depth))],
                    0,
                    exact=True,
                )
    dtypes = COLUMNS | TRAINING_COLUMNS
    labels = pd.DataFrame(cells)
    labels = labels.astype({name: dtypes[name] for name in labels}).iloc[at].reset_index(drop=True)
    measured = {"metric": names, "set": indices, "value": values, "count": behind}
    measured = pd.DataFrame(measured).astype({name: dtypes[name] for name in measured})
    return pd.concat([labels, measured], axis=1)[list(dtypes)]


def frame_of(points, *, metrics=(NLL,), sets=2) -> pd.DataFrame:
    """A frame from (schedule, seed, plan) to (KV of 100, value, value of the next metric, ...).

    The sets of a value lie around it. No value: the cell failed.
    """
    rows = []
    around = np.linspace(-0.01, 0.01, sets) if sets > 1 else np.zeros(1)
    for (schedule, seed, plan), found in points.items():
        shared = columns_of(schedule, plan) | {
            "study": "pareto",
            "base_seed": 0,
            "cell_digest": f"{schedule}-{seed}-{plan.label}",
            "seed": seed,
            "train_switch": 3,
            "status": "finished" if found else "failed",
        }
        if not found:
            rows.append(shared | {"metric": "", "value": math.nan, "count": 0})
            continue
        rows.append(shared | {"metric": KV, "value": found[0], "count": 0})
        rows += [
            shared | {"metric": name, "value": value + off, "count": 50, "set": i}
            for name, value in zip(metrics, found[1:], strict=True)
            for i, off in enumerate(around)
        ]
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *TRAINING_COLUMNS])
    return checked_frame(frame, training=True, full=False)


def _status(status: Status, schedule: str, seed: int, plan: PlanKey) -> str:
    for (at_schedule, at_seed, at_plan), state in status.items():
        wanted = ((at_schedule, schedule), (at_seed, seed), (at_plan, plan))
        if all(want is None or want == found for want, found in wanted):
            return state
    return "finished"


def _level(schedule, plan, metric, levels, fd_levels, train_switch) -> float:
    nll = _at_plan(levels[schedule], plan, train_switch, hollow=HOLLOW)
    if metric in (NLL, SELECT):
        return nll
    if fd_levels is not None and metric == FD:
        return _at_plan(fd_levels[schedule], plan, train_switch, hollow=4 * HOLLOW)
    return {FD: fd_of(nll), KID: 0.004 + 0.02 * (nll - 2.8), ACCURACY: 0.99 - 0.1 * (nll - 2.8)}[
        metric
    ]


def _at_plan(by_depth, plan, train_switch, *, hollow) -> float:
    """The planted level; another switch moves the subnet's loss by a tenth and adds `hollow`."""
    level = by_depth[plan.subnet_depth or max(by_depth)]
    if plan.switch is None or plan.switch == train_switch:
        return level + (0.02 if plan.selector != EQUIDISTANT else 0.0)
    return level + hollow + 0.1 * (train_switch - plan.switch) * (level - by_depth[max(by_depth)])


def pareto_facts(
    *,
    schedules: Sequence[str] = SCHEDULES,
    seeds: Sequence[int] = (0,),
    plans: Sequence[PlanKey] = PLANS,
    status: Status | None = None,
    train_switch: int = TRAIN_SWITCH,
    **other: Any,
) -> dict[str, Any]:
    """What `study.json` holds beside a `pareto_frame` of these arguments; `other` overrides."""
    facts = study_facts("pareto") | {
        "depths": sorted({p.subnet_depth for p in plans if p.subnet_depth}, reverse=True),
        "selectors": sorted({plan.selector for plan in plans}),
        "seeds": list(seeds),
        "budget_images": 40000,
        "batch": 64,
        "lr": 1e-3,
        "lr_schedule": "cosine",
        "train_switch": train_switch,
        "schedules": [_schedule(name, train_switch) for name in schedules],
        "models": [
            _model(name, seed, _status(status or {}, name, seed, FULL))
            for name in schedules
            for seed in seeds
        ],
        "reference_point": {"kv_share": 1.1, "nll": 4.85, "fd": 10.0},
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


PAPER_COST = {
    "full": {"kv_mib_reference": 28688.0, "kv_mib_limit": 11925.0, "flops_share": 1.0},
    "d16@6": {"kv_mib_reference": 17092.0, "kv_mib_limit": 6360.0, "flops_share": 0.598},
    "d8@6": {"kv_mib_reference": 10465.0, "kv_mib_limit": 3180.0, "flops_share": 0.368},
    "d4@6": {"kv_mib_reference": 7152.0, "kv_mib_limit": 1590.0, "flops_share": 0.253},
    "d2@6": {"kv_mib_reference": 5496.0, "kv_mib_limit": 1581.0, "flops_share": 0.195},
}
"""Arithmetic for VAR-d30, batch 64 with guidance."""


def _model(schedule: str, seed: int, state: str) -> dict[str, Any]:
    finished = state == "finished"
    return {
        "schedule": schedule,
        "seed": seed,
        "status": state,
        "error": None if finished else "the loss is not finite at step 120",
        "digest": f"{schedule}-{seed}",
        "folder": f"cells/{schedule}-{seed}",
        "sha256": "a" * 64 if finished else None,
        "image_passes": 40000 if finished else 7680,
        "training_flops": 3.1e14,
        "realised_share": WAYS[schedule].share,
        "seconds": 90.0,
        "full_passes": 20000,
    }
