"""The sentences of the pareto report: answer, captions, negative results, cost, limits."""

from typing import Any

import pandas as pd

from analysis.claims.rules import LEAST_SEEDS, Component, LedgerRow
from analysis.figures.frontier import frontier_limits
from analysis.metrics import Metric
from analysis.statistics.fronts import NON_INFERIORITY_NATS, Frontier
from analysis.statistics.intervals import Interval, Verdict
from analysis.study_file import ParetoFile
from reports.pareto.findings import ParetoFindings
from reports.parts import words
from reports.parts.page import Text, strong
from reports.parts.report import picked


def verdict_words(ledger: tuple[LedgerRow, ...]) -> str:
    """The verdicts that were reached, in the order of the claims: "C2 reproduced, ..."."""
    reached = [row for row in ledger if row.verdict is not Verdict.UNTESTED]
    said = ", ".join(f"{row.claim.id} {row.verdict.value}" for row in reached)
    return said or "no claim could be tested"


def measured(i: Interval) -> str:
    """An estimate with its interval, unless it is exact."""
    if i.low == i.high == i.estimate:
        return words.number(i.estimate, signed=True)
    return words.interval(i)


def _value(component: Component) -> str:
    """`NLL +0.24 [0.22, 0.26]`, or `42 %` of what is arithmetic."""
    i = component.interval
    if component.metric is None:
        return words.percent(i.estimate)
    return f"{component.metric.short} {measured(i)}"


def ours(row: LedgerRow) -> str:
    """What was found of a claim, by what it is an estimate of."""
    by_label: dict[str, list[str]] = {}
    for component in row.components:
        by_label.setdefault(component.label, []).append(_value(component))
    return "; ".join(f"{label}: {', '.join(values)}" for label, values in by_label.items())


def over(table: pd.DataFrame) -> str:
    """What the intervals of a table run over, from its column `over`."""
    return "training seeds" if "seeds" in set(table["over"]) else "disjoint sets of one model"


def answer_words(found: ParetoFindings) -> Text:
    """The answer in a paragraph."""
    seeds = len(found.study.seeds)
    verdicts: list[Text] = []
    for verdict in Verdict:
        rows = [row.claim for row in found.ledger if row.verdict is verdict]
        if rows and verdict is not Verdict.UNTESTED:
            named = words.listed([f"{claim.id} ({claim.short})" for claim in rows])
            verdicts += [strong(verdict.value[0].upper() + verdict.value[1:]), f": {named}. "]
    said = "; ".join(
        f"within {words.percent(plan.kv_share_limit)} of the full network's KV {plan.schedule} "
        f"{plan.plan.label} ({words.percent(plan.kv_share)}) at {words.interval(plan.loss)}"
        for plan in found.chosen
        if plan.loss is not None
    )
    few = f"{seeds} training seeds; a verdict needs {LEAST_SEEDS}. " if seeds < LEAST_SEEDS else ""
    one = "One training seed: training variance is not measured, so no claim is called reproduced. "
    chosen = (
        "Chosen on select images, the best plans cost on test images, in NLL nats/token against "
        f"the control's full network (90 % interval): {said}."
    )
    return [one if seeds == 1 else few, verdicts, chosen if said else ""]


def frontier_caption(found: ParetoFindings, data: Frontier) -> str:
    low, high = frontier_limits(data)
    beyond = int((~data.plans["value"].between(low, high)).sum())
    budgets = words.listed([words.percent(share) for share in found.study.kv_budgets])
    text = (
        "A panel a schedule. Filled: plans that its models were trained for; hollow: other switch "
        "points, which decide nothing. Grey staircase: the non-dominated front of all schedules' "
        "filled points. Dotted line: the full network's own peak KV "
        f"({words.size(found.study.kv_full_bytes)} an image); pale lines: the memory limits "
        f"{budgets}. "
    )
    if len(found.study.seeds) > 1:
        text += "Coloured staircases: attainment surfaces over the seeds, the median solid, best "
        text += "and worst dotted. "
    if beyond:
        text += f"{words.counted(beyond, 'point')} lie above the panels. "
    return text + _basis(found, data.metric)


def trade_caption(found: ParetoFindings, metric: Metric) -> str:
    several = len(found.study.seeds) > 1
    bars = "crosses: 95 % intervals over seeds, dots: seeds" if several else "one seed, no interval"
    return (
        "A point a schedule, lower left is better; the control trains no subnet. Grey line: the "
        f"interpolated front of the fixed shares (claims C2 and C3); {bars}. "
        + _basis(found, metric)
    )


def _basis(found: ParetoFindings, metric: Metric) -> str:
    table = found.levels.table
    row = table[table["metric"] == metric.name].iloc[0]
    each = int(row["count"]) // int(row["seeds"])
    what = f"{metric.label} ({metric.name})" if metric.extractor else metric.label
    seeds = words.counted(int(row["seeds"]), "training seed")
    return f"{what}: {each:,} images or samples a model in {row['sets']} sets, {seeds}."


def hypervolume_caption(found: ParetoFindings) -> str:
    corner = found.study.reference_point
    plans = words.listed([str(count) for count in sorted(set(found.hypervolumes["points"]))])
    return (
        "Area between the front of a model's trained plans and a reference point, as a share of "
        "the reference rectangle; more is better. Reference point, fixed in the config: kv_share "
        f"{words.number(corner.kv_share)}, nll/mean {words.number(corner.nll)}, fd "
        f"{words.number(corner.fd)}. Each schedule enters with the same {plans} plans; the "
        "control trains no subnets and has no front. Ticks: seeds; bars: 95 % interval over them."
    )


def negative_results(found: ParetoFindings) -> list[Text]:
    """What did not come out, said as plainly as what did."""
    items: list[Text] = [
        [
            strong(f"{row.claim.id}, {row.verdict.value}. "),
            _tests(row, -1, "Against it"),
            _tests(row, 0, "Neither for nor against"),
            f"({row.reason}.)" if row.reason else "",
        ]
        for row in found.ledger
        if row.verdict not in (Verdict.REPRODUCED, Verdict.UNTESTED)
    ]
    items += [
        f"No plan within {words.percent(plan.kv_share_limit)} of the KV is shown to be no worse "
        f"than the control's full network by less than {NON_INFERIORITY_NATS} nats/token: the one "
        f"chosen, {plan.schedule} {plan.plan.label}, is not."
        for plan in found.chosen
        if plan.non_inferior is False
    ]
    return items


def _tests(row: LedgerRow, outcome: int, said: str) -> str:
    """`Against it: full: fixed 1 worse than fixed 0.1, NLL +0.24 [0.22, 0.26], margin 0.02. `"""
    tests = []
    for c in row.components:
        if c.outcome == outcome:
            between = " " if c.metric is None else ", "
            margin = "" if c.margin is None else f", margin {words.number(c.margin)}"
            tests.append(f"{c.label}{between}{_value(c)}{margin}")
    return f"{said}: {'; '.join(tests)}. " if tests else ""


def cost_words(study: ParetoFile) -> str:
    training = sum(model.seconds or 0.0 for model in study.models)
    return (
        f"Training {words.seconds(training)} of process time for "
        f"{words.counted(len(study.models), 'model')}; evaluation "
        f"{words.seconds(max(0.0, study.seconds.cells - training))}; the last invocation took "
        f"{words.seconds(study.seconds.wall)} of wall time. A budget counts image passes through "
        "the network, full or not; training FLOPs stand beside it, since subnet steps are cheaper."
    )


def limits(found: ParetoFindings) -> list[Text]:
    """What the study cannot say."""
    study = found.study
    return [
        "One training seed: intervals run over the disjoint sets of one model each and say how "
        "well it was measured, not how much models trained alike differ."
        if len(study.seeds) == 1
        else "",
        "One base network, one tokenizer: seeds vary the order of the data and the draws of "
        "steps, not what training starts from.",
        words.analogue("The claims were", study.dataset.name),
        ""
        if any(metric.kind == "fid" for metric in found.metrics)
        else "The Fréchet distance is on a small network's features: it is not FID, compares only "
        "with itself at equal sample counts, and is biased upwards at these counts.",
        "The learning rate's schedule is a confound: a cosine starves the last phase of every "
        "schedule, and the progressive one trains its subnets there "
        f"(this study: {study.lr_schedule}).",
        "Points whose switch is not the trained one are hollow in the figures and decide nothing.",
    ]


def answer_json(found: ParetoFindings) -> dict[str, Any]:
    """What `answer.json` says: ledger, chosen plans, hypervolumes, cells without numbers."""
    chosen = ("kv_share_limit", "kv_share", "schedule", "seed", "select_nll", "non_inferior")
    columns = ["schedule", "metric", "value", "low", "high", "seeds"]
    return {
        "ledger": [
            {"claim": row.claim.id, "verdict": row.verdict.value}
            | picked(row, "setting", "reason", "rests_on")
            | {"components": [_component_json(c) for c in row.components]}
            for row in found.ledger
        ],
        "chosen": [picked(plan, *chosen) | {"plan": plan.plan.label} for plan in found.chosen],
        "unfinished_cells": [
            f"{row.schedule} s{row.seed} {row.plan}: {row.status}"
            for row in found.levels.unfinished.itertuples()
        ],
        "hypervolume": found.hypervolumes[columns].to_dict("records"),
    }


def _component_json(c: Component) -> dict[str, Any]:
    ends = picked(c.interval, "estimate", "low", "high")
    own = picked(c, "label", "margin", "p_holm", "outcome", "seeds")
    return own | ends | {"metric": c.metric and c.metric.name}
