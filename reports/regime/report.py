"""The report of the regime study: when does progressive training help, and does conflict say so?"""

from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis import numbers
from analysis.claims.ledger import judge_regimes
from analysis.claims.rows import LedgerRow
from analysis.figures.heatmap import draw_conflict
from analysis.figures.theme import new_figure
from analysis.maps.regimes import regimes_of
from analysis.metrics import NLL
from analysis.statistics.conflict import CONFLICT_FILE, conflict_table, load_conflict
from analysis.statistics.levels import Levels
from analysis.study_file import RegimeFile
from reports.parts import words
from reports.parts.figures import ROW_HEIGHT, heatmap_plate
from reports.parts.ledger import add_rules, add_tests, ledger_json
from reports.parts.page import Page, Text, strong
from reports.parts.protocol import protocol_table
from reports.parts.report import Report, study_frame
from reports.parts.tables import add_models
from reports.regime import words as sentences
from reports.regime.findings import COMPARED, NAMES, RegimeFindings


def make_report(folder: Path, study: RegimeFile) -> Report:
    frame = study_frame(folder, study, training=True)
    written = not study.pending  # a study writes it at its end
    conflict = load_conflict(folder / CONFLICT_FILE) if written else conflict_table(())
    found = RegimeFindings(study, regimes_of(frame), conflict)
    page = Page(
        study,
        "When does progressive training help?",
        f"{words.counted(len(study.ages), 'age')} of the base, "
        f"{words.counted(len(study.rates), 'learning rate')}, "
        f"{study.budget_images:,} image passes a model",
        words.counted(len(study.units), "unit"),
    )
    page.answer(study.question, sentences.verdict(found), sentences.answer(found))
    page.heading("Which regimes favour progressive training?")
    page.figure(
        "regimes",
        partial(heatmap_plate, list(found.maps.values())),
        "Against the fixed share of the same mean. ",
        sentences.maps_caption(found),
    )
    _add_trends(page, found)
    _add_conflict(page, found)
    _add_claim(page, found.claim)
    _add_differences(page, found)
    _add_levels(page, found)
    add_tests(page, study, [found.claim])
    plans, training = ", ".join(p.label for p in found.every_plan), sentences.training(study)
    protocol_table(page, study, frame, likelihood="decides", plans=plans, training=training)
    page.heading("Models")
    add_models(page, study, Levels(frame))
    page.limits(sentences.limits(study))
    add_rules(page, [found.claim])
    summary = found.differences
    answer = {"ledger": ledger_json([found.claim]), "differences": summary.to_dict("records")}
    return page.report(answer=answer, summary=summary)


def judge(study: RegimeFile, frame: pd.DataFrame) -> tuple[LedgerRow, ...]:
    return (judge_regimes(study, regimes_of(frame)),)


def _add_trends(page: Page, found: RegimeFindings) -> None:
    rows = [
        {
            "": strong(NAMES[zone]),
            **{f"Of the {n}": words.interval(o.bounds()) for n, o in trends.items()},
        }
        for zone, trends in found.trends.items()
        if trends
    ]
    page.table(
        pd.DataFrame(rows),
        "What a doubling of the base's age, and one of the rate, adds to how much worse "
        "progressive is than fixed, in nats/token: slopes of a plane through all regimes, with 95 "
        f"% interval by {found.over}.",
    )


def _add_conflict(page: Page, found: RegimeFindings) -> None:
    page.heading("Do gradients conflict?")
    if not found.profiles:
        page.paragraph("No training has gradients to compare.")
        return
    page.figure(
        "conflict",
        partial(_conflict_plate, found),
        "Cosine between gradients of full network and subnets, ",
        f"layer by layer over training, from bases of each age: on {found.study.gradient_images} "
        "select images, mean over subnets, rates and units. Below 0, what helps one harms the "
        "other. Layers that a subnet leaves out learn from the scales up to the switch point "
        "alone.",
    )
    rows = [
        {
            "Schedule": str(one["kind"]),
            "Base": f"{one['base_images']:,.0f}",
            "Subnet": f"d{one['subnet_depth']:.0f}",
            **{f"{100 * at:.0f} %": numbers.fixed(one[at], 2) for at in found.cosines.columns[3:]},
        }
        for one in found.cosines.to_dict("records")
    ]
    page.table(
        pd.DataFrame(rows),
        "Cosine of the gradients of all parameters, by subnet and share of the training that is "
        "over; mean over rates and units.",
        grouped=True,
        numeric_from=3,
    )


def _conflict_plate(found: RegimeFindings) -> Figure:
    """A row a schedule, a column an age."""
    layers, ages = found.study.geometry.depth, found.study.ages
    height = len(found.profiles) * (0.45 + layers * 0.8 * ROW_HEIGHT) + 0.2
    figure = new_figure(height=height)
    axes = figure.subplots(len(found.profiles), len(ages), squeeze=False)
    last = list(found.profiles)[-1]
    for (kind, profiles), row in zip(found.profiles.items(), axes, strict=True):
        for age, ax in zip(ages, row, strict=True):
            if age not in profiles:
                ax.set_axis_off()
                continue
            title = f"{kind}, base of {age:,}"
            draw_conflict(ax, profiles[age], title=title, row_label=ax is row[0])
            if kind != last:
                ax.set_xlabel("")
    return figure


def _add_claim(page: Page, row: LedgerRow) -> None:
    page.heading("What this says of C3")
    rows = [
        {"Regime": line.part, "Likelihood": [strong(line.verdict.value), f": {why}" if why else ""]}
        for line in row.lines
        if not line.decides
        for why in [line.said or line.reason]
    ]
    page.table(
        pd.DataFrame(rows),
        f"{row.claim.id}, {row.claim.short}, by its own rule in every regime, by likelihood. "
        "Sample quality decides the claim, and none is drawn here: this explains the verdicts of "
        "other studies and gives none.",
        widths=[0.3, 0.7],
    )


def _add_differences(page: Page, found: RegimeFindings) -> None:
    rows = [
        {
            "Schedule": kind,
            "Base": f"{regime.base_images:,}",
            "Rate": f"{regime.lr:g}",
            **{
                plan.label: words.interval(regime.against_fixed(kind, (plan,)).bounds())
                for plan in found.every_plan
            },
        }
        for kind in COMPARED
        for regime in found.regimes
    ]
    page.heading("Plan by plan")
    page.table(
        pd.DataFrame(rows),
        f"How much worse than the fixed share, in nats/token of test NLL, with 95 % interval by "
        f"{found.over}; negative is better. No correction for many tests.",
        grouped=True,
        numeric_from=1,
    )


def _add_levels(page: Page, found: RegimeFindings) -> None:
    """What bases and controls reach."""
    rows = list[dict[str, Text]]()
    for kind, named in (("base", "base"), ("full", "control"), ("fixed", "fixed")):
        for regime in found.regimes:
            if kind == "base" and regime.lr != found.study.rates[0]:
                continue  # the same at every rate
            row: dict[str, Text] = {"Network": named, "Base": f"{regime.base_images:,}"}
            row["Rate"] = numbers.NOTHING if kind == "base" else f"{regime.lr:g}"
            for plan in found.every_plan:
                place = regime.place(kind, plan)
                level = regime.levels.observed(place, NLL.name).bounds() if place else None
                row[plan.label] = words.interval(level, signed=False)
            rows.append(row)
    page.table(
        pd.DataFrame(rows),
        f"Levels: NLL of test images in nats/token, with 95 % interval by {found.over}.",
        grouped=True,
        numeric_from=1,
    )
