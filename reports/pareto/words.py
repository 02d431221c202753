"""The sentences of the pareto report: answer, captions, cost, limits."""

from typing import Any

from analysis import numbers
from analysis.figures.frontier import frontier_limits
from analysis.figures.shares import HIGHEST, LOWEST
from analysis.statistics.choices import ChosenPlan
from analysis.statistics.fronts import CORNER, Frontier
from analysis.statistics.units import LEAST_UNITS
from analysis.study_file import ParetoFile
from reports.pareto.findings import ParetoFindings
from reports.parts import words
from reports.parts.ledger import ledger_json
from reports.parts.metrics import basis
from reports.parts.page import Text
from reports.parts.report import picked


def answer_words(found: ParetoFindings) -> Text:
    """The answer in a paragraph."""
    units = len(found.study.units)
    said = "; ".join(
        f"{numbers.percent(plan.kv_share_limit)} {plan.schedule} {plan.plan.label} "
        f"{'' if found.trained_for(plan) else '(not trained for) '}{losses}"
        for plan in found.chosen
        if (losses := _losses(found, plan))
    )
    few = f"{words.counted(units, 'unit')}; a verdict needs {LEAST_UNITS}. "
    chosen = (
        "Best plans within shares of the full network's KV, chosen on select images, with what "
        f"they lose on test images against the base's full network (90 % intervals): {said}."
    )
    return [few if units < LEAST_UNITS else "", chosen if said else ""]


def _losses(found: ParetoFindings, plan: ChosenPlan) -> str:
    """`FD +0.51 [0.32, 0.70], NLL +0.101 [0.095, 0.107] nats/token`."""
    return ", ".join(
        f"{metric.short} {numbers.interval(plan.losses[metric.name])} {metric.unit}".rstrip()
        for metric in found.metrics
        if metric.name in plan.losses
    )


def shares_caption(found: ParetoFindings) -> str:
    """How to read the main figure."""
    within = found.shares["share"].between(LOWEST, HIGHEST).all()
    beyond = "" if within else "; triangles lie beyond the axis"
    return (
        "Loss of a trained plan against the full network that its training began from, as a share "
        "of what the same plan loses there without training (of the full network: of what half "
        "the layers lose). 0: nothing is left, and below it the plan is better than the full "
        "network was; dotted: as bad as untrained; grey: within the margin of no loss. Circles: "
        "sample quality; diamonds: likelihood, each within its own metric. Bars: Fieller's 90 % "
        f"interval over {words.counted(len(found.study.units), 'unit')}, some narrower than their "
        f"mark, none where the untrained damage is not clear of zero{beyond}."
    )


def frontier_caption(found: ParetoFindings, data: Frontier) -> str:
    low, high = frontier_limits(data)
    beyond = int((~data.plans["value"].between(low, high)).sum())
    budgets = words.listed([numbers.percent(share) for share in found.study.kv_budgets])
    several = len(found.study.units) > 1
    bars = ", with their 95 % intervals over units" if several else " (one unit: without intervals)"
    text = (
        "A panel a schedule that trains subnets. Filled, with their depths: plans that its models "
        f"were trained for{bars}; hollow: other switch points, which decide nothing. Grey "
        "staircase: the non-dominated front of all schedules' filled points, descriptive, since it "
        f"is picked on what it shows. Pale lines: the memory limits {budgets}. "
    )
    if data.floor:
        text += "Band: real images, the floor. "
    if several:
        text += "Coloured staircases, descriptive too: attainment surfaces over the units, the "
        text += "median solid, best and worst dotted. "
    if beyond:
        text += f"{words.counted(beyond, 'point')} lie above the panels. "
    return text + basis(found.levels, data.metric)


def trade_caption(found: ParetoFindings) -> str:
    several = len(found.study.units) > 1
    bars = "crosses: 95 % intervals over units, dots: units" if several else "one unit, no interval"
    bases = " ".join(basis(found.levels, metric) for metric in found.trades)
    return (
        "A point a schedule, named in the last panel, lower left is better; dotted: the control's "
        "full network. Grey line: the interpolated front of the fixed shares (claims C2 and C3); "
        f"bands: real images, the floor; {bars}. {bases}"
    )


def hypervolume_caption(found: ParetoFindings) -> str:
    plans = words.listed([str(count) for count in sorted(set(found.hypervolumes["points"]))])
    return (
        "Area between the front of a model's trained plans and a corner, as a share of the "
        "rectangle up to it; more is better. Axes: peak KV as a share of the full network's, and "
        "the loss against the base's full network as a share of what the shallowest plan, "
        f"{found.shown[-1].label}, loses there untrained: its mean over units, taken as known, so "
        f"that its own chance is not in the bars. The corner is {CORNER[0]:g} and {CORNER[1]:g}. "
        f"Each schedule enters with the same {plans} plans; base and control train no subnets and "
        "have no front. Ticks: units; bars: 95 % interval over them."
    )


def costly(found: ParetoFindings) -> list[Text]:
    """Memory budgets whose chosen plan is not shown to cost nothing."""
    limits: dict[tuple[str, str], list[str]] = {}
    for plan in found.chosen:
        by = [m.short for m in found.metrics if plan.stands_in.get(m.name) is False]
        if by:
            chosen = f"{plan.schedule} {plan.plan.label}", words.listed(by)
            limits.setdefault(chosen, []).append(numbers.percent(plan.kv_share_limit))
    return [
        f"Within {words.listed(of)} of the KV the plan chosen on select images, {chosen}, is not "
        f"shown to lose less than {words.excluded_loss(found.study)} against the base's full "
        f"network, by {by}."
        for (chosen, by), of in limits.items()
    ]


def cost_words(study: ParetoFile) -> str:
    models = {model.digest: model for model in study.models}  # rivals may share the study's own
    training = sum(model.seconds or 0.0 for model in models.values())
    return (
        f"Training {numbers.seconds(training)} of process time for "
        f"{words.counted(len(models), 'model')}; evaluation "
        f"{numbers.seconds(max(0.0, study.seconds.cells - training))}; the last invocation took "
        f"{numbers.seconds(study.seconds.wall)} of wall time. A budget counts image passes through "
        "the network, full or not; training FLOPs stand beside it, since subnet steps are cheaper."
    )


def limits(found: ParetoFindings) -> list[Text]:
    """What the study cannot say."""
    study = found.study
    return [
        words.ONE_UNIT if len(study.units) == 1 else "",
        "One data set, one tokenizer, one feature space: every verdict holds for these alone.",
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
    chosen = ("kv_share_limit", "kv_share", "schedule", "unit", "select_nll", "stands_in")
    columns = ["schedule", "metric", "value", "low", "high", "units"]
    return {
        "ledger": ledger_json(found.ledger),
        "remaining": found.shares.replace([float("inf"), -float("inf")], None).to_dict("records"),
        "chosen": [picked(plan, *chosen) | {"plan": plan.plan.label} for plan in found.chosen],
        "unfinished_cells": [
            f"{row.schedule} u{row.unit} {row.plan}: {row.status}"
            for row in found.levels.unfinished.itertuples()
        ],
        "hypervolume": found.hypervolumes[columns].to_dict("records"),
    }
