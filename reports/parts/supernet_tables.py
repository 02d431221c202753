"""Tables of any study that trains: its models, what did not finish, and every plan's levels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from analysis.statistics.fronts import KV, Frontier
from analysis.statistics.intervals import SIGNIFICANCE
from analysis.statistics.levels import Levels
from analysis.study_file import ModelFacts, SupernetFile
from reports.parts import words
from reports.parts.blocks import Text, code, strong
from reports.parts.cell_tables import STAR
from reports.parts.page import Page


def estimates(table: pd.DataFrame, value: str, *, signed: bool) -> pd.DataFrame:
    """`table` with `text`: its column `value` with `low` and `high`, starred where significant.

    Significant is what has a `p_holm` below `SIGNIFICANCE`; levels have none.
    """
    p = table["p_holm"] if "p_holm" in table else [1.0] * len(table)
    shown = zip(table[value], table["low"], table["high"], p, strict=True)
    texts = [
        words.unbroken(words.estimate(v, low, high, signed=signed))
        + (STAR if p < SIGNIFICANCE else "")
        for v, low, high, p in shown
    ]
    return table.assign(text=texts)


def by_plan(rows: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """A row a schedule and plan, a column a metric: the one pivot of all reports.

    Args:
        rows: `schedule`, `plan`, `metric` and `text`, in the order to show.
        columns: metric names to headings, in the order to show.
    """
    keys = ["schedule", "plan"]
    shown = rows[rows["metric"].isin(list(columns))]
    wide = shown.set_index([*keys, "metric"])["text"].unstack("metric", sort=False)
    wide = wide.reindex(columns=list(columns)).fillna(words.NOTHING).reset_index()
    wide["plan"] = wide["plan"].map(words.unbroken)
    return wide.set_axis(["Schedule", "Plan", *columns.values()], axis=1)


def over_words(spans: Iterable[str]) -> str:
    """What the intervals of a table run over, from its column `over`."""
    return "training seeds" if "seeds" in set(spans) else "disjoint sets of one model"


def models(page: Page, study: SupernetFile) -> None:
    """Every model that was to be trained, whatever became of it."""
    page.table(
        pd.DataFrame([_model(model) for model in study.models]),
        "Models: image passes, how many of them through the full network, training FLOPs "
        "(forward and backward), share of subnet steps as drawn, process time, and the "
        "weights' digest.",
        numeric_from=3,
    )


def _model(model: ModelFacts) -> dict[str, Text]:
    flops, share = model.training_flops, model.realised_share
    return {
        "Schedule": [strong(model.schedule)],
        "Seed": str(model.seed),
        "Status": model.status,
        "Passes": f"{model.image_passes:,}" if model.image_passes else words.NOTHING,
        "Full": f"{model.full_passes:,}",
        "FLOPs": words.number(flops) if flops else words.NOTHING,
        "Share": words.NOTHING if share is None else words.fixed(share, 3),
        "Time": words.seconds(model.seconds) if model.seconds else words.NOTHING,
        "Weights": [code((model.sha256 or "")[:12] or words.NOTHING)],
    }


def unfinished(page: Page, levels: Levels, study: SupernetFile) -> None:
    """Cells without numbers: nothing stands for them anywhere."""
    page.heading("Cells without numbers")
    if levels.unfinished.empty:
        page.paragraph("None: every cell of the study finished.")
        return
    errors = {(model.schedule, model.seed): model.error for model in study.models}
    key = ["schedule", "seed", "status"]
    rows = [
        {
            "Schedule": [strong(schedule)],
            "Seed": str(seed),
            "Status": status,
            "Plans": f"{len(plans)}: {', '.join(plans)}",
            "Error of the training": errors.get((schedule, seed)) or words.NOTHING,
        }
        for (schedule, seed, status), plans in levels.unfinished.groupby(key, sort=False)["plan"]
    ]
    caption = "They have no numbers anywhere in this report."
    widths = [0.16, 0.06, 0.12, 0.33, 0.33]
    page.table(pd.DataFrame(rows), caption, widths=widths, numeric_from=9)


def every_plan(page: Page, levels: Levels, frontiers: Sequence[Frontier] = ()) -> None:
    """A table a schedule of all of its plans; with how often each is on the `frontiers`."""
    page.heading("All plans")
    table = levels.table
    kv = table[table["metric"] == KV]
    kv = kv.assign(text=kv["value"].map(words.size))
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
    rows = pd.concat([estimates(shown, "value", signed=False), kv, fronts])
    said = " Front: share of training seeds in which the plan is on the front of all schedules' "
    said += "trained plans (KV against the metric); none where it was not trained for."
    for schedule, mine in by_plan(rows, columns).groupby("Schedule", sort=False):
        page.table(
            mine.drop(columns="Schedule"),
            f"{schedule}: every plan, mean and 95 % interval.{said if frontiers else ''}",
        )
