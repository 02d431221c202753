"""A study's folder with made-up numbers, as large as asked: what reports of that size cost."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.frame import COLUMNS, DRAW_COLUMN, TRAINING_COLUMNS
from analysis.metrics import NLL, SELECT
from analysis.study_file import BASE, EQUIDISTANT, FILE, FRAME_FILE, REAL, ParetoFile
from studies.grid.costs import paper_cost
from studies.grid.folder import head_facts, write_facts, write_table
from studies.supernets import Arm, control
from varant.files import sha256_file
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan
from varant.presets import presets
from varant.start.config import RunConfig
from varant.start.presets import base_geometry
from varant.training.schedule import Schedule

SPACES = ("shapes-1a2b3c", "patches-4d5e6f")
GROUPS, SAMPLES = 20, 2000
PRESET = presets()["tiny"]
TRAINED = {f"fixed {share:g}": Schedule.fixed(share) for share in (0.5, 1.0)}
TRAINED |= {"progressive": Schedule.progressive()}
ARMS = [control(PRESET.switch)]
ARMS += [Arm(label=label, schedule=one, switch=PRESET.switch) for label, one in TRAINED.items()]


def write_pareto(folder: Path, cells: int) -> Path:
    """A `pareto` folder of at least so many cells, in units of all schedules and plans."""
    geometry = base_geometry(PRESET)
    sides, depth, switches = geometry.patch_nums, geometry.depth, range(1, len(geometry.patch_nums))
    zones = itertools.product((depth // 2, depth // 4, 1), switches)
    plans = [DepthPlan.full(sides, depth)]
    plans += [DepthPlan.two_zone(sides, depth, subnet_depth=d, switch=n) for d, n in zones]
    base = {"schedule": BASE, "kind": BASE, "train_switch": PRESET.switch, "anchor": BASE}
    models = [base, *(arm.columns for arm in ARMS)]
    rows = [_rows(geometry, model, plan) for model in models for plan in plans]
    unit = pd.concat([*rows, _real()])
    units = math.ceil(cells / (len(models) * len(plans)))
    rng = np.random.default_rng(0)
    frames = []
    for number in range(units):
        moved = unit["value"] * (1 + 0.01 * rng.standard_normal(len(unit)) * unit["sampled"])
        digests = unit["cell_digest"] + f" u{number}"
        frames.append(unit.assign(unit=number, seed=number, value=moved, cell_digest=digests))
    types = COLUMNS | TRAINING_COLUMNS | DRAW_COLUMN
    frame = pd.concat(frames, ignore_index=True).reindex(columns=list(types)).astype(types)
    path = write_table(folder / FRAME_FILE, frame, fresh=True)
    facts = _facts(units) | {"frame_sha256": sha256_file(path)}
    write_facts(folder / FILE, ParetoFile.model_validate(facts))
    return folder


def _rows(geometry: Geometry, model: dict[str, Any], plan: DepthPlan) -> pd.DataFrame:
    """Of a cell of any unit."""
    cost, full = plan_cost(geometry, plan), plan_cost(geometry)
    nll = 3.5 - 0.5 * cost.flops / full.flops
    sampled = {NLL.name: nll, SELECT.name: nll, "class_accuracy": 0.9}
    sampled |= {f"nll/scale_{k + 1:02d}": nll for k in range(len(geometry.patch_nums))}
    sampled |= {f"fd/{space}/n{SAMPLES}": 4 * (nll - 2.8) for space in SPACES}
    exact = {"kv_bytes/peak": cost.kv_bytes_peak, "kv_bytes/analytic": cost.kv_bytes_peak}
    exact |= {"flops/transformer": cost.flops}
    switch = None if plan.is_full else next(k for k, d in enumerate(plan.depths) if d < plan.depth)
    of = {
        "family": "full" if plan.is_full else "switch",
        "plan": plan.name,
        "switch": switch,
        "subnet_depth": None if plan.is_full else plan.depths[-1],
        "selector": EQUIDISTANT,
        "cell_digest": f"{model['schedule']} {plan.name}",
    }
    return _table(model | of, sampled, exact)


def _real() -> pd.DataFrame:
    of = {"family": REAL, "plan": REAL, "anchor": REAL, "schedule": REAL, "kind": REAL}
    scores = {f"fd/{space}/n{SAMPLES}": 0.05 for space in SPACES}
    return _table(of | {"cell_digest": REAL}, scores, {})


def _table(
    of: dict[str, Any], sampled: Mapping[str, float], exact: Mapping[str, float]
) -> pd.DataFrame:
    rows = [
        of | {"metric": name, "group": group, "value": value, "count": count, "sampled": count > 0}
        for scores, count, groups in ((sampled, SAMPLES, GROUPS), (exact, 0, 0))
        for name, value in scores.items()
        for group in (None, *range(groups))
    ]
    return pd.DataFrame(rows).assign(study="pareto", status="finished")


def _facts(units: int) -> dict[str, Any]:
    geometry = base_geometry(PRESET)
    zeros = dict.fromkeys(("train_images", "select_images", "test_images", "image_side"), 0)
    models = [
        {"schedule": arm.label, "unit": unit, "seed": unit, "status": "finished"}
        | {"digest": f"{arm.label} {unit}", "folder": "", "full_passes": 0}
        for arm in ARMS
        for unit in range(units)
    ]
    return head_facts("pareto", "made up", RunConfig(quick=True), workers=1) | {
        "question": "What does a report of this size cost?",
        "config": {},
        "config_digest": "",
        "seconds": {"wall": 0, "preparation": 0, "cells": 0},
        "dataset": zeros | {"name": "made up", "digest": "", "num_classes": 10},
        "tokenizer": {"digest": "", "description": "", "psnr_db": 0},
        "extractors": [{"name": name, "digest": "", "features": 64} for name in SPACES],
        "bases": [{"unit": unit, "digest": "", "parameters": 0} for unit in range(units)],
        "model": "",
        "geometry": dataclasses.asdict(geometry),
        "sampling": {"samples": SAMPLES, "cfg": 0, "top_k": 0, "top_p": 0},
        "likelihood": {"nll_images": SAMPLES},
        "depths": sorted({geometry.depth // 2, geometry.depth // 4, 1}),
        "selectors": [EQUIDISTANT],
        "schedules": [arm.facts for arm in ARMS],
        "units": list(range(units)),
        "budget_images": 0,
        "batch": 1,
        "lr": 1e-3,
        "lr_schedule": "cosine",
        "kv_full_bytes": plan_cost(geometry).kv_bytes_peak,
        "models": models,
        "train_switch": PRESET.switch,
        "kv_budgets": [0.2, 0.4, 0.6, 0.8],
        "paper_cost": paper_cost(),
    }
