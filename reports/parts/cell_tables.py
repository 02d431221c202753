"""Every cell of a study in two tables: its levels, and its damage against its own full network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.frame import FINISHED, headline_metrics
from analysis.metrics import Metric
from analysis.statistics.fronts import KV
from analysis.statistics.intervals import SIGNIFICANCE, grouped_t, holm
from reports.parts import words
from reports.parts.page import Page

NETWORK = ["schedule", "seed", "base_seed"]
"""The columns that tell one network under test from another."""

STAR = "*"


def cell_table(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a cell: mean, interval, and paired damage against the full network, for each metric.

    Columns: `name`, `status`, `kv` (bytes, NaN where not measured), and for each headline metric
    `<metric>`, `<metric> low`, `<metric> high`, `<metric> damage`, `... damage low`, `... damage
    high`, `... damage p` (Holm-adjusted over the cells). Damage is paired set by set, with the
    full network of the same base, schedule and seed.
    """
    key = [*NETWORK, "family", "plan", "selector"]
    frame = frame.assign(cell=frame.groupby(key, dropna=False, sort=False).ngroup())
    finished = frame[frame["status"] == FINISHED]
    kv = finished[finished["metric"] == KV].groupby("cell")["value"].mean()
    several = [name for name in ("seed", "base_seed") if frame[name].nunique() > 1]
    cells = frame.drop_duplicates("cell").set_index("cell")
    names = [_name(cell, several) for cell in cells.to_dict("records")]
    table = pd.DataFrame({"name": names, "status": cells["status"], "kv": kv}, index=cells.index)
    observed = [*NETWORK, "metric", "set"]
    full = finished[finished["family"] == "full"].drop_duplicates(observed)
    pairs = finished.merge(
        full[[*observed, "value"]], on=observed, how="left", suffixes=("", "_of_full")
    )
    for metric in headline_metrics(frame):
        mine = pairs[pairs["metric"] == metric.name]
        losses = metric.damage_sign * (mine["value"] - mine["value_of_full"])
        losses = mine.assign(loss=losses)[mine["family"] != "full"].dropna(subset="loss")
        if len(mine):
            table = table.join(_columns(metric.name, grouped_t(mine, ["cell"], "value")))
        if len(losses):
            found, name = grouped_t(losses, ["cell"], "loss"), f"{metric.name} damage"
            adjusted = {f"{name} p": holm(found["p_value"].to_numpy())}
            table = table.join(_columns(name, found).assign(**adjusted))
    return table.reset_index(drop=True)


def _name(cell: Mapping[str, Any], several: Sequence[str]) -> str:
    parts = [] if pd.isna(cell["schedule"]) else [cell["schedule"]]
    parts += [f"s{cell[name]}" for name in several]
    return " ".join([*parts, words.plan_name(cell["family"], cell["plan"], cell["selector"])])


def _columns(name: str, found: pd.DataFrame) -> pd.DataFrame:
    """Estimates with their ends, under their names in the table."""
    return found[["estimate", "low", "high"]].set_axis(
        [name, f"{name} low", f"{name} high"], axis=1
    )


def add_cell_tables(page: Page, cells: pd.DataFrame, metrics: Sequence[Metric]) -> None:
    """The two tables of what `cell_table` made."""
    metrics = [m for m in metrics if m.name in cells]
    page.table(
        _texts(cells, {m.heading: m.name for m in metrics}, missing="status", signed=False),
        "Every cell: mean with 95 % interval (Student's t over disjoint sets).",
    )
    damages = {m.damage: column for m in metrics if (column := f"{m.name} damage") in cells}
    page.table(
        _texts(cells.dropna(how="all", subset=list(damages.values())), damages, signed=True),
        "Every cell against full: paired damage, positive being worse, with 95 % "
        f"interval over disjoint sets; {STAR} marks p < 0.05 after Holm's correction over the "
        "cells.",
    )


def _texts(
    cells: pd.DataFrame, columns: Mapping[str, str], *, signed: bool, missing: str | None = None
) -> pd.DataFrame:
    """Names, and an interval under each heading; without one, what stands in column `missing`."""

    def text(row: Mapping[str, Any], name: str) -> str:
        if pd.isna(row[name]):
            return str(row[missing]) if missing else words.NOTHING
        mark = STAR if row.get(f"{name} p", 1.0) < SIGNIFICANCE else ""
        said = words.estimate(row[name], row[f"{name} low"], row[f"{name} high"], signed=signed)
        return words.unbroken(said + mark)

    rows = cells.to_dict("records") if columns else []
    texts = {heading: [text(row, name) for row in rows] for heading, name in columns.items()}
    return pd.DataFrame({"Cell": [words.unbroken(row["name"]) for row in rows]} | texts)


def add_failed_cells(page: Page, cells: pd.DataFrame) -> None:
    """The section that names cells without numbers."""
    failed = cells.loc[cells["status"] != FINISHED, "name"]
    page.heading("Failed cells")
    page.paragraph(
        "None: every cell of the study finished."
        if failed.empty
        else f"No numbers: {', '.join(failed)}."
    )
