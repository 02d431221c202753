"""The tables of the pareto report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.claims.ledger import Component, LedgerRow, deciding_metrics
from analysis.metrics import Metric, parse_metric
from analysis.statistics.fronts import KV, NON_INFERIORITY_NATS, ChosenPlan, front_probability
from analysis.statistics.intervals import SIGNIFICANCE
from reports.pareto.findings import ParetoFindings
from reports.parts import words
from reports.parts.blocks import Text, code, paragraph, strong, table
from reports.parts.record import ParetoRecord, SupernetRecord

STAR = "*"
SIGNS = {1: "supports", 0: "open", -1: "contradicts"}


def _unit(metric: Metric) -> str:
    return f" [{metric.unit}]" if metric.unit else ""


def _interval(value: float, low: float, high: float, *, signed: bool) -> str:
    if low == high == value:
        return words.number(value, signed=signed)
    return words.estimate(value, low, high, signed=signed)


def component_words(component: Component) -> str:
    """`full: fixed 1 worse than fixed 0.1, NLL +0.24 [0.22, 0.26]`."""
    i = component.interval
    if component.metric is None:
        return f"{component.label} {words.percent(i.estimate)}"
    margin = f", margin {words.number(component.margin)}" if component.margin is not None else ""
    value = _interval(i.estimate, i.low, i.high, signed=True)
    return f"{component.label}, {component.metric.short} {value}{margin}"


def _estimates(components: Sequence[Component]) -> str:
    """The estimates of a claim, one label with all of its metrics."""
    by_label: dict[str, list[str]] = {}
    for c in components:
        i = c.interval
        if c.metric is None:
            by_label.setdefault(c.label, []).append(words.percent(i.estimate))
        else:
            value = _interval(i.estimate, i.low, i.high, signed=True)
            by_label.setdefault(c.label, []).append(f"{c.metric.short} {value}")
    return "; ".join(f"{label}: {', '.join(values)}" for label, values in by_label.items())


def ledger_table(ledger: Sequence[LedgerRow]) -> dict[str, Any]:
    """Claim, what was published, what we found, where, and the verdict."""
    rows = []
    for row in ledger:
        ours = _estimates(row.components) or row.reason
        verdict: list = [strong(row.verdict.value)]
        if row.reason and row.components:
            verdict.append(f" ({row.reason})")
        rows.append(
            [
                [strong(row.claim.id)],
                row.claim.sentence,
                row.claim.published,
                ours,
                row.setting + (f": {row.rests_on}" if row.rests_on else ""),
                verdict,
            ]
        )
    return table(
        caption=(
            "Claim ledger. Ours: paired differences with 95 % interval (positive is worse), gaps "
            "beyond a front (positive is beyond), shares of memory. Margins and rules were fixed "
            "before any run (analysis/claims/ledger.py)."
        ),
        columns=["", "Claim", "Published", "Ours", "Setting, and what it rests on", "Verdict"],
        rows=rows,
        widths=[0.05, 0.19, 0.17, 0.28, 0.18, 0.15],
        numeric_from=9,
        small=True,
    )


def component_table(ledger: Sequence[LedgerRow]) -> dict[str, Any] | None:
    """Every test behind a verdict."""
    rows: list[list[Text]] = []
    groups = []
    for row in ledger:
        tested = [c for c in row.components if c.metric is not None]
        if not tested:
            continue
        groups.append(len(tested))
        for i, c in enumerate(tested):
            kind = "difference" if c.margin is None else f"within ±{words.number(c.margin)}"
            label = c.label + (f" ({c.note})" if c.note else "")
            rows.append(
                [
                    [strong(row.claim.id)] if i == 0 else "",
                    label,
                    c.metric.short,
                    _interval(c.interval.estimate, c.interval.low, c.interval.high, signed=True),
                    kind,
                    words.p_value(c.p_holm),
                    str(len(c.seeds)),
                    SIGNS[c.outcome],
                ]
            )
    if not rows:
        return None
    return table(
        caption=(
            "The tests behind the ledger. NLL in nats/token on test images, FD without unit. "
            "Student's t with 95 % interval over training seeds (over the sets of one model where "
            "there is one seed); a margin is tested by two one-sided tests; p is Holm-adjusted "
            "over the tests of its claim."
        ),
        columns=["", "Estimate of", "Metric", "Value", "Tested", "p", "Seeds", "Says"],
        rows=rows,
        widths=[0.05, 0.29, 0.08, 0.2, 0.13, 0.12, 0.06, 0.12],
        numeric_from=9,
        small=True,
        groups=groups,
    )


def _metrics(table_: pd.DataFrame) -> list[Metric]:
    order = ("fd", "fid", "kid", "class_accuracy", "nll")
    found = [parse_metric(name) for name in table_["metric"].unique()]
    wanted = [m for m in found if m.kind in order and m.scale is None and m.split == "test"]
    return sorted(wanted, key=lambda m: order.index(m.kind))


def level_rows(
    levels: pd.DataFrame, cells: Sequence[str], schedules: Sequence[str]
) -> dict[str, Any] | None:
    """Every schedule's full network and trained subnets."""
    metrics = _metrics(levels)
    rows: list[list[Text]] = []
    groups = []
    for schedule in schedules:
        mine = levels[levels["schedule"] == schedule]
        shown = [cell for cell in cells if (mine["cell"] == cell).any()]
        if not shown:
            continue
        groups.append(len(shown))
        for i, cell in enumerate(shown):
            by_metric = mine[mine["cell"] == cell].set_index("metric")
            hollow = "" if bool(by_metric["trained"].iloc[0]) else " (untrained)"
            rows.append(
                [
                    [strong(schedule)] if i == 0 else "",
                    words.unbroken(cell + hollow),
                    *(_level(by_metric, m) for m in metrics),
                ]
            )
    if not rows:
        return None
    first = levels[levels["over"] != "exact"]
    over = "training seeds" if (first["over"] == "seeds").any() else "disjoint sets of one model"
    return table(
        caption=(
            "Levels on test images and samples: mean and 95 % interval (Student's t over "
            f"{over}). The control trains no subnet: its subnets are the base's, trained on."
        ),
        columns=["Schedule", "Plan", *(m.short + _unit(m) for m in metrics)],
        rows=rows,
        numeric_from=2,
        small=True,
        groups=groups,
    )


def _level(by_metric: pd.DataFrame, metric: Metric) -> str:
    if metric.name not in by_metric.index:
        return words.NOTHING
    row = by_metric.loc[metric.name]
    return words.unbroken(words.estimate(row["value"], row["low"], row["high"], signed=False))


def spread_rows(levels: pd.DataFrame, cells: Sequence[str]) -> dict[str, Any] | None:
    """The two spreads, side by side."""
    if not (levels["over"] == "seeds").any():
        return None
    metrics = _metrics(levels)
    rows: list[list[Text]] = []
    for cell in cells:
        mine = levels[(levels["cell"] == cell) & levels["trained"]]
        if mine.empty:
            continue
        cell_row: list[Text] = [words.unbroken(cell)]
        for metric in metrics:
            of = mine[mine["metric"] == metric.name]
            seed = math.sqrt(float((of["seed_sd"] ** 2).mean()))
            sample = math.sqrt(float((of["sample_sd"] ** 2).mean()))
            cell_row.append(f"{words.number(seed, digits=2)} / {words.number(sample, digits=2)}")
        rows.append(cell_row)
    return table(
        caption=(
            "Two spreads apart, pooled over schedules: standard deviation between models of one "
            "schedule that differ in the training seed, and standard error of measuring one model "
            "from its disjoint sets, which the former contains."
        ),
        columns=["Plan", *(f"{m.short}: seeds / samples" for m in metrics)],
        rows=rows,
        numeric_from=1,
        small=True,
    )


def difference_rows(
    differences: pd.DataFrame, cells: Sequence[str], record: ParetoRecord
) -> dict[str, Any] | None:
    """Every schedule against the control."""
    mine = differences[differences["cell"].isin(cells)]
    if mine.empty:
        return None
    metrics = _metrics(mine)
    rows: list[list[Text]] = []
    groups = []
    for schedule in record.schedules:
        of = mine[mine["schedule"] == schedule]
        shown = [cell for cell in cells if (of["cell"] == cell).any()]
        if not shown:
            continue
        groups.append(len(shown))
        for i, cell in enumerate(shown):
            by_metric = of[of["cell"] == cell].set_index("metric")
            values = []
            for metric in metrics:
                if metric.name not in by_metric.index:
                    values.append(words.NOTHING)
                    continue
                row = by_metric.loc[metric.name]
                mark = STAR if row["p_holm"] < SIGNIFICANCE else ""
                values.append(
                    words.unbroken(words.estimate(row["damage"], row["low"], row["high"]) + mark)
                )
            rows.append([[strong(schedule)] if i == 0 else "", words.unbroken(cell), *values])
    over = "training seeds" if (mine["over"] == "seeds").any() else "disjoint sets of one model"
    return table(
        caption=(
            "Against the control, the base trained on without subnet steps: paired difference of "
            "the same plan, positive is worse (for accuracy: lost), 95 % interval over "
            f"{over}; {STAR} marks p < 0.05 after Holm's correction over the schedules."
        ),
        columns=["Schedule", "Plan", *(m.damage + _unit(m) for m in metrics)],
        rows=rows,
        numeric_from=2,
        small=True,
        groups=groups,
    )


def chosen_table(chosen: Sequence[ChosenPlan], frame: pd.DataFrame) -> dict[str, Any]:
    """The best plan for each memory budget."""
    if not chosen:
        return paragraph("No plan fits any of the memory budgets.")
    metrics = deciding_metrics(frame)
    rows: list[list[Text]] = []
    for plan in chosen:
        loss = words.NOTHING
        if plan.loss is not None:
            loss = words.unbroken(words.estimate(plan.loss.estimate, plan.loss.low, plan.loss.high))
        said = {True: "yes", False: "no", None: words.NOTHING}[plan.non_inferior]
        rows.append(
            [
                words.percent(plan.kv_share_limit),
                words.unbroken(f"{plan.schedule} {plan.cell}"),
                words.percent(plan.kv_share),
                words.fixed(plan.select_nll, 3),
                *(
                    words.unbroken(words.estimate(i.estimate, i.low, i.high, signed=False))
                    if (i := plan.test.get(m.name))
                    else words.NOTHING
                    for m in metrics
                ),
                loss,
                said,
            ]
        )
    return table(
        caption=(
            "The best plan within each share of the full network's peak KV: chosen by mean NLL on "
            "select images over all schedules and plans, reported on test images with 95 % "
            "interval. Loss: paired test NLL against the control's full network with its 90 % "
            f"interval; no worse: that interval ends below {NON_INFERIORITY_NATS} nats/token "
            "(one-sided test at 5 %). Exported as plan-*.json."
        ),
        columns=[
            "KV up to",
            "Plan",
            "KV",
            "select NLL",
            *(m.short for m in metrics),
            "Loss",
            "No worse",
        ],
        rows=rows,
        numeric_from=2,
        small=True,
    )


def model_rows(record: SupernetRecord) -> dict[str, Any]:
    """Every model that was to be trained, whatever became of it."""
    rows: list[list[Text]] = []
    for model in record.models:
        flops = model.get("training_flops")
        share = model.get("realised_share")
        rows.append(
            [
                [strong(str(model["schedule"]))],
                str(model["seed"]),
                str(model["status"]),
                f"{model['image_passes']:,}" if model.get("image_passes") else words.NOTHING,
                f"{model['full_passes']:,}" if model.get("full_passes") else "0",
                words.number(flops) if flops else words.NOTHING,
                words.fixed(share, 3) if isinstance(share, int | float) else words.NOTHING,
                words.seconds(model["seconds"]) if model.get("seconds") else words.NOTHING,
                [code(str(model.get("sha256") or "")[:12] or words.NOTHING)],
            ]
        )
    return table(
        caption=(
            "Models: image passes, how many of them through the full network, training FLOPs "
            "(forward and backward), share of subnet steps as drawn, process time, and the "
            "weights' digest."
        ),
        columns=[
            "Schedule",
            "Seed",
            "Status",
            "Passes",
            "Full",
            "FLOPs",
            "Share",
            "Time",
            "Weights",
        ],
        rows=rows,
        numeric_from=3,
        small=True,
    )


def unfinished_rows(bad: pd.DataFrame, record: SupernetRecord) -> dict[str, Any]:
    """Cells without numbers: nothing stands for them anywhere."""
    if bad.empty:
        return paragraph("None: every cell of the study finished.")
    errors = {(m["schedule"], m["seed"]): m.get("error") for m in record.models}
    rows = []
    for (schedule, seed, status), cells in bad.groupby(["schedule", "seed", "status"], sort=False):
        rows.append(
            [
                [strong(str(schedule))],
                str(seed),
                str(status),
                f"{len(cells)}: " + ", ".join(cells["cell"]),
                str(errors.get((schedule, seed)) or words.NOTHING),
            ]
        )
    return table(
        caption="They have no numbers anywhere in this report.",
        columns=["Schedule", "Seed", "Status", "Plans", "Error of the training"],
        rows=rows,
        widths=[0.16, 0.06, 0.12, 0.33, 0.33],
        numeric_from=9,
        small=True,
    )


def every_plan(found: ParetoFindings) -> list[dict[str, Any]]:
    """All plans, with how often each is on the front."""
    deciding = deciding_metrics(found.frame)
    fronts = {
        (metric.name, row.schedule, row.cell): row.probability
        for metric in deciding
        for row in front_probability(
            found.frame, metric, full_kv=found.record.kv_full_bytes
        ).itertuples()
    }
    return plan_tables(found.levels, found.record.schedules, deciding=deciding, fronts=fronts)


def plan_tables(
    levels: pd.DataFrame,
    schedules: Sequence[str],
    *,
    deciding: Sequence[Metric] = (),
    fronts: Mapping[tuple[str, str, str], float] | None = None,
) -> list[dict[str, Any]]:
    """One table a schedule: all plans with intervals and costs.

    Args:
        fronts: (metric, schedule, cell) to the share of seeds in which it is on the front.
    """
    metrics, fronts = _metrics(levels), fronts or {}
    said = (
        " Front: share of training seeds in which the plan is on the front of all schedules' "
        "trained plans (KV against the metric); none where it was not trained for."
        if deciding
        else ""
    )
    tables = []
    for schedule in schedules:
        mine = levels[levels["schedule"] == schedule]
        rows: list[list[Text]] = []
        for cell in mine["cell"].unique():
            by_metric = mine[mine["cell"] == cell].set_index("metric")
            on_front = [
                words.percent(fronts[m.name, schedule, cell])
                if (m.name, schedule, cell) in fronts
                else words.NOTHING
                for m in deciding
            ]
            rows.append(
                [
                    words.unbroken(cell),
                    words.size(float(by_metric["value"].get(KV, math.nan))),
                    *(_level(by_metric, m) for m in metrics),
                    *on_front,
                ]
            )
        if rows:
            columns = ["Plan", "KV peak", *(m.short for m in metrics)]
            tables.append(
                table(
                    caption=f"{schedule}: every plan, mean and 95 % interval.{said}",
                    columns=[*columns, *(f"front, {m.short}" for m in deciding)],
                    rows=rows,
                    numeric_from=1,
                    small=True,
                )
            )
    return tables
