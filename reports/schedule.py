"""The report of the schedule study: which ratios, and is any better than the paper's?"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis import numbers
from analysis.claims.rules import undecided
from analysis.figures.colours import FIXED, KINDS
from analysis.figures.schedules import draw_importances, draw_objectives, draw_schedules, draw_slice
from analysis.figures.theme import new_figure
from analysis.metrics import Metric, parse_metric
from analysis.search_file import ScheduleFile, TrialFacts
from analysis.searches import schedules
from analysis.searches.schedules import END, OBJECTIVES, PARAMETERS, SHAPE, START
from analysis.statistics.fronts import trades
from analysis.statistics.levels import Levels, PlanKey
from reports.parts import words
from reports.parts.figures import add_samples, trade_plate
from reports.parts.metrics import judging_metrics, main_metrics
from reports.parts.page import Page, Text, strong
from reports.parts.protocol import supernet_protocol
from reports.parts.report import Report, study_frame
from reports.parts.tables import add_every_plan, add_models

COLOURS = (KINDS["progressive"], FIXED[3], KINDS["reversed"])  # the paper's, at most two winners
SIDES = {1: "worse", -1: "better", 0: "not told apart"}
LIMITS = (
    "Every trial is one training with one seed: ranks that are near each other may be luck, "
    "which is why winners are trained again.",
    "One budget. A cosine learning rate starves the last phase of a schedule, "
    "and so favours schedules that do their work early; --lr-schedule constant removes that.",
    "The paper's point with this budget is a small-scale analogue of its 30 epochs from a "
    "trained VAR-d30.",
    "Importances describe the surrogate forests of a few trials, not causes.",
)


def make_report(folder: Path, study: ScheduleFile) -> Report:
    frame = study_frame(folder, study, training=True)
    levels = Levels(frame)
    trials = schedules.trial_table(study.trials, reference=study.reference)
    subnets = [PlanKey(subnet_depth=d, switch=study.train_switch) for d in study.depths]
    metrics = judging_metrics(study, levels.metrics)
    again = schedules.retrained(levels, metrics, reference=study.reference, subnets=subnets)
    page = Page(
        study,
        "Which training schedule?",
        f"{words.counted(len(study.trials), 'trial')} of {study.budget_images:,} image passes",
        words.counted(len(study.units), "fresh unit"),
    )
    verdict = _verdict(study, again, metrics)
    page.answer(study.question, verdict, _answer(study, len(trials), again, metrics))
    page.heading("Retrained in fresh units, on test images")
    _add_retrained(page, study, again, metrics)
    if found := trades(levels, metrics, subnets):
        lead = "Full network against subnets. "
        trained = (way.name for way in levels.ways if not way.anchor)
        colours = dict(zip(trained, COLOURS, strict=False))
        draw = partial(trade_plate, found, colours, panel=0.9)
        page.figure("trade", draw, lead, _trade_caption(len(study.units)))
    page.heading("The search")
    _add_search(page, study, trials)
    said = "of the retrained models, first fresh unit; the same random numbers in every row."
    add_samples(page, folder, said, lead="Samples ")
    supernet_protocol(page, study, frame)
    page.heading("Retrained models")
    add_models(page, study, levels)
    page.limits([words.ONE_UNIT if len(study.units) == 1 else "", *LIMITS])
    add_every_plan(page, levels, main_metrics(study, levels.metrics))
    rows = again.drop(columns=["p_value", "sign"]).to_dict("records")
    answer = {"winners": dict(study.winners), "retrained": rows}
    return page.report(answer=answer, summary=levels.table)


def _of(again: pd.DataFrame, schedule: str, metric: Metric) -> pd.DataFrame:
    """What a metric says of a winner: of the full network, of the subnets."""
    return again[(again["schedule"] == schedule) & (again["metric"] == metric.name)]


def _verdict(study: ScheduleFile, again: pd.DataFrame, metrics: Sequence[Metric]) -> str:
    """Every winner against the reference, by each metric that may decide."""
    if not study.winners:
        return "the search found nothing better than the paper's schedule"
    every = []
    for metric in metrics:
        said, units = [], again.loc[again["metric"] == metric.name, "units"]
        for name in study.winners:
            found = _of(again, name, metric)
            signs = [f"{one.zone} {SIDES[one.sign]}" for one in found.itertuples()]
            shown = ", ".join(signs) if len(signs) == len(OBJECTIVES) else "no numbers"
            said.append(f"{name}: {shown}")
        reason = undecided(study, metric, int(units.min()) if len(units) else 0)
        every.append(f"by {metric.short} " + words.unless(reason, ", ".join(said)))
    return f"against the paper's schedule, {'; '.join(every)}"


def _described(trial: TrialFacts) -> str:
    """`share 0.05 to 0.9, phases 0.30 : 0.50 : 0.20, ramp cosine`."""
    start, end, shape = (trial.parameters[name] for name in (START, END, SHAPE))
    if start == end:
        return f"fixed share {start:.2f}"
    phases = " : ".join(f"{phase:.2f}" for phase in trial.phases)
    return f"share {start:.2f} to {end:.2f}, phases {phases}, ramp {shape}"


def _answer(
    study: ScheduleFile, scored: int, again: pd.DataFrame, metrics: Sequence[Metric]
) -> Text:
    failed, winners = len(study.trials) - scored, list[Text]()
    zones = {"full": "full network", "subnets": "subnets"}
    for name, trial in study.won.items():
        label = f" ({trial.label})" if trial.label else ""
        winners += [strong(f"{name}: "), f"trial {trial.number}{label}, {_described(trial)}. "]
        differences = [
            f"{zones[one.zone]} {_difference(one)} {metric.unit or metric.short} "
            f"({numbers.p_value(one.p_holm)})"
            for metric in metrics
            for one in _of(again, name, metric).itertuples()
        ]
        if differences:
            winners.append(
                "Retrained, against the paper's, positive being worse: "
                f"{', '.join(differences)}, p after Holm. "
            )
    return [
        f"{words.counted(scored, 'schedule')} of {study.budget_images:,} image passes "
        f"were scored on {study.score_images:,} select images",
        f" ({words.counted(failed, 'trial')} did not finish). " if failed else ". ",
        "Best compromise: the least mean of both objectives; best subnets: the least of those "
        "whose full network is no worse than the paper's. ",
        winners
        or "No trial had a better mean of both objectives, or better subnets with a full network "
        "as good as the paper's.",
    ]


def _difference(row: Any) -> str:
    return numbers.estimate(row.damage, row.low, row.high)


def _add_retrained(
    page: Page, study: ScheduleFile, again: pd.DataFrame, metrics: Sequence[Metric]
) -> None:
    if again.empty:
        page.paragraph("No schedule was trained again beside the paper's.")
        return
    units = int(again["units"].min())
    mute = {metric.name for metric in metrics if undecided(study, metric, units)}
    rows = [
        {
            "Schedule": strong(row.schedule),
            "Of": row.zone,
            "Metric": parse_metric(row.metric).short,
            "Difference": _difference(row),
            "p": numbers.p_value(row.p_holm),
            "Than the paper's": numbers.NOTHING if row.metric in mute else SIDES[row.sign],
        }
        for row in again.itertuples()
    ]
    over = words.over(int(again["units"].iloc[0]))
    page.table(
        pd.DataFrame(rows),
        "Winners against the paper's schedule: paired difference with 95 % interval by "
        f"{over}; positive is worse. Subnets: the mean over depths at the trained switch "
        "point. p after Holm's correction over the rows of a metric. No word where the metric "
        "may not decide.",
        numeric_from=3,
    )


def _trade_caption(units: int) -> str:
    crosses = f"crosses: 95 % intervals by {words.over(units)}; " if units > 1 else ""
    return (
        "The retrained models, lower left is better; dotted: the full network of the control, "
        "trained on without subnet steps; bands: real images, the floor; "
        f"{crosses}dots: units. Models of a unit share its images and random numbers: the table "
        "tells them apart better than the crosses."
    )


def _add_search(page: Page, study: ScheduleFile, trials: pd.DataFrame) -> None:
    """What the search saw: figures, and its trials."""
    seen = f"on {study.score_images:,} select images, seed {study.search_seed}"
    if len(trials):
        page.figure(
            "search",
            partial(_search_figure, study, trials),
            "What the search saw, ",
            f"{seen}: it chooses and is no result. Left: trials by both objectives (squares: the "
            "fixed points; line: no other trial is better in both; rings: trained again). Right: "
            "their schedules. Dark is best by the mean of both objectives.",
        )
        page.figure(
            "slices",
            partial(_slices_figure, trials),
            "Objectives against each parameter, ",
            f"{seen}, in nats/token; dark is the best rank. The ramp takes its share of what the "
            "first phase leaves.",
        )
    if study.importances:
        page.figure(
            "importances",
            partial(_importances_figure, study),
            "Which parameter matters? ",
            f"Shares of an objective's variance over the space ({study.importance_evaluator}), "
            f"learnt from {words.counted(len(trials), 'trial')}: mean and standard deviation "
            "over forests, which is the least that these shares are off by.",
        )
    facts = {trial.number: trial for trial in study.trials}
    rows = [
        {
            "Rank": str(row.rank),
            "Trial": words.unbroken(f"{row.number} {facts[row.number].label or ''}".strip()),
            "Schedule": _described(facts[row.number]),
            "Full": numbers.fixed(row.full, 3),
            "Subnets": numbers.fixed(row.subnets, 3),
            "Front": "yes" if row.front else "",
        }
        for row in trials.itertuples()
    ]
    page.table(
        pd.DataFrame(rows),
        "Trials by the mean of both objectives: NLL of the full network and mean NLL of the "
        "subnets, in nats/token on select images, one training each. No results: they chose.",
        numeric_from=3,
    )


def _search_figure(study: ScheduleFile, trials: pd.DataFrame) -> Figure:
    figure = new_figure(height=2.9, constrained=False)
    left, right = (
        figure.add_axes((x, 0.16, wide, 0.72)) for x, wide in ((0.07, 0.34), (0.58, 0.36))
    )
    draw_objectives(left, trials, set(study.winners.values()))
    draw_schedules(right, trials)
    return figure


def _slices_figure(trials: pd.DataFrame) -> Figure:
    figure = new_figure(height=2.7)
    axes = figure.subplots(len(OBJECTIVES), len(PARAMETERS), sharey="row", sharex="col")
    for row, objective in zip(axes, OBJECTIVES, strict=True):
        for ax, parameter in zip(row, PARAMETERS, strict=True):
            draw_slice(ax, trials, parameter, objective)
        row[0].set_ylabel(f"NLL of {objective}", fontsize=7)
    for ax, parameter in zip(axes[0], PARAMETERS, strict=True):
        ax.set_title(parameter, fontsize=7, loc="center")
    return figure


def _importances_figure(study: ScheduleFile) -> Figure:
    figure = new_figure(height=1.9)
    draw_importances(figure.subplots(), study.importances)
    return figure
