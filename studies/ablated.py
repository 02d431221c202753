"""The table of what each choice is worth, as a study leaves it and MLflow shows it.

It is that of `python -m reports --ablation FOLDER`, against the progressive schedule. It lies in a
folder of its own, where the command with another baseline does not write: MLflow's artifacts are of
the same baseline as its metrics.
"""

from __future__ import annotations

import shutil
from pathlib import Path

ABLATION = "ablation"
BASELINE = "progressive"


def write_ablation(folder: Path) -> list[Path]:
    """Write the table of a study's folder, whose frame and file are there; [] for one that has no
    such baseline, or nothing to hold against it. What an earlier visit left goes."""
    from analysis.errors import FrameError
    from reports.ablation import ablation

    shutil.rmtree(folder / ABLATION, ignore_errors=True)
    try:
        table = ablation(folder, BASELINE)
    except FrameError:
        return []
    if not table.differences:
        return []
    table.write(folder / ABLATION)
    return sorted((folder / ABLATION).iterdir())


def ablation_metrics(folder: Path) -> dict[str, float]:
    """`ablation/<metric>/<way to train> <plan>`: damage against the baseline, positive is worse."""
    import pandas as pd

    from reports.ablation import STEM
    from studies.tracking.spread import named

    path = folder / ABLATION / f"{STEM}.csv"
    if not path.exists():
        return {}
    return {
        f"ablation/{named(row.metric, f'{row.trained} {row.plan}')}": float(row.damage)
        for row in pd.read_csv(path).itertuples()
    }
