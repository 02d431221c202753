"""Folders of `studies.pareto` as one night leaves them: a few schedules, in some of the units."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from pareto_frames import FULL, HALF, pareto_facts, pareto_frame
from small_studies import make_folder, sealed

FEW = ("base", "control", "fixed 0.1", "fixed 1", "progressive")


def night(folder: Path, units, *, schedules=FEW, **facts) -> Path:
    settings = {"schedules": schedules, "units": units, "plans": (FULL, HALF)}
    frame = pareto_frame(**settings, by_scale=False, groups=4, rng_seed=units[0])
    config = {"seed": units[0], "units": len(units), "budget": "40k"}
    bases = [{"unit": unit, "digest": f"b{unit}", "parameters": 9} for unit in units]
    made = pareto_facts(**settings, config=config, bases=bases)
    make_folder(folder, frame, made | facts, samples=False)
    columns = {"schedule": "control", "unit": units, "images_seen": 0, "plan": "full"}
    curves = pd.DataFrame(columns | {"value": 3.0, "images": 500})
    curves.to_parquet(folder / "curves.parquet")
    return sealed(folder)
