"""Tables of several reports: every cell of a study, and what studies that train say of theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.frame import FINISHED, headline_metrics
from analysis.metrics import Metric
from analysis.statistics.damage import NETWORK, paired_differences
from analysis.statistics.fronts import KV, Frontier
from analysis.statistics.intervals import SIGNIFICANCE, grouped_t, holm
from analysis.statistics.levels import Levels
from analysis.study_file import ModelFacts, SupernetFile
from reports.parts import words
from reports.parts.page import Page, Text, code, strong

ALL_FINISHED = "None: every cell of the study finished."


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
    pairs = paired_differences(frame)
    for metric in headline_metrics(frame):
        damage = f"{metric.name} damage"
        for name, column, rows in (metric.name, "value", finished), (damage, "damage", pairs):
            mine = rows[rows["metric"] == metric.name]
            if mine.empty:
                continue
            found = grouped_t(mine, ["cell"], column)
            table[[name, f"{name} low", f"{name} high"]] = found[["estimate", "low", "high"]]
            if name == damage:
                table[f"{name} p"] = pd.Series(holm(found["p_value"].to_numpy()), found.index)
    return table.reset_index(drop=True)


def _name(cell: Mapping[str, Any], several: Sequence[str]) -> str:
    parts = [] if pd.isna(cell["schedule"]) else [cell["schedule"]]
    parts += [f"s{cell[name]}" for name in several]
    return " ".join([*parts, words.plan_name(cell["family"], cell["plan"], cell["selector"])])


def add_cell_tables(page: Page, cells: pd.DataFrame, metrics: Sequence[Metric]) -> None:
    """The two tables of what `cell_table` made: levels, and damage against the full network."""
    known = [m for m in metrics if m.name in cells]
    page.table(
        level_texts(cells if known else cells[:0], known),
        "Every cell: mean with 95 % interval (Student's t over disjoint sets).",
    )
    damages = {m.damage: name for m in metrics if (name := f"{m.name} damage") in cells}
    page.table(
        _texts(cells.dropna(how="all", subset=list(damages.values())), damages, signed=True),
        "Every cell against full: paired damage, positive being worse, with 95 % interval over "
        f"disjoint sets; {words.STAR} marks p < 0.05 after Holm's correction over the cells.",
    )


def level_texts(cells: pd.DataFrame, metrics: Sequence[Metric]) -> pd.DataFrame:
    """Names, and the level by each metric; the status of cells that have none."""
    texts = _texts(cells, {m.heading: m.name for m in metrics}, signed=False)
    return texts.where(texts != words.NOTHING, cells["status"], axis="index")


def _texts(cells: pd.DataFrame, columns: Mapping[str, str], *, signed: bool) -> pd.DataFrame:
    """Names, and an interval under each heading."""
    texts = {"Cell": cells["name"].map(words.unbroken)}
    for heading, name in columns.items():
        shown = cells.reindex(columns=[name, *(f"{name} {end}" for end in ("low", "high", "p"))])
        texts[heading] = estimate_texts(shown, signed=signed)
    return pd.DataFrame(texts)


def estimate_texts(shown: pd.DataFrame, *, signed: bool = True) -> pd.Series[str]:
    """Estimates as a table shows them: unbroken, with `words.STAR` where they are significant.

    Args:
        shown: an estimate, the ends of its interval, and its p after Holm's correction (NaN where
            none was made), in this order of columns.
    """
    texts = [
        words.estimate(*estimate, signed=signed) + (words.STAR if p < SIGNIFICANCE else "")
        for *estimate, p in shown.itertuples(index=False)
    ]
    return pd.Series(texts, shown.index, dtype=object).map(words.unbroken)


def unfinished(cells: pd.DataFrame) -> list[str]:
    """Names of the cells of `cell_table` that have no numbers."""
    return list(cells.loc[cells["status"] != FINISHED, "name"])


def add_failed_cells(page: Page, failed: Sequence[str]) -> None:
    """The section that names cells without numbers."""
    page.heading("Failed cells")
    said = f"{words.counted(len(failed), 'cell')} failed. No numbers: {', '.join(failed)}."
    page.paragraph(said if failed else ALL_FINISHED)


def add_models(page: Page, study: SupernetFile, levels: Levels) -> None:
    """Every model that was to be trained, whatever became of it, and the cells without numbers."""
    page.table(
        pd.DataFrame([_model(model) for model in study.models]),
        "Models: image passes, how many of them through the full network, training FLOPs (forward "
        "and backward), share of subnet steps as drawn, process time, and the weights' digest.",
        numeric_from=3,
    )
    page.heading("Cells without numbers")
    if levels.unfinished.empty:
        page.paragraph(ALL_FINISHED)
    errors = {(model.schedule, model.seed): model.error for model in study.models}
    key = ["schedule", "seed", "status"]
    rows = [
        {
            "Schedule": strong(schedule),
            "Seed": str(seed),
            "Status": status,
            "Plans": f"{len(plans)}: {', '.join(plans)}",
            "Error of the training": errors.get((schedule, seed)) or words.NOTHING,
        }
        for (schedule, seed, status), plans in levels.unfinished.groupby(key, sort=False)["plan"]
    ]
    caption = "They have no numbers anywhere in this report."
    page.table(pd.DataFrame(rows), caption, widths=[0.16, 0.06, 0.12, 0.33, 0.33])


def _model(model: ModelFacts) -> dict[str, Text]:
    flops, share = model.training_flops, model.realised_share
    return {
        "Schedule": strong(model.schedule),
        "Seed": str(model.seed),
        "Status": model.status,
        "Passes": f"{model.image_passes:,}" if model.image_passes else words.NOTHING,
        "Full": f"{model.full_passes:,}",
        "FLOPs": words.number(flops) if flops else words.NOTHING,
        "Share": words.NOTHING if share is None else words.fixed(share, 3),
        "Time": words.seconds(model.seconds) if model.seconds else words.NOTHING,
        "Weights": code((model.sha256 or words.NOTHING)[:12]),
    }


def with_texts(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """`table` with `text`: its column `value` with `low` and `high`; damages have their sign."""
    shown = table.reindex(columns=[value, "low", "high", "p_holm"])
    return table.assign(text=estimate_texts(shown, signed=value == "damage"))


def by_plan(rows: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """A row a schedule and plan, a column a metric: the one pivot of all reports.

    Args:
        rows: `schedule`, `plan`, `metric` and `text`, in the order to show.
        columns: metric names to headings, in the order to show.
    """
    shown = rows[rows["metric"].isin(list(columns))]
    wide = shown.set_index(["schedule", "plan", "metric"])["text"].unstack("metric", sort=False)
    wide = wide.reindex(columns=list(columns)).fillna(words.NOTHING).reset_index()
    wide["plan"] = wide["plan"].map(words.unbroken)
    return wide.set_axis(["Schedule", "Plan", *columns.values()], axis=1)


def add_every_plan(page: Page, levels: Levels, frontiers: Sequence[Frontier] = ()) -> None:
    """A table a schedule of all of its plans; with how often each is on the `frontiers`."""
    page.heading("All plans")
    table = levels.table
    sizes = table[table["metric"] == KV]
    sizes = sizes.assign(text=sizes["value"].map(words.size))
    shown = table[table["metric"].isin([m.name for m in levels.metrics])]
    fronts = pd.DataFrame(
        [
            (schedule, plan, f"front, {found.metric.name}", words.percent(share))
            for found in frontiers
            for (schedule, plan), share in found.probability.items()
        ],
        columns=["schedule", "plan", "metric", "text"],
    )
    columns = {KV: "KV peak"} | {metric.name: metric.short for metric in levels.metrics}
    columns |= {f"front, {f.metric.name}": f"front, {f.metric.short}" for f in frontiers}
    rows = pd.concat([with_texts(shown, "value"), sizes, fronts])
    said = " Front: share of training seeds in which the plan is on the front of all schedules' "
    said += "trained plans (KV against the metric); none where it was not trained for."
    for schedule, mine in by_plan(rows, columns).groupby("Schedule", sort=False):
        page.table(
            mine.drop(columns="Schedule"),
            f"{schedule}: every plan, mean and 95 % interval.{said if frontiers else ''}",
        )
