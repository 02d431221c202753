"""The tables of the pareto report, added to its page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.claims.claim import Component, LedgerRow
from analysis.statistics.fronts import NON_INFERIORITY_NATS
from analysis.statistics.intervals import Interval
from reports.pareto.findings import ParetoFindings
from reports.parts import words
from reports.parts.blocks import Text, strong
from reports.parts.cell_tables import STAR
from reports.parts.page import Page
from reports.parts.supernet_tables import by_plan, estimates, over_words

SIGNS = {1: "supports", 0: "open", -1: "contradicts"}


def value_words(component: Component) -> str:
    """`NLL +0.24 [0.22, 0.26]`, or `42 %` of what is arithmetic."""
    i = component.interval
    if component.metric is None:
        return words.percent(i.estimate)
    return f"{component.metric.short} {_interval(i)}"


def _interval(i: Interval) -> str:
    if i.low == i.high == i.estimate:
        return words.number(i.estimate, signed=True)
    return words.interval(i)


def ledger_table(page: Page, ledger: Sequence[LedgerRow]) -> None:
    """Claim, what was published, what we found, where, and the verdict."""
    rows: list[dict[str, Text]] = []
    for row in ledger:
        by_label: dict[str, list[str]] = {}
        for component in row.components:
            by_label.setdefault(component.label, []).append(value_words(component))
        ours = "; ".join(f"{label}: {', '.join(values)}" for label, values in by_label.items())
        rests = f": {row.rests_on}" if row.rests_on else ""
        because = f" ({row.reason})" if row.reason and row.components else ""
        rows.append(
            {
                "": [strong(row.claim.id)],
                "Claim": row.claim.sentence,
                "Published": row.claim.published,
                "Ours": ours or row.reason,
                "Setting, and what it rests on": f"{row.setting}{rests}",
                "Verdict": [strong(row.verdict.value), because],
            }
        )
    page.table(
        pd.DataFrame(rows),
        "Claim ledger. Ours: paired differences with 95 % interval (positive is worse), gaps "
        "beyond a front (positive is beyond), shares of memory. Margins and rules were fixed "
        "before any run (analysis/claims).",
        widths=[0.05, 0.19, 0.17, 0.28, 0.18, 0.15],
        numeric_from=9,
    )


def component_table(page: Page, ledger: Sequence[LedgerRow]) -> None:
    """Every test behind a verdict."""
    rows = [
        {
            "": row.claim.id,
            "Estimate of": c.label + (f" ({c.note})" if c.note else ""),
            "Metric": c.metric.short,
            "Value": _interval(c.interval),
            "Tested": "difference" if c.margin is None else f"within ±{words.number(c.margin)}",
            "p": words.p_value(c.p_holm),
            "Seeds": str(len(c.seeds)),
            "Says": SIGNS[c.outcome],
        }
        for row in ledger
        for c in row.components
        if c.metric is not None
    ]
    page.table(
        pd.DataFrame(rows),
        "The tests behind the ledger. NLL in nats/token on test images, FD without unit. "
        "Student's t with 95 % interval over training seeds (over the sets of one model where "
        "there is one seed); a margin is tested by two one-sided tests; p is Holm-adjusted "
        "over the tests of its claim.",
        widths=[0.05, 0.29, 0.08, 0.2, 0.13, 0.12, 0.06, 0.12],
        numeric_from=9,
        grouped=True,
    )


def level_table(page: Page, found: ParetoFindings) -> None:
    """Every schedule's full network and trained subnets."""
    table = _of_metrics(found, found.levels.table)
    hollow = np.where(table["trained"], "", " (untrained)")
    rows = estimates(table.assign(plan=table["plan"] + hollow), "value", signed=False)
    page.table(
        by_plan(rows, {m.name: m.heading for m in found.levels.metrics}),
        "Levels on test images and samples: mean and 95 % interval (Student's t over "
        f"{over_words(table['over'])}). The control trains no subnet: its subnets are the base's, "
        "trained on.",
        numeric_from=2,
        grouped=True,
    )


def spread_table(page: Page, found: ParetoFindings) -> None:
    """The two spreads, side by side; nothing for one seed."""
    table = _of_metrics(found, found.levels.table)
    table = table[table["trained"]]
    if "seeds" not in set(table["over"]):
        return
    squares = table[["seed_sd", "sample_sd"]] ** 2
    spreads = squares.groupby([table["plan"], table["metric"]], sort=False).mean() ** 0.5
    rows = spreads.reset_index().assign(schedule="")
    rows["text"] = [
        f"{words.number(seed, digits=2)} / {words.number(sample, digits=2)}"
        for seed, sample in zip(rows["seed_sd"], rows["sample_sd"], strict=True)
    ]
    columns = {m.name: f"{m.short}: seeds / samples" for m in found.levels.metrics}
    page.table(
        by_plan(rows, columns).drop(columns="Schedule"),
        "Two spreads apart, pooled over schedules: standard deviation between models of one "
        "schedule that differ in the training seed, and standard error of measuring one model "
        "from its disjoint sets, which the former contains.",
    )


def difference_table(page: Page, found: ParetoFindings) -> None:
    """Every schedule against the control."""
    table = _of_metrics(found, found.levels.differences)
    rows = estimates(table, "damage", signed=True)
    page.table(
        by_plan(rows, {m.name: m.damage_heading for m in found.levels.metrics}),
        "Against the control, the base trained on without subnet steps: paired difference of "
        "the same plan, positive is worse (for accuracy: lost), 95 % interval over "
        f"{over_words(table['over'])}; {STAR} marks p < 0.05 after Holm's correction over the "
        "schedules.",
        numeric_from=2,
        grouped=True,
    )


def _of_metrics(found: ParetoFindings, table: pd.DataFrame) -> pd.DataFrame:
    """The headline metrics of the shown plans, plan after plan of each schedule."""
    names = [metric.name for metric in found.levels.metrics]
    shown = table[table["metric"].isin(names) & table["plan"].isin(found.shown)]
    order = {"schedule": [way.name for way in found.levels.ways], "plan": found.shown}
    return shown.sort_values(
        list(order), key=lambda names: names.map(order[str(names.name)].index), kind="stable"
    )


def chosen_table(page: Page, found: ParetoFindings) -> None:
    """The best plan for each memory budget."""
    rows = [
        {
            "KV up to": words.percent(plan.kv_share_limit),
            "Plan": words.unbroken(f"{plan.schedule} {plan.plan.label}"),
            "KV": words.percent(plan.kv_share),
            "select NLL": words.fixed(plan.select_nll, 3),
            **{
                m.short: words.unbroken(words.interval(plan.test.get(m.name), signed=False))
                for m in found.metrics
            },
            "Loss": words.unbroken(words.interval(plan.loss)),
            "No worse": {True: "yes", False: "no", None: words.NOTHING}[plan.non_inferior],
        }
        for plan in found.chosen
    ]
    if not rows:
        page.paragraph("No plan fits any of the memory budgets.")
    page.table(
        pd.DataFrame(rows),
        "The best plan within each share of the full network's peak KV: chosen by mean NLL on "
        "select images over all schedules and plans, reported on test images with 95 % "
        "interval. Loss: paired test NLL against the control's full network with its 90 % "
        f"interval; no worse: that interval ends below {NON_INFERIORITY_NATS} nats/token "
        "(one-sided test at 5 %). Exported as plan-*.json.",
        numeric_from=2,
    )
