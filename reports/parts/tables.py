"""Tables of several reports: every cell of a study, and what studies that train say of theirs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from analysis import numbers
from analysis.claims.rules import EVERY, undecided
from analysis.frame import FINISHED, PENDING, headline_metrics
from analysis.metrics import Metric, parse_metric
from analysis.statistics.fronts import KV, Frontier
from analysis.statistics.intervals import SIGNIFICANCE, holm
from analysis.statistics.levels import Levels
from analysis.statistics.units import NOTHING, Observations, observed
from analysis.study_file import REAL, ModelFacts, ScaleZone, StudyFile, SupernetFile, with_selector
from reports.parts import words
from reports.parts.metrics import headings
from reports.parts.page import Page, Text, code, strong

ALL_FINISHED = "None: every cell of the study finished."
CELL = ["schedule", "family", "plan", "selector"]
Of = Literal["value", "excess", "damage", "front"]  # what a table shows of a metric


def cell_table(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a plan of each way to train, over the units, real images included.

    Columns: `name`, `family`, `status` (finished where any unit is), `kv` (bytes, NaN where not
    measured), `units` (that finished), and for each headline metric `<metric>` with the ends
    `<metric> low`, `<metric> high` of its 95 % interval, and `<metric> damage` with `... damage
    low`, `... damage high`, `... damage p` (Holm-adjusted over the rows): unit by unit against the
    full network of the same schedule, positive being worse.
    """
    values = observed(frame, [*CELL, "metric"])
    cells = frame.drop_duplicates(CELL).reset_index(drop=True)
    keys = _keys(cells)
    kv = [values.get((*key, KV), NOTHING).mean for key in keys]
    finished: dict[tuple[Any, ...], int] = {}
    for key, one in values.items():
        finished[key[:-1]] = max(finished.get(key[:-1], 0), len(one.units))
    units = [finished.get(key, 0) for key in keys]
    status = [FINISHED if n else s for n, s in zip(units, cells["status"], strict=True)]
    named = {"name": [_name(*key) for key in keys], "family": [key[1] for key in keys]}
    table = pd.DataFrame({**named, "status": status, "kv": kv, "units": units})
    full = {key[0]: key for key in keys if key[1] == "full"}
    for metric in headline_metrics(frame):
        own = [values.get((*key, metric.name), NOTHING) for key in keys]
        _add_estimates(table, metric.name, own)
        whole = [values.get((*full.get(key[0], key), metric.name), NOTHING) for key in keys]
        lost = [
            NOTHING if key[1] in ("full", REAL) else a.minus(b).times(metric.damage_sign)
            for key, a, b in zip(keys, own, whole, strict=True)
        ]
        name = f"{metric.name} damage"
        _add_estimates(table, name, lost)
        table[f"{name} p"] = holm([o.interval().p_value if o else math.nan for o in lost])
    return table


def _add_estimates(table: pd.DataFrame, name: str, found: Sequence[Observations]) -> None:
    intervals = [one.bounds() for one in found]
    for suffix, end in ("", "estimate"), (" low", "low"), (" high", "high"):
        table[name + suffix] = [math.nan if i is None else getattr(i, end) for i in intervals]


def _keys(cells: pd.DataFrame) -> list[tuple[Any, ...]]:
    """The values of `CELL` in each row, None where they are missing."""
    key = cells[CELL].astype(object)
    return list(key.where(key.notna(), None).itertuples(index=False, name=None))


def _name(schedule: Any, family: Any, plan: Any, selector: Any) -> str:
    """Of the values of `CELL`, where plans of several families and selectors stand together."""
    if family == REAL:
        return "real images"
    if family in ("two-zone", "found"):
        plan = f"{family} {plan}"
    elif family == "selector":
        plan = f"{plan} {selector}"
    else:
        plan = with_selector(plan, selector)
    return " ".join(filter(None, (schedule, plan)))


def over_words(cells: pd.DataFrame) -> str:
    """What the intervals of a table with a column `units` run over."""
    return words.over(int(cells["units"].max()))


def add_cell_tables(
    page: Page, study: StudyFile, cells: pd.DataFrame, metrics: Sequence[Metric]
) -> None:
    """The two tables of what `cell_table` made: levels, and damage against the full network."""
    known = [m for m in metrics if m.name in cells]
    shown = cells.copy()
    for metric in known:  # a plan of any kind may drop layers at any scale
        p = f"{metric.name} damage p"
        shown[p] = shown[p].where([votes(study, metric.name, n, EVERY) for n in shown["units"]])
    page.table(
        level_texts(cells if known else cells[:0], known),
        f"Every plan: mean with 95 % interval by {over_words(cells)}. Real images are "
        "reconstructions of held-out ones, scored as samples are: the floor.",
    )
    named = headings(known, "damage")
    damages = {text: f"{name} damage" for name, text in named.items()}
    page.table(
        _texts(shown.dropna(how="all", subset=list(damages.values())), damages, signed=True),
        "Every plan against full: paired damage, positive being worse, with 95 % interval by "
        f"{over_words(cells)}; {words.STAR} marks p < 0.05 after Holm's correction over the plans, "
        f"{words.UNMARKED}.",
    )


def votes(study: StudyFile, metric: str, units: int, zones: Sequence[ScaleZone]) -> bool:
    """Whether a test of so many units by this metric has a mark: by the rules of all claims, since
    a star is read as a verdict."""
    return not undecided(study, parse_metric(metric), units, zones)


def level_texts(cells: pd.DataFrame, metrics: Sequence[Metric]) -> pd.DataFrame:
    """Names, and the level by each metric; the status of cells that have none."""
    shown = {text: name for name, text in headings(metrics).items()}
    texts = _texts(cells, shown, signed=False)
    lost = cells["status"] != FINISHED
    return texts.mask(texts.eq(numbers.NOTHING).mul(lost, axis=0), cells["status"], axis=0)


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
        numbers.estimate(*estimate, signed=signed) + (words.STAR if p < SIGNIFICANCE else "")
        for *estimate, p in shown.itertuples(index=False)
    ]
    return pd.Series(texts, shown.index, dtype=object).map(words.unbroken)


def unfinished(frame: pd.DataFrame) -> list[str]:
    """Names of the cells of a frame that have no numbers, with their units where it has several."""
    lost = frame[~frame["status"].isin((FINISHED, PENDING))].drop_duplicates([*CELL, "unit"])
    several = frame["unit"].nunique() > 1
    units = [f" (unit {unit})" if several else "" for unit in lost["unit"]]
    return [_name(*key) + unit for key, unit in zip(_keys(lost), units, strict=True)]


def add_failed_cells(page: Page, failed: Sequence[str]) -> None:
    """The section that names cells without numbers."""
    page.heading("Failed cells")
    said = f"{words.counted(len(failed), 'cell')} failed. No numbers: {', '.join(failed)}."
    page.paragraph(said if failed else ALL_FINISHED)


def add_models(page: Page, study: SupernetFile, levels: Levels) -> None:
    """Every model that was to be trained, whatever became of it, and the cells without numbers."""
    page.table(
        pd.DataFrame([_model(model) for model in study.models]),
        "Models: unit and training seed, image passes, how many of them through the full network, "
        "training FLOPs (forward and backward), share of subnet steps as drawn, process time, and "
        "the weights' digest.",
        numeric_from=4,
    )
    page.heading("Cells without numbers")
    if levels.unfinished.empty:
        page.paragraph(ALL_FINISHED)
    errors = {(model.schedule, model.unit, model.seed): model.error for model in study.models}
    key = ["schedule", "unit", "seed", "status"]
    rows = [
        {
            "Schedule": strong(schedule),
            "Unit": str(unit),
            "Status": status,
            "Plans": f"{len(plans)}: {', '.join(plans)}",
            "Error of the training": errors.get((schedule, unit, seed)) or numbers.NOTHING,
        }
        for (schedule, unit, seed, status), plans in levels.unfinished.groupby(key, sort=False)[
            "plan"
        ]
    ]
    caption = "They have no numbers anywhere in this report."
    page.table(pd.DataFrame(rows), caption, widths=[0.16, 0.06, 0.12, 0.33, 0.33])


def _model(model: ModelFacts) -> dict[str, Text]:
    flops, share = model.training_flops, model.realised_share
    return {
        "Schedule": strong(model.schedule),
        "Unit": str(model.unit),
        "Seed": str(model.seed),
        "Status": model.status,
        "Passes": f"{model.image_passes:,}" if model.image_passes else numbers.NOTHING,
        "Full": f"{model.full_passes:,}",
        "FLOPs": numbers.number(flops) if flops else numbers.NOTHING,
        "Share": numbers.NOTHING if share is None else numbers.fixed(share, 3),
        "Time": numbers.seconds(model.seconds) if model.seconds else numbers.NOTHING,
        "Weights": code((model.sha256 or numbers.NOTHING)[:12]),
    }


def with_texts(table: pd.DataFrame, of: Of) -> pd.DataFrame:
    """`table` with `of` and `text`: its column of that name with `low` and `high`; all but values
    have their sign."""
    shown = table.reindex(columns=[of, "low", "high", "p_holm"])
    return table.assign(of=of, text=estimate_texts(shown, signed=of != "value"))


def by_plan(rows: pd.DataFrame, columns: Mapping[tuple[str, Of], str]) -> pd.DataFrame:
    """A row a schedule and plan, a column a metric: the one pivot of all reports.

    Args:
        rows: `schedule`, `plan`, `metric`, `of` and `text`, in the order to show.
        columns: metric names, and what of them, to headings, in the order to show.
    """
    shown, key = rows[rows["metric"].isin([name for name, _ in columns])], ["metric", "of"]
    wide = shown.set_index(["schedule", "plan", *key])["text"].unstack(key, sort=False)
    wide = wide.reindex(columns=list(columns)).astype(object).fillna(numbers.NOTHING).reset_index()
    wide = wide.set_axis(["Schedule", "Plan", *columns.values()], axis=1)
    return wide.assign(Plan=wide["Plan"].map(words.unbroken))


def level_columns(levels: Levels, metrics: Sequence[Metric]) -> dict[tuple[str, Of], str]:
    """For `by_plan`: every metric, and its excess over the floor where there is one."""
    columns: dict[tuple[str, Of], str] = {}
    for metric in metrics:
        columns[metric.name, "value"] = metric.heading
        if levels.floor(metric.name):
            columns[metric.name, "excess"] = f"{metric.short} above floor"
    return columns


def level_rows(levels: Levels) -> pd.DataFrame:
    """`Levels.table` of the headline metrics with texts, and rows of the excess over the floor."""
    names = [metric.name for metric in levels.metrics]
    table = with_texts(levels.table[levels.table["metric"].isin(names)], "value")
    plans = {plan.label: plan for plan in levels.plans}
    excess = [
        levels.excess((row.schedule, plans[row.plan]), row.metric) for row in table.itertuples()
    ]
    texts = [words.interval(found.bounds()) for found in excess]
    above = table.assign(of="excess", text=texts)[[bool(found) for found in excess]]
    return pd.concat([table, above], ignore_index=True)


def add_every_plan(
    page: Page, levels: Levels, metrics: Sequence[Metric], frontiers: Sequence[Frontier] = ()
) -> None:
    """A table a schedule of all of its plans, after real images; with how often each is on the
    `frontiers`, or, where there are none and so is room, the excess of what decides."""
    page.heading("All plans")
    table, names = levels.table, [metric.name for metric in metrics]
    sizes = table[table["metric"] == KV]
    sizes = sizes.assign(of="value", text=sizes["value"].map(numbers.size))
    fronts = [
        (schedule, plan, found.metric.name, "front", numbers.percent(share))
        for found in frontiers
        for (schedule, plan), share in found.probability.items()
    ]
    floors = [
        (schedule, REAL, name, "value", words.interval(floor, signed=False))
        for schedule in dict.fromkeys(schedule for schedule, _ in levels.places)
        for name in names
        if (floor := levels.floor(name).bounds())
    ]
    tidy, shown = ["schedule", "plan", "metric", "of", "text"], level_rows(levels)
    columns: dict[tuple[str, Of], str] = {(KV, "value"): "KV peak"}
    for metric in metrics:
        columns[metric.name, "value"] = metric.short
        if metric.kind in ("fd", "fid") and levels.floor(metric.name) and not frontiers:
            columns[metric.name, "excess"] = f"{metric.short} above floor"
    columns |= {(f.metric.name, "front"): f"front, {f.metric.short}" for f in frontiers}
    real, front = (pd.DataFrame(rows, columns=tidy) for rows in (floors, fronts))
    rows = pd.concat([real, shown[shown["metric"].isin(names)], sizes, front])
    said = " Real: held-out images, reconstructed and scored as samples are, the floor."
    said = said if floors else ""
    if frontiers:
        said += " Front, descriptive, since it is picked on what it shows: share of units in which "
        said += "the plan is on the front of all schedules' trained plans (KV against the metric); "
        said += "none where it was not trained for."
    for schedule, mine in by_plan(rows, columns).groupby("Schedule", sort=False):
        page.table(
            mine.drop(columns="Schedule"),
            f"{schedule}: every plan, mean and 95 % interval by {over_words(table)}.{said}",
        )
