"""Synthetic frames and facts of the `pareto` study, whose truth is known.

A value is its schedule's planted level, plus what the training seed adds (part of it common to all
schedules, part to all plans of one model), plus what the set adds (the same for every model: same
images, same uniforms), plus a remainder of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.frame import COLUMNS, TRAINING_COLUMNS

FD, KID = "fd/shapes-1a2b3c/n250", "kid/shapes-1a2b3c/n250"
ACCURACY, NLL, SELECT = "class_accuracy", "nll/mean", "select/nll/mean"
DEPTH, WIDTH, TRAIN_SWITCH = 8, 48, 3
PATCH_NUMS = (1, 2, 3, 4, 6)
SHARES = {
    "control": 0.0,
    "fixed 0.1": 0.1,
    "fixed 0.5": 0.5,
    "fixed 2/3": 2 / 3,
    "fixed 1": 1.0,
    "progressive": None,
    "reversed": None,
    "sandwich": None,
}
"""Schedule label to its share, None where it is not one number."""

SCHEDULES = tuple(SHARES)
PLANS = ("full", "d6@3", "d4@3", "d2@3", "d6@2", "d4@2", "d2@2", "d4@3 (nested)")

Levels = Mapping[str, Mapping[int, float]]
LEVELS: Levels = {
    "control": {8: 2.815, 6: 3.150, 4: 3.900, 2: 4.600},
    "fixed 0.1": {8: 2.825, 6: 3.010, 4: 3.225, 2: 3.547},
    "fixed 0.5": {8: 2.859, 6: 2.940, 4: 3.046, 2: 3.273},
    "fixed 2/3": {8: 2.890, 6: 2.930, 4: 3.020, 2: 3.220},
    "fixed 1": {8: 3.061, 6: 2.935, 4: 2.998, 2: 3.169},
    "progressive": {8: 2.929, 6: 2.925, 4: 3.031, 2: 3.237},
    "reversed": {8: 2.890, 6: 2.925, 4: 3.012, 2: 3.209},
    "sandwich": {8: 2.870, 6: 2.930, 4: 3.030, 2: 3.200},
}
"""NLL by schedule and depth at the trained switch: what a prototype saw, rounded and filled in."""

HOLLOW = 0.12  # nats added at a switch that was not trained


def fd_of(nll: float) -> float:
    """A Fréchet distance that goes with an NLL."""
    return 1.2 + 4.0 * (nll - 2.8)


@dataclass(frozen=True)
class Plan:
    """What a cell's name says."""

    cell: str
    switch: int | None
    depth: int
    selector: str

    @classmethod
    def parse(cls, cell: str, *, depth: int = DEPTH) -> Plan:
        if cell == "full":
            return cls(cell, None, depth, "equidistant")
        found = re.fullmatch(r"d(\d+)@(\d+)(?: \((\w+)\))?", cell)
        return cls(cell, int(found[2]), int(found[1]), found[3] or "equidistant")


def kv_bytes(plan: Plan, *, depth: int = DEPTH, patch_nums: Sequence[int] = PATCH_NUMS) -> int:
    """Peak cache an image: the last scale is never kept, dropped layers go at the switch."""
    tokens = np.square(patch_nums)
    if plan.switch is None:
        return int(depth * tokens[:-1].sum() * 4 * WIDTH)
    bridge = depth * tokens[: max(plan.switch - 1, 0)].sum()
    return int(max(bridge, plan.depth * tokens[:-1].sum()) * 4 * WIDTH)


def pareto_frame(
    *,
    schedules: Sequence[str] = SCHEDULES,
    seeds: Sequence[int] = (0,),
    plans: Sequence[str] = PLANS,
    levels: Levels = LEVELS,
    fd_levels: Levels | None = None,
    effects: Mapping[tuple[str, str], Mapping[str, float]] | None = None,
    status: Mapping[tuple[str | None, int | None, str | None], str] | None = None,
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
    `levels`) the same of the Fréchet distance. `effects` adds to one (schedule, cell) by metric
    name. `status` gives a status to what (schedule, seed, cell) matches, None matching anything.
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
    parsed = [Plan.parse(cell, depth=depth) for cell in plans]
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
            for plan in parsed:
                state = _status(status or {}, schedule, seed, plan.cell)
                cells.append(
                    {
                        "study": "pareto",
                        "base_seed": 0,
                        "family": "full" if plan.switch is None else "switch",
                        "cell": plan.cell,
                        "scale": None,
                        "window": None,
                        "switch": plan.switch,
                        "subnet_depth": None if plan.switch is None else plan.depth,
                        "selector": plan.selector,
                        "cell_digest": f"{schedule}-{seed}-{plan.cell}",
                        "status": state,
                        "schedule": schedule,
                        "share": SHARES[schedule],
                        "seed": seed,
                        "train_switch": train_switch,
                    }
                )
                if state != "finished":
                    put("", [np.nan], 0, exact=True)
                    continue
                for m in metrics:
                    level = _level(schedule, plan, m, levels, fd_levels, train_switch)
                    level += (effects or {}).get((schedule, plan.cell), {}).get(m, 0.0)
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
                    [1e9 * (1 - late * (1 - plan.depth / depth))],
                    0,
                    exact=True,
                )
    dtypes = COLUMNS | TRAINING_COLUMNS
    labels = pd.DataFrame(cells)
    labels = labels.astype({name: dtypes[name] for name in labels}).iloc[at].reset_index(drop=True)
    measured = {"metric": names, "set": indices, "value": values, "count": behind}
    measured = pd.DataFrame(measured).astype({name: dtypes[name] for name in measured})
    return pd.concat([labels, measured], axis=1)[list(dtypes)]


def _status(status, schedule, seed, cell) -> str:
    for (at_schedule, at_seed, at_cell), state in status.items():
        wanted = ((at_schedule, schedule), (at_seed, seed), (at_cell, cell))
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
    level = by_depth[plan.depth]
    if plan.switch is None or plan.switch == train_switch:
        return level + (0.02 if plan.selector != "equidistant" else 0.0)
    return level + hollow + 0.1 * (train_switch - plan.switch) * (level - by_depth[max(by_depth)])


def pareto_facts(
    *,
    schedules: Sequence[str] = SCHEDULES,
    seeds: Sequence[int] = (0,),
    plans: Sequence[str] = PLANS,
    status: Mapping[tuple[str | None, int | None, str | None], str] | None = None,
    quick: bool = False,
    depth: int = DEPTH,
    train_switch: int = TRAIN_SWITCH,
    **other,
) -> dict:
    """What `study.json` holds beside a `pareto_frame` of these arguments; `other` overrides."""
    kind = {"control": "full"} | {s: "fixed" for s in SHARES if s.startswith("fixed")}
    mean_share = {"progressive": 19 / 30, "reversed": 19 / 30}
    facts = {
        "format": "varant-study",
        "version": 1,
        "code_version": "0.1.0",
        "study": "pareto",
        "quick": quick,
        "command": "python -m studies.pareto" + (" --quick" if quick else ""),
        "config": {"seeds": len(seeds), "schedules": list(schedules)},
        "config_digest": "c0ffee" * 10,
        "created": "2026-01-02T03:04:05+00:00",
        "wall_seconds": 3600.0,
        "preparation_seconds": 300.0,
        "cell_seconds": 6000.0,
        "hardware": {
            "cpu": "a processor",
            "cores": 2,
            "threads_per_process": 1,
            "workers": 2,
            "device": "cpu",
            "platform": "Linux x86_64",
        },
        "dataset": {
            "name": "shapes",
            "digest": "d" * 64,
            "train_images": 20000,
            "select_images": 2000,
            "test_images": 3000,
            "image_side": 24,
            "num_classes": 10,
        },
        "tokenizer": {"digest": "t" * 64, "description": "a tokenizer", "psnr_db": 26.5},
        "extractor": {"name": "shapes-1a2b3c", "digest": "e" * 64, "features": 64},
        "bases": [
            {"base_seed": 0, "images": 60000, "sha256": "b" * 64, "select_nll": 3.14, "seconds": 9}
        ],
        "model": "VAR of depth 8, width 48",
        "geometry": {
            "patch_nums": list(PATCH_NUMS),
            "depth": depth,
            "width": WIDTH,
            "heads": 3,
            "num_classes": 10,
            "vocab_size": 128,
        },
        "sampling": {"cfg": 1.0, "top_k": 0, "top_p": 0.0, "seed": 0, "samples": 2000, "sets": 8},
        "nll_images": 2000,
        "nll_sets": 40,
        "depths": sorted({p.depth for p in map(Plan.parse, plans) if p.switch is not None})[::-1],
        "selectors": sorted({Plan.parse(cell).selector for cell in plans}),
        "plans": {},
        "train_switch": train_switch,
        "budget_images": 40000,
        "batch": 64,
        "learning_rate": 1e-3,
        "lr_schedule": "cosine",
        "select_images": 1000,
        "select_sets": 20,
        "schedules": [
            {
                "label": s,
                "kind": kind.get(s, s),
                "share": SHARES[s],
                "mean_share": mean_share.get(s, SHARES[s]),
                "phases": [5 / 30, 15 / 30, 10 / 30] if s in mean_share else None,
                "passes": 3 if s == "sandwich" else 1,
            }
            for s in schedules
        ],
        "seeds": list(seeds),
        "models": [
            _model(s, seed, _status(status or {}, s, seed, "full"))
            for s in schedules
            for seed in seeds
        ],
        "reference_point": {"kv_share": 1.1, "nll/mean": 4.85, "fd": 10.0},
        "kv_budgets": [0.2, 0.4, 0.6, 0.8],
        "kv_full_bytes": kv_bytes(Plan.parse("full", depth=depth), depth=depth),
        "paper_cost": PAPER_COST,
        "versions": {"python": "3.12", "varant": "0.1.0", "torch": "2.6"},
    }
    return facts | other


PAPER_COST = {
    "full": {"kv_mib_reference": 28688.0, "kv_mib_limit": 11925.0, "flops_share": 1.0},
    "d16@6": {"kv_mib_reference": 17092.0, "kv_mib_limit": 6360.0, "flops_share": 0.598},
    "d8@6": {"kv_mib_reference": 10465.0, "kv_mib_limit": 3180.0, "flops_share": 0.368},
    "d4@6": {"kv_mib_reference": 7152.0, "kv_mib_limit": 1590.0, "flops_share": 0.253},
    "d2@6": {"kv_mib_reference": 5496.0, "kv_mib_limit": 1581.0, "flops_share": 0.195},
}
"""Arithmetic for VAR-d30, batch 64 with guidance."""


def _model(schedule: str, seed: int, state: str) -> dict:
    finished = state == "finished"
    return {
        "schedule": schedule,
        "seed": seed,
        "status": state,
        "error": None if finished else "the loss is not finite at step 120",
        "digest": f"{schedule}-{seed}",
        "sha256": "a" * 64 if finished else None,
        "image_passes": 40000 if finished else 7680,
        "training_flops": 3.1e14,
        "realised_share": SHARES[schedule],
        "seconds": 90.0,
        "full_passes": 20000,
    }
