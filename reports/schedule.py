"""The report of the schedule study: which ratios, and is any better than the paper's?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.claims.rules import deciding_metrics
from analysis.figures.schedules import draw_importances, draw_objectives, draw_schedules, draw_slice
from analysis.figures.theme import new_figure
from analysis.frame import load_frame
from analysis.searches.schedules import (
    END,
    OBJECTIVES,
    PARAMETERS,
    SHAPE,
    START,
    Retrained,
    retrained,
    trial_table,
)
from analysis.statistics.levels import Levels, PlanKey
from analysis.study_file import ScheduleFile, TrialFacts, Zone
from reports.parts import supernet_tables, words
from reports.parts.blocks import Text, strong
from reports.parts.page import Page
from reports.parts.protocol import supernet_protocol
from reports.parts.report import Report, picked
from reports.parts.sheet import add_samples

ZONES: dict[Zone, str] = {"full": "full network", "subnets": "subnets"}
SIDES = {1: "worse", -1: "better", 0: "no different"}
LIMITS = (
    "Every trial is one training with one seed: ranks that are near each other may be luck, "
    "which is why winners are trained again.",
    "One base network and one budget. A cosine learning rate starves the last phase of a "
    "schedule, and so favours schedules that do their work early; --lr-schedule constant "
    "removes that.",
    "The paper's point with this budget is a small-scale analogue of its 30 epochs from a "
    "trained VAR-d30.",
    "Importances describe the surrogate forests of a few trials, not causes.",
)
ONE_SEED = "One fresh seed: how much models trained alike differ is not measured here."


@dataclass(frozen=True, kw_only=True)
class Findings:
    """`trials`: of `trial_table`. `retrained`: winners against the reference, on test images."""

    trials: pd.DataFrame
    retrained: Sequence[Retrained]

    def by_nll(self, schedule: str) -> dict[Zone, Retrained]:
        """What a winner's NLL says, which resolves most."""
        mine = (one for one in self.retrained if one.schedule == schedule)
        return {one.zone: one for one in mine if one.metric.kind == "nll"}


def make_report(folder: Path, study: ScheduleFile) -> Report:
    """The report of a schedule study's folder; see `reports.build.build`."""
    frame = load_frame(folder / "frame.parquet", training=True, full=False)
    levels = Levels(frame)
    subnets = [PlanKey(subnet_depth=d, switch=study.train_switch) for d in study.depths]
    found = Findings(
        trials=trial_table(study.trials),
        retrained=retrained(
            levels, deciding_metrics(levels.metrics), reference=study.reference, subnets=subnets
        ),
    )
    page = Page(
        study,
        "Which training schedule?",
        f"{words.counted(len(study.trials), 'trial')} of {study.budget_images:,} image passes",
        words.counted(len(study.seeds), "fresh seed"),
    )
    page.answer(study.question, _verdict(study, found), _answer(study, found))
    page.heading("Retrained with fresh seeds, on test images")
    _add_retrained(page, found)
    page.heading("The search")
    _add_search(page, study, found)
    said = "of the retrained models, first fresh seed; the same random numbers in every row."
    add_samples(page, folder, "Samples ", said)
    supernet_protocol(page, study, frame)
    page.heading("Retrained models")
    supernet_tables.models(page, study)
    supernet_tables.unfinished(page, levels, study)
    page.limits([ONE_SEED, *LIMITS] if len(study.seeds) == 1 else LIMITS)
    supernet_tables.every_plan(page, levels)
    again = [
        picked(row, "schedule", "zone", "p_holm", "seeds")
        | {"metric": row.metric.name, "damage": row.damage.estimate}
        | picked(row.damage, "low", "high")
        for row in found.retrained
    ]
    answer = {"winners": dict(study.winners), "retrained": again}
    return page.report(answer=answer, summary=levels.table)


def _verdict(study: ScheduleFile, found: Findings) -> str:
    """By NLL: every winner against the reference."""
    if not study.winners:
        return "the search found nothing better than the paper's schedule"
    said = []
    for name in study.winners:
        signs = [f"{zone} {SIDES[one.sign]}" for zone, one in found.by_nll(name).items()]
        said.append(f"{name}: {', '.join(signs) if len(signs) == len(ZONES) else 'no numbers'}")
    return "; ".join(said) + " than the paper's"


def _described(trial: TrialFacts) -> str:
    """`share 0.05 to 0.9, phases 0.30 : 0.50 : 0.20, ramp cosine`."""
    start, end = trial.parameters[START], trial.parameters[END]
    if start == end:
        return f"fixed share {start:.2f}"
    phases = " : ".join(f"{phase:.2f}" for phase in trial.phases)
    return f"share {start:.2f} to {end:.2f}, phases {phases}, ramp {trial.parameters[SHAPE]}"


def _answer(study: ScheduleFile, found: Findings) -> Text:
    failed = len(study.trials) - len(found.trials)
    parts: list[Any] = [
        f"{words.counted(len(found.trials), 'schedule')} of {study.budget_images:,} image passes "
        f"were scored on {study.score_images:,} select images"
        + (f" ({words.counted(failed, 'trial')} did not finish). " if failed else ". ")
    ]
    trials = {trial.number: trial for trial in study.trials}
    for name, number in study.winners.items():
        trial = trials[number]
        label = f" ({trial.label})" if trial.label else ""
        parts += [strong(f"{name}: "), f"trial {number}{label}, {_described(trial)}. "]
        mine = found.by_nll(name)
        differences = [
            f"{said} {words.interval(mine[zone].damage)} ({words.p_value(mine[zone].p_holm)})"
            for zone, said in ZONES.items()
            if zone in mine
        ]
        if differences:
            parts.append(
                "Retrained, against the paper's in nats/token of test NLL, negative being better: "
                f"{', '.join(differences)}, p after Holm. "
            )
    if not study.winners:
        parts.append(
            "No trial had a better mean of both objectives, or better subnets with a full network "
            "as good as the paper's."
        )
    return parts


def _add_retrained(page: Page, found: Findings) -> None:
    """The winners against the reference."""
    if not found.retrained:
        page.paragraph("No schedule was trained again beside the paper's.")
        return
    rows = [
        {
            "Schedule": [strong(row.schedule)],
            "Of": row.zone,
            "Metric": row.metric.short,
            "Difference": words.interval(row.damage),
            "p": words.p_value(row.p_holm),
            "Than the paper's": SIDES[row.sign],
        }
        for row in found.retrained
    ]
    seeds = found.retrained[0].seeds
    over = words.counted(seeds, "training seed") if seeds > 1 else "disjoint sets of one seed"
    page.table(
        pd.DataFrame(rows),
        "Winners against the paper's schedule: paired difference with 95 % interval by t over "
        f"{over}; positive is worse. Subnets: the mean over depths at the trained switch "
        "point. p after Holm's correction over the rows of a metric.",
        numeric_from=3,
    )


def _add_search(page: Page, study: ScheduleFile, found: Findings) -> None:
    """What the search saw: figures, and its trials."""
    seen = f"on {study.score_images:,} select images, seed {study.search_seed}"
    if len(found.trials):
        page.figure(
            "search",
            partial(_search_figure, study, found),
            "What the search saw, ",
            f"{seen}: it chooses and is no result. Left: trials by both objectives (squares: the "
            "fixed points; line: no other trial is better in both; rings: trained again). Right: "
            "their schedules. Dark is best by the mean of both objectives.",
        )
        page.figure(
            "slices",
            partial(_slices_figure, found),
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
            f"learnt from {words.counted(len(found.trials), 'trial')}: mean and standard deviation "
            "over forests, which is the least that these shares are off by.",
        )
    trials = {trial.number: trial for trial in study.trials}
    rows = [
        {
            "Rank": str(row.rank),
            "Trial": words.unbroken(f"{trial.number} {trial.label or ''}".strip()),
            "Schedule": _described(trial),
            "Full": words.fixed(row.full, 3),
            "Subnets": words.fixed(row.subnets, 3),
            "Front": "yes" if row.front else "",
        }
        for row in found.trials.itertuples()
        for trial in [trials[row.number]]
    ]
    page.table(
        pd.DataFrame(rows),
        "Trials by the mean of both objectives: NLL of the full network and mean NLL of the "
        "subnets, in nats/token on select images, one training each. No results: they chose.",
        numeric_from=3,
    )


def _search_figure(study: ScheduleFile, found: Findings) -> Figure:
    figure = new_figure(height=2.9, constrained=False)
    left = figure.add_axes((0.07, 0.16, 0.34, 0.72))
    draw_objectives(left, found.trials, set(study.winners.values()))
    right = figure.add_axes((0.58, 0.16, 0.36, 0.72))
    draw_schedules(right, found.trials, reference=study.reference)
    return figure


def _slices_figure(found: Findings) -> Figure:
    figure = new_figure(height=2.7)
    axes = figure.subplots(len(OBJECTIVES), len(PARAMETERS), sharey="row", sharex="col")
    for row, objective in zip(axes, OBJECTIVES, strict=True):
        for ax, parameter in zip(row, PARAMETERS, strict=True):
            draw_slice(ax, found.trials, parameter, objective)
        row[0].set_ylabel(f"NLL of {objective}", fontsize=7)
    for ax, parameter in zip(axes[0], PARAMETERS, strict=True):
        ax.set_title(parameter, fontsize=7, loc="center")
    return figure


def _importances_figure(study: ScheduleFile) -> Figure:
    figure = new_figure(height=1.9)
    draw_importances(figure.subplots(), study.importances)
    return figure
